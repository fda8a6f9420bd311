"""Events for whoever watches: one reader of the journal for each run, any number of clients.

Outcomes come from the journal, in its own order, so that a client that reconnects (or reads
slowly) gets every one of them, none twice. A client holds nothing but its place in a short shared
ring; when it falls off the ring it reads the journal from its last id. What is only of the moment
(a row moved on, a quota's countdown) goes into the ring alone.

May import: events, engine, journal, lang, studio.{memory,show,chores,words}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from redloom.engine import Engine
from redloom.events import (
    Advanced,
    Done,
    Doubtful,
    Downloaded,
    Ended,
    Event,
    Held,
    Retrying,
    Running,
    Started,
    Stopped,
    Submitted,
)
from redloom.journal import Row
from redloom.lang import Lang, language

from .chores import Chores
from .memory import Listing, Memory
from .show import Json, Show, held_json
from .words import LANGS, Said, in_language

RING = 512
PAGE = 200
LOOK_S = 0.5
"""Real seconds between looks at runs that another process carries, and at the list of runs."""
HEARTBEAT_S = 15.0
ROOT = f"@{secrets.token_hex(8)}@"
"""Stands in a frame where each client's own address goes."""
Mark = tuple[int, int]
_STAGES: dict[type[Event], str] = {
    Submitted: "sent", Running: "running", Downloaded: "fetching", Retrying: "retrying", Doubtful: "doubt",
}  # fmt: skip


NOTHING: Mapping[str, Any] = {}


def _so_far(event: Advanced) -> Json:
    """How far a picture in the making is, and where a small look at it can be had."""
    preview = f"api/previews/{quote(event.preview, safe='')}" if event.preview else None
    return {"fraction": round(event.fraction, 3), "preview": preview}


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, encoded once for everybody. ``owner`` is the caller whom it concerns.

    ``data`` is Chinese; ``english`` differs only where the event holds words of ours.
    """

    data: bytes
    mark: Mark | None = None
    owner: str = ""
    english: bytes = b""

    def sent(self, root: bytes, lang: Lang) -> bytes:
        """As one reader gets it."""
        data = self.english if lang == "en" and self.english else self.data
        return data.replace(ROOT.encode(), root)


def frame(event: str, data: Mapping[str, Any], mark: Mark | None = None, owner: str = "") -> Frame:
    """An SSE frame with its id, if it is part of the record."""
    head = f"id: {mark[0]}.{mark[1]}\n" if mark is not None else ""
    zh, en = (
        f"{head}event: {event}\ndata: {_compact(in_language(data, lang))}\n\n".encode()
        for lang in LANGS
    )
    return Frame(zh, mark, owner, b"" if en == zh else en)


def _compact(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def mark_of(text: str | None) -> Mark:
    """The mark in a ``Last-Event-ID``; the beginning where it is none of ours."""
    first, _, second = (text or "").partition(".")
    if all(part.isascii() and part.isdigit() and len(part) < 18 for part in (first, second)):
        return int(first), int(second)
    return 0, 0


@dataclass(frozen=True)
class Looked:
    """What a look at a note's pictures saw. ``card`` is the card that is redone, if one is."""

    run: str
    pictures: list[Json]
    money: Json
    card: int | None = None

    @property
    def moving(self) -> bool:
        """Whether more is to come."""
        return any(one["status"] == "pending" for one in self.pictures)

    def events(self) -> Iterator[tuple[str, str, Json]]:
        """What of it changes by itself, the event's name, and its data."""
        for one in self.pictures:
            yield f"{self.run} {one['row']}", "picture", {"run": self.run, "picture": one, "card": self.card}  # fmt: skip
        yield f"{self.run} money", "money", {"run": self.run, "money": self.money}


Look = Callable[[bool], Awaitable[Looked | None]]
"""Looks at a note's pictures; without need (False) only while the note is at work."""


@dataclass
class Channel:
    """A ring of frames and a pulse; clients wait for the pulse and read on from their place."""

    ring: deque[Frame] = field(default_factory=lambda: deque(maxlen=RING))
    end: int = 0
    clients: int = 0
    pulse: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, one: Frame) -> None:
        """For everybody who listens."""
        self.ring.append(one)
        self.end += 1
        self.beat()

    def beat(self) -> None:
        """Wake the clients."""
        pulse, self.pulse = self.pulse, asyncio.Event()
        pulse.set()

    def since(self, place: int) -> list[Frame] | None:
        """Frames from ``place`` on; None where some of them are gone."""
        if place < self.end - len(self.ring):
            return None
        return list(self.ring)[len(self.ring) - (self.end - place) :] if place < self.end else []


@dataclass
class Reader:
    """One client's place in a channel, and the last outcome that it has."""

    channel: Channel
    place: int
    mark: Mark | None
    owner: str = ""

    def take(self) -> list[Frame] | None:
        """What is new for this client; None where it has fallen off the ring."""
        fresh = self.channel.since(self.place)
        if fresh is None:
            return None
        self.place += len(fresh)
        return [one for one in fresh if self._wants(one)]

    def _wants(self, one: Frame) -> bool:
        if self.owner and one.owner != self.owner:
            return False
        if one.mark is None or self.mark is None:
            return True
        if one.mark <= self.mark:
            return False
        self.mark = one.mark
        return True


@dataclass
class Feed:
    """All channels: one for each run or note that is watched, and ``""`` for everything."""

    engine: Engine
    memory: Memory
    show: Show
    chores: Chores
    closed: bool = False
    clients: int = 0
    _unwatch: Callable[[], None] = lambda: None
    _channels: dict[str, Channel] = field(default_factory=dict)
    _wakes: dict[str, asyncio.Event] = field(default_factory=dict)
    _followed: dict[str, str] = field(default_factory=dict)
    """Runs of pictures to the note that somebody watches."""
    _touched: set[str] = field(default_factory=set)
    """Runs that something happened to since the last look at all; some are over by then."""

    def start(self) -> None:
        """Listen to the engine."""
        self.engine.stream_of_events.watch(self._notice)

    def close(self) -> None:
        """Every stream ends; its client reconnects when we are back."""
        self.closed = True
        for channel in self._channels.values():
            channel.beat()

    # what happens

    def tell(self, whom: str, event: str, data: Mapping[str, Any], owner: str = "") -> None:
        """Something of the moment, for those who watch ``whom`` and those who watch everything."""
        for name in (whom, ""):
            channel = self._channels.get(name)
            if channel is not None:
                channel.push(frame(event, data, owner=owner))

    def changed(self, run: str) -> None:
        """A run was paused, reordered, … by us: look at once."""
        if "" in self._wakes:
            self._touched.add(run)
        for name in (run, "", self._followed.get(run, "")):
            if name in self._wakes:
                self._wakes[name].set()

    def _notice(self, event: Event) -> None:
        """The engine says something."""
        moment = self.show.moment
        stage = _STAGES.get(type(event))
        if stage is not None:
            at = (getattr(event, "row"), getattr(event, "take"))  # noqa: B009
            moment.stages.setdefault(event.run, {})[at] = stage
            self._tell_progress(event, at, stage)
        elif isinstance(event, Advanced):
            self._tell_progress(event, (event.row, event.take), "running", _so_far(event))
        elif isinstance(event, Held):
            moment.held[event.endpoint] = (event.until, event.reason)
            self._tell_all("held", held_json(event.endpoint, event.until, event.reason, event.at))
        elif isinstance(event, Stopped):
            moment.stopped[event.endpoint] = event.reason
            self._tell_all("stopped", {"endpoint": event.endpoint, "reason": Said(event.reason)})
        elif isinstance(event, Done):
            moment.stages.get(event.run, {}).pop((event.row, event.take), None)
            self.changed(event.run)
        elif isinstance(event, Started | Ended):
            if isinstance(event, Ended):
                moment.stages.pop(event.run, None)
            self.changed(event.run)

    def _tell_all(self, event: str, data: Json) -> None:
        for name in self._channels:
            self._channels[name].push(frame(event, data))

    def _tell_progress(
        self, event: Event, at: tuple[int, int], stage: str, more: Mapping[str, Any] = NOTHING
    ) -> None:
        if event.run in self._followed:
            self._wakes[self._followed[event.run]].set()
        channel = self._channels.get(event.run)
        if channel is None:
            return
        said = {"run": event.run, "row": at[0], "take": at[1], "stage": stage,
                "endpoint": getattr(event, "endpoint", ""), "index": at[0] - 1, "status": "generating", **more}  # fmt: skip
        channel.push(frame("progress", said))

    # who watches

    async def run(self, run: str, root: str, after: Mark | None) -> AsyncIterator[bytes]:
        """The events of one run from ``after`` on (None: from now), until the client goes."""
        newest = await self._newest(
            run
        )  # before any client reads, so that no outcome falls between
        mark = newest if after is None else after
        async for data in self._stream(
            run, root, mark, lambda: self._snapshot(run), lambda: self._pump_run(run, newest)
        ):
            yield data

    async def note(
        self, note: str, root: str, snapshot: Callable[[], Any], look: Look
    ) -> AsyncIterator[bytes]:
        """The events of one note, those of its pictures with them."""
        async for data in self._stream(
            note, root, None, snapshot, lambda: self._pump_note(note, look)
        ):
            yield data

    async def everything(self, root: str, owner: str) -> AsyncIterator[bytes]:
        """What happens to any run or note that ``owner`` may see (empty: all)."""

        async def nothing() -> Frame:
            return frame("snapshot", {"now": self.engine.clock.now()})

        async for data in self._stream("", root, None, nothing, self._pump_all, owner):
            yield data

    async def _stream(
        self,
        name: str,
        root: str,
        mark: Mark | None,
        snapshot: Callable[[], Any],
        pump: Callable[[], Any] | None,
        owner: str = "",
    ) -> AsyncIterator[bytes]:
        told, lang = root.encode(), language()
        channel = self._enter(name, pump)
        reader = Reader(channel, channel.end, mark, owner)
        try:
            yield (await snapshot()).sent(told, lang)
            async for one in self._catch_up(name, reader):
                yield one.sent(told, lang)
            while not self.closed:
                pulse, fresh = channel.pulse, reader.take()
                if fresh is None:
                    async for one in self._catch_up(name, reader):
                        yield one.sent(told, lang)
                    continue
                for one in fresh:
                    yield one.sent(told, lang)
                if not fresh and not await _beats(pulse):
                    yield b": still here\n\n"
        finally:
            self._leave(name, channel)

    def _enter(self, name: str, pump: Callable[[], Any] | None) -> Channel:
        channel = self._channels.setdefault(name, Channel())
        channel.clients += 1
        self.clients += 1
        if self.clients == 1:
            self._unwatch = self.engine.previews.watch()  # made only while somebody looks
        if channel.clients == 1 and pump is not None:
            self._wakes[name] = asyncio.Event()
            self.chores.begin(pump(), f"feed {name or 'all'}")
        return channel

    def _leave(self, name: str, channel: Channel) -> None:
        self.clients -= 1
        channel.clients -= 1
        if self.clients == 0:
            self._unwatch()
        if channel.clients == 0 and self._channels.get(name) is channel:
            del self._channels[name]
            if name in self._wakes:
                self._wakes.pop(name).set()

    async def _catch_up(self, name: str, reader: Reader) -> AsyncIterator[Frame]:
        """What the record has behind the reader's mark; nothing where it follows no record."""
        reader.place = reader.channel.end
        if reader.mark is None:
            return
        async for one in self._recorded(name, reader.mark):
            reader.mark = one.mark or reader.mark
            yield one

    async def _newest(self, run: str) -> Mark:
        found = await self.engine.records.run(run)
        return (0 if found is None else found.seq, 2**53)

    async def _snapshot(self, run: str) -> Frame:
        stages = await self.show.stages(run)
        active = [{"row": at[0], "take": at[1], "stage": stage} for at, stage in stages.items()]
        shown = await self.show.run(run, ROOT)
        return frame("snapshot", {"run": shown, "active": active, "now": self.engine.clock.now()})

    async def _recorded(self, run: str, mark: Mark) -> AsyncIterator[Frame]:
        """Outcomes behind ``mark``, in the journal's order, a page at a time."""
        while True:
            rows = await self._page(run, mark)
            for one in await self._outcomes(run, rows):
                yield one
                mark = one.mark or mark
            if len(rows) < PAGE:
                return

    async def _page(self, run: str, mark: Mark) -> list[Row]:
        return await self.engine.journal.read(
            lambda db: db.all("outcomes_since", run=run, seq=mark[0], id=mark[1], limit=PAGE)
        )

    async def _outcomes(self, run: str, rows: list[Row]) -> list[Frame]:
        if not rows:
            return []
        counts = await self.engine.records.counts(run)
        total = sum(counts.values())
        current = total - counts.get("pending", 0)
        shown = await self.show.rows(run, rows, ROOT)
        return [
            _outcome(run, row, one, current, total) for row, one in zip(rows, shown, strict=True)
        ]

    # the readers

    async def _pump_run(self, run: str, mark: Mark) -> None:
        """Read what is new of a run for as long as anybody watches it."""
        channel, wake = self._channels[run], self._wakes[run]
        last = await self.show.run(run, ROOT)
        finished = False  # whatever `last` says: the run may have ended behind the first snapshot
        while channel.clients and not self.closed and self._wakes.get(run) is wake:
            await _awake(wake, LOOK_S)
            # The state first: what it calls over has all its outcomes on record by then.
            now = await self.show.run(run, ROOT)
            async for one in self._recorded(run, mark):
                mark = one.mark or mark
                channel.push(one)
            if _told(now) != _told(last) and now is not None:
                channel.push(frame("run", {"run": now}))
                if last is None or now["money"] != last["money"]:
                    channel.push(frame("money", {"run": run, "money": now["money"]}))
            if _is_over(now) and not finished and now is not None:
                channel.push(_finish(now))
            last, finished = now, _is_over(now)

    async def _pump_note(self, note: str, look: Look) -> None:
        """Tell how far a note's pictures are for as long as anybody watches it."""
        channel, wake = self._channels[note], self._wakes[note]
        last: dict[str, Json] = {}
        moving = False
        while channel.clients and not self.closed and self._wakes.get(note) is wake:
            now = await look(moving)
            moving = now is not None and now.moving
            if now is not None:
                self._followed[now.run] = note
                for key, event, data in now.events():
                    if last.get(key) != data:
                        channel.push(frame(event, {"note": note, **data}))
                    last[key] = data
            await _awake(wake, LOOK_S)
        for run in [run for run, follower in self._followed.items() if follower == note]:
            del self._followed[run]

    async def _pump_all(self) -> None:
        """Look at the open runs of all processes for as long as anybody watches."""
        channel, wake = self._channels[""], self._wakes[""]
        last: dict[str, Json] = {}
        while channel.clients and not self.closed and self._wakes.get("") is wake:
            last = await self._look_at_all(channel, last)
            await _awake(wake, LOOK_S * 2)
            await asyncio.sleep(LOOK_S / 2)  # however much happens, no more often than this

    async def _look_at_all(self, channel: Channel, last: dict[str, Json]) -> dict[str, Json]:
        now: dict[str, Json] = {}
        found = await self.memory.runs(_OPEN)
        owners = {row["id"]: row["caller"] or "" for row in found}
        for run in await self.show.runs(found, ROOT):
            now[run["id"]] = run
        touched, self._touched = self._touched, set()
        for name in (last.keys() | touched) - now.keys():
            over = await self.show.run(name, ROOT)
            if over is not None:
                asked = self.memory.asked(name)
                channel.push(_finish(over, "" if asked is None else asked["caller"]))
                channel.push(frame("run", {"run": over}, owner="" if asked is None else asked["caller"]))  # fmt: skip
        for name, run in now.items():
            if _told(run) != _told(last.get(name)):
                channel.push(frame("run", {"run": run}, owner=owners[name]))
        return now


_OPEN = Listing(states=("open", "paused", "waiting"), limit=200)


async def _awake(wake: asyncio.Event, seconds: float) -> None:
    """Until ``wake`` is set or ``seconds`` real seconds have gone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


async def _beats(pulse: asyncio.Event) -> bool:
    """Whether something came before the next heartbeat is due."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await pulse.wait()
    except TimeoutError:
        return False
    return True


def _told(run: Json | None) -> Any:
    """What is worth an event when it changes."""
    if run is None:
        return None
    held = [(one["endpoint"], one["until"]) for one in run["held"]]
    names = ("state", "counts", "priority", "waits_for", "in_flight", "complete", "carried")
    return held, tuple(str(run[name]) for name in names)


def _is_over(run: Json | None) -> bool:
    """Whether nothing more comes for now."""
    if run is None or run["state"] == "waiting":
        return True
    if run["state"] in ("paused", "cancelled"):
        return bool(run["in_flight"] == 0)
    return bool(run["complete"]) and not run["counts"].get("pending", 0)


def _finish(run: Json, owner: str = "") -> Frame:
    said = {name: run[name] for name in ("state", "counts", "money")}
    return frame("finish", {"run": run["id"], **said, "current": run["done"], "total": run["total"]}, owner=owner)  # fmt: skip


def _outcome(run: str, row: Row, shown: Json, current: int, total: int) -> Frame:
    """A row's end, under our names and RedInk's."""
    good = shown["picture"] is not None
    said = {
        "run": run, "row": shown, "index": shown["row"] - 1,
        "status": "done" if good else "error", "current": current, "total": total,
    }  # fmt: skip
    said |= {"image_url": shown["picture"]["url"]} if good else {"message": shown["error"]}
    return frame("complete" if good else "error", said, (row["seq"], row["id"]))
