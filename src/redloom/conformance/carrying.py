"""The whole way with an engine: whatever goes wrong, one outcome, paid once, a file that is whole.

May import: errors, endpoint, engine.
"""

from __future__ import annotations

from .case import case, must
from .rig import Rig


@case(lanes=True)
async def a_run_ends_in_files_that_show_their_prompts(rig: Rig) -> None:
    """Three prompts, three whole files of the right words, three pictures billed."""
    await rig.start()
    for result in await rig.carried(["a red scarf", "蓝色的", "a third"]):
        rig.shows(result)
    rig.billed(3)


@case(lanes=True)
async def the_same_run_again_buys_nothing(rig: Rig) -> None:
    """A second run of the same prompts is served from the store."""
    await rig.start()
    await rig.carried(["a red scarf"])
    for result in await rig.carried(["a red scarf"]):
        rig.shows(result)
    rig.billed(1)


@case("throttle", lanes=True)
async def a_run_gets_through_a_narrow_limit(rig: Rig) -> None:
    """With a limit tighter than was known, every picture comes, none is bought twice."""
    await rig.start(submit_per_second=0.5)
    for result in await rig.carried([f"picture {number}" for number in range(4)]):
        rig.shows(result)
    rig.billed(4)


@case(lanes=True)
async def a_run_gets_through_refusals_and_failures(rig: Rig) -> None:
    """503, 500 and a failed task on the way: all pictures come all the same."""
    await rig.start("@1:submit=busy,@2:submit=error,@1:task=failed")
    for result in await rig.carried(["a red scarf", "a blue one"]):
        rig.shows(result)
    rig.billed(2)


@case(lanes=True)
async def a_lost_answer_is_never_bought_twice(rig: Rig) -> None:
    """Found again where the account can be looked through, left in doubt where it cannot."""
    await rig.start("@1:answer=lost")
    (result,) = await rig.carried(["a red scarf"])
    can = rig.provider().capabilities()
    rig.accepted(1)
    rig.billed(1)
    if can.lists_tasks and rig.lane == "async":
        rig.shows(result)
    else:
        must(result.status == "in-doubt", f"it ended {result.status}")


@case(lanes=True)
async def a_request_that_never_arrived_is_made_or_in_doubt(rig: Rig) -> None:
    """Reset before acceptance: sent again only where looking proves that nothing was bought."""
    await rig.start("@1:submit=reset")
    (result,) = await rig.carried(["a red scarf"])
    can = rig.provider().capabilities()
    if can.lists_tasks and rig.lane == "async":
        rig.shows(result)
        rig.billed(1)
    else:
        must(result.status == "in-doubt", f"it ended {result.status}")
        rig.billed(0)


@case("links", lanes=True)
async def a_bad_download_is_fetched_again(rig: Rig) -> None:
    """Cut off, HTML, a reset, a 500: the paid picture is fetched until it is whole."""
    faults = ("truncated", "html", "reset", "error")
    await rig.start(",".join(f"@{n}:download={fault}" for n, fault in enumerate(faults, 1)))
    (result,) = await rig.carried(["a red scarf"])
    rig.shows(result)
    rig.billed(1)


@case("links", lanes=True)
async def an_expired_link_buys_nothing(rig: Rig) -> None:
    """The task is asked for a new link where there is a task; a second picture is never bought."""
    await rig.start("@1:download=expired")
    (result,) = await rig.carried(["a red scarf"])
    if rig.lane == "async":
        rig.shows(result)
    rig.accepted(1)
    rig.billed(1)


@case("bytes", lanes=True)
async def a_broken_picture_is_never_delivered(rig: Rig) -> None:
    """Bytes that are no whole picture: no file, and nothing is bought a second time unasked."""
    await rig.start("@1:picture=broken")
    (result,) = await rig.carried(["a red scarf"])
    must(not result.ok, "a broken picture was called ok")
    must(result.error, "the outcome says nothing")
    rig.billed(1)


@case("moderation", lanes=True)
async def refused_words_end_refused(rig: Rig) -> None:
    """Moderation ends that one picture, with the reason; the others come."""
    await rig.start("@1:submit=refused")
    results = await rig.carried(
        ["a red scarf", "a blue one"],
    )
    must(sorted(r.status for r in results) == ["ok", "refused"], f"{[r.status for r in results]}")
    refused = next(result for result in results if result.status == "refused")
    must(refused.error, "a refusal without its reason")
    rig.billed(1)
