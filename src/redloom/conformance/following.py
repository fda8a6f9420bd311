"""After the ticket: polls, the account's list, cancelling, the record's end.

May import: emulators, errors, endpoint.
"""

from __future__ import annotations

import asyncio
import itertools

from redloom.emulators.service_time import ServiceTime
from redloom.endpoint import Canceled, Made, Provider, Ticket, Unknown, Waiting
from redloom.errors import (
    AnswerLost,
    EndpointStopped,
    ServiceError,
)

from .case import case, must
from .rig import AGAIN, TOOK_S, Rig

POLL_FAULTS = ("error", "busy", "throttled", "reset", "html", "empty")


async def _ticket(rig: Rig, provider: Provider, prompt: str) -> Ticket:
    """A ticket for ``prompt``."""
    answer = await provider.submit(rig.asked(provider, prompt), "async")
    must(isinstance(answer, Ticket), f"the asynchronous lane answered {answer!r}")
    assert isinstance(answer, Ticket)
    return answer


@case("async")
async def a_poll_that_fails_is_asked_again(rig: Rig) -> None:
    """Whatever goes wrong with a poll says nothing of the task, which is still finished later."""
    for fault in POLL_FAULTS:
        # Several in a row: an HTTP client may repeat a GET by itself when the connection breaks.
        provider = await rig.start(f"@1-4:poll={fault}")
        ticket = await _ticket(rig, provider, "a red scarf")
        error = await rig.raised(provider.poll(ticket))
        must(isinstance(error, AGAIN), f"poll_{fault} is {type(error).__name__}")
        must(isinstance(await rig.ended(provider, ticket), Made), "the task was not finished")
        rig.accepted(1)
        rig.billed(1)


@case("async")
async def a_task_waits_until_it_is_done(rig: Rig) -> None:
    """Waiting before, Made after, and Made again when it is asked again; times are its own."""
    provider = await rig.start()
    before = rig.clock.now()
    ticket = await _ticket(rig, provider, "a red scarf")
    must(isinstance(await provider.poll(ticket), Waiting | Unknown), "finished at once")
    made = await rig.ended(provider, ticket)
    assert isinstance(made, Made)
    must(isinstance(await provider.poll(ticket), Made), "a finished task is finished for good")
    times = [t for t in (made.times.queued, made.times.started, made.times.ended) if t is not None]
    in_order = all(one <= other + 0.002 for one, other in itertools.pairwise(times))
    must(in_order, f"its times are out of order: {made.times}")  # told to a millisecond at best
    within = all(before - 2 <= moment <= rig.clock.now() + 2 for moment in times)
    must(within, f"its times are not of today: {made.times} (a time zone?)")


@case("async", "queue")
async def what_is_too_much_waits_in_its_queue(rig: Rig) -> None:
    """With one slot, three are taken, run one after another, and are all made."""
    provider = await rig.start(concurrency=1, over="queue")
    tickets = [await _ticket(rig, provider, f"picture {n}") for n in range(3)]
    outcomes = [await rig.ended(provider, ticket) for ticket in tickets]
    must(all(isinstance(outcome, Made) for outcome in outcomes), "not all were made")
    must(rig.ledger.max_running == 1, f"{rig.ledger.max_running} ran at once on one slot")
    rig.billed(3)


@case("async", "record")
async def an_expired_record_is_unknown(rig: Rig) -> None:
    """After the service has forgotten the task, a poll says Unknown, and is no error."""
    provider = await rig.start()
    ticket = await _ticket(rig, provider, "a red scarf")
    await rig.ended(provider, ticket)
    await rig.clock.sleep(provider.capabilities().record_life_s + 60.0)
    outcome = await provider.poll(ticket)
    must(isinstance(outcome, Unknown), f"a forgotten task is {outcome!r}")


@case("async", "list")
async def the_list_shows_every_task_of_the_window(rig: Rig) -> None:
    """`look` finds accepted tasks, the one whose answer was lost as well, and no older ones."""
    provider = await rig.start("@3:answer=lost")
    first = rig.clock.now()
    early = await _ticket(rig, provider, "picture 0")
    await rig.clock.sleep(120.0)
    since = rig.clock.now()
    known = await _ticket(rig, provider, "picture 1")
    error = await rig.raised(provider.submit(rig.asked(provider, "picture 2"), "async"))
    must(isinstance(error, AnswerLost), f"a lost answer is {type(error).__name__}")
    until = rig.clock.now()
    await rig.clock.sleep(provider.capabilities().list_lag_s + 5.0)
    seen = {task.id: task for task in await provider.look(since - 1, until + 1)}
    must(known.id in seen, "a task with a ticket is not in the list")
    must(early.id not in seen, "the list holds a task from before the window")
    must(len(seen) == 2, f"the window holds 2 tasks, the list {len(seen)}")
    lost = next(task for name, task in seen.items() if name != known.id)
    must(since - 1 <= lost.created <= until + 1, "the lost task's time lies outside the window")
    must(lost.model == rig.endpoint_at(rig.url).model, f"its model is called {lost.model}")
    adopted = await rig.ended(provider, Ticket(lost.id))
    must(isinstance(adopted, Made), "the lost task cannot be collected by its id alone")
    whole = await provider.look(first - 1, until + 1)
    must(len(whole) == 3, "the longer window does not hold all three")


@case("async", "list")
async def a_list_of_many_pages_is_read_whole(rig: Rig) -> None:
    """More tasks than a page holds: none is missing, none comes twice."""
    provider = await rig.start()
    since = rig.clock.now()
    count = provider.capabilities().list_page + 3
    answers = await asyncio.gather(
        *(_ticket(rig, provider, f"picture {number}") for number in range(count))
    )
    until = rig.clock.now()
    await rig.clock.sleep(provider.capabilities().list_lag_s + TOOK_S + 5.0)
    seen = [task.id for task in await provider.look(since - 1, until + 1)]
    must(len(seen) == len(set(seen)), "a task comes twice in the list")
    must(set(seen) >= {ticket.id for ticket in answers}, "a task is missing from the list")


@case("async", "cancel")
async def a_waiting_task_can_be_cancelled(rig: Rig) -> None:
    """Cancelled while it waits: True, not billed. A finished one: False, and it stays made."""
    slow = ServiceTime(60.0, 0.0, 60.0, 60.0)
    provider = await rig.start(concurrency=1, over="queue", latency=slow)
    first = await _ticket(rig, provider, "picture 0")
    second = await _ticket(rig, provider, "picture 1")
    must(await provider.cancel(second) is True, "a waiting task was not cancelled")
    outcome = await provider.poll(second)
    must(isinstance(outcome, Canceled | Unknown), f"a cancelled task is {outcome!r}")
    must(isinstance(await rig.ended(provider, first), Made), "the other one was not made")
    must(await provider.cancel(first) is False, "a finished task was called cancelled")
    must(isinstance(await provider.poll(first), Made), "a finished task is made for good")
    rig.billed(1)


@case("async", "key")
async def a_key_that_ends_half_way_stops_polls_not_tasks(rig: Rig) -> None:
    """A poll with a wrong key raises EndpointStopped's kind: the task itself is not judged."""
    provider = await rig.start()
    ticket = await _ticket(rig, provider, "a red scarf")
    error = await rig.raised(rig.provider(key="wrong").poll(ticket))
    must(isinstance(error, EndpointStopped), f"it is {type(error).__name__}")
    must(isinstance(await rig.ended(provider, ticket), Made), "with the key it is finished")


@case("async")
async def a_service_that_went_away_keeps_its_tasks(rig: Rig) -> None:
    """Polls of a closed port raise what means: ask again."""
    provider = await rig.start()
    ticket = await _ticket(rig, provider, "a red scarf")
    await rig.gone()
    try:
        outcome = await provider.poll(ticket)
    except ServiceError as error:
        must(isinstance(error, AGAIN), f"a poll of nobody is {type(error).__name__}")
    else:
        must(isinstance(outcome, Waiting), f"a poll of nobody is {outcome!r}")
