"""Notes in the making: written, painted, set; taken up where they were after a restart.

What costs money is on record before the next step: the words (``plan``) when they are written, the
pictures' run as soon as it is there. A note's takes belong to it, so that even a crash between the
two asks for the same pictures again and buys none twice.

May import: clock, errors, job, journal, lang, engine, note, records, settings,
studio.{memory,chores,feed,outline,webhooks,note_show}.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redloom.clock import offload
from redloom.engine import Engine
from redloom.errors import BadInput, RedloomError
from redloom.job import AGAIN
from redloom.journal import Row
from redloom.lang import Text
from redloom.note.from_run import (
    LATER,
    NO_COVER,
    SETTLED,
    illustrated,
    label_card,
    no_reference,
    with_reference,
)
from redloom.note.illustrator import Illustrated, PictureWanted
from redloom.note.make import NoteEvent, NoteSettings, make_note, with_pictures
from redloom.note.plan import NotePlan
from redloom.note.redo import Change, redo_note
from redloom.note.source import Source, parse_source
from redloom.note.writer import Wish, Writer, Written
from redloom.note.writer_local import LocalWriter
from redloom.note.writers import writer_of
from redloom.settings import Settings

from .chores import Chores, log
from .feed import ROOT, Feed
from .memory import Memory
from .note_show import NoteShow
from .problems import Problem, not_found
from .webhooks import Webhooks

Json = dict[str, Any]
DEFAULT_THEME = "paper"


@dataclass(frozen=True, slots=True)
class Purchase:
    """Pictures that a note wants. ``take`` makes them its own."""

    note: str
    caller: str
    wanted: Sequence[PictureWanted]
    endpoints: Sequence[str]
    budget: float | None
    currency: str
    take: int
    later: int = 0
    """How many more follow in the same run, drawn after the first of these."""


Buy = Callable[[Purchase], Awaitable[str]]
"""Begins the run of a purchase; its id."""
Append = Callable[[str, Purchase], Awaitable[bool]]
"""Appends a purchase to its note's run; whether an endpoint took the references."""


@dataclass(frozen=True)
class Kept:
    """A writer that has written: hands over what is on record."""

    written: Written
    name: str
    identity: str

    async def write(self, source: Source, wish: Wish) -> Written:
        """What was written before, whatever is wished now."""
        return self.written


@dataclass
class Notes:
    """All notes of the workspace, and the work on them."""

    engine: Engine
    memory: Memory
    settings: Settings | None
    chores: Chores
    feed: Feed
    show: NoteShow
    hooks: Webhooks
    wait: Callable[[str], Awaitable[None]]
    """Until a run is over."""
    buy: Buy | None = None
    append: Append | None = None
    _work: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def start(self) -> None:
        """Take up what an earlier server left in the middle."""
        for row in await self.memory.unfinished_notes():
            self.begin(row["id"])

    async def add(self, caller: str, story: str, asked: Mapping[str, Any], hook: str) -> str:
        """A new note; its id. Raises BadInput where the story is none."""
        await offload(_source, story)
        note = f"n_{secrets.token_hex(5)}"
        title = str(asked.get("title") or "")
        take = {"take": int(time.time() * 1000)}
        await self.memory.add_note(
            note, caller, story, {**asked, **take}, time.time(), title=title, hook=hook
        )
        self.begin(note)
        return note

    def begin(self, note: str) -> None:
        """Work on it, unless somebody does already."""
        task = self._work.get(note)
        if task is None or task.done():
            self._work[note] = self.chores.begin(self._carry(note), f"note {note}")

    def folder(self, note: str) -> Path:
        """Where the finished note lies."""
        return self.show.folder(note)

    def must(self, note: str, caller: str) -> Row:
        """The note, if ``caller`` (empty: anyone) may see it. Raises Problem 404."""
        row = self.memory.note(note)
        if row is None or (caller and row["caller"] != caller):
            raise not_found("没有这篇笔记。", "There is no such note.")
        return row

    async def cancel(self, note: str) -> None:
        """Stop; what is paid for stays on record."""
        row = self.must(note, "")
        task = self._work.get(note)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if row["run"]:
            await self.engine.cancel(row["run"])
        state = "done" if (self.folder(note) / "post.json").is_file() else "cancelled"
        await self._set(note, state=state, doing="")

    async def remove(self, note: str) -> None:
        """Out of the history; its folder is kept under ``removed/``."""
        await self.cancel(note)
        owner = self.must(note, "")["caller"]
        await self._set(note, state="removed")
        self.feed.tell(note, "note", {"note": {"id": note, "state": "removed"}}, owner=owner)
        folder = self.folder(note)
        if folder.is_dir():
            target = folder.parent / "removed" / note
            await offload(_moved, folder, target)

    async def _set(self, note: str, **values: str) -> None:
        await self.memory.set_note(note, time.time(), **values)
        row = self.memory.note(note)
        if row is not None:
            shown = await self.show.brief(row, ROOT)
            self.feed.tell(note, "note", {"note": shown}, owner=row["caller"])

    # the way of a note

    async def _carry(self, note: str) -> None:
        row = self.memory.note(note)
        if row is None:
            return
        try:
            if row["doing"]:
                await self._redo(note, json.loads(row["doing"]))
            else:
                await self._make(note, row)
        except asyncio.CancelledError:
            raise
        except RedloomError as error:
            await self._fail(note, error.text, error.code, error.spent)
        except Problem as error:
            await self._fail(note, error.text, error.code, error.spent)
        except Exception:
            log.exception("note %s", note)
            text = Text("程序内部出错，详情在日志里。", "An internal error; the log has the details.")  # fmt: skip
            await self._fail(note, text, "bug", "maybe")

    async def _fail(self, note: str, text: Text, code: str, spent: str) -> None:
        """What went wrong is kept; a note that was done before stays done."""
        error = json.dumps(
            {"message": list(text), "code": code, "spent": spent}, ensure_ascii=False
        )
        there = (self.folder(note) / "post.json").is_file()
        await self._set(note, state="done" if there else "failed", error=error, doing="")
        await self._tell_hook(note)

    async def _make(self, note: str, row: Row) -> None:
        asked = json.loads(row["asked"])
        source = await offload(_source, row["story"])
        if not row["plan"]:
            await self._set(note, state="writing", error="")
            row = await self._write(note, source, asked)
            if asked.get("step") == "outline":
                await self._set(note, state="outline")
                return
        kept = _kept(json.loads(row["plan"]))
        paints = self._paints(asked) and asked.get("images") != 0
        illustrate = self._illustrator(note, asked) if paints else None

        def stage(event: NoteEvent) -> None:
            if event.stage in ("painting", "setting"):
                self.chores.begin(self._set(note, state=event.stage), f"stage of {note}")

        result = await make_note(
            source, self._settings_of(note, asked), writer=kept, illustrate=illustrate,
            label=label_card, on_event=stage, made_at=_now(),
        )  # fmt: skip
        await self._set(note, state="done", title=result.post.title, error="")
        await self._tell_hook(note)

    async def _write(self, note: str, source: Source, asked: Json) -> Row:
        writer = self.writer(asked)
        wish = Wish(asked.get("style") or "photo", asked.get("pages"), asked.get("author") or "")
        written = await writer.write(source, wish)
        planned = written.plan
        if asked.get("step") == "outline":  # it lists what would be bought, no more
            planned = with_pictures(planned, asked.get("images") if self._paints(asked) else 0)
        plan = {
            "plan": planned.to_json(), "warnings": [list(text) for text in written.warnings],
            "usage": written.usage, "name": writer.name, "identity": writer.identity,
        }  # fmt: skip
        title = asked.get("title") or written.plan.titles[0].text
        await self._set(note, plan=json.dumps(plan, ensure_ascii=False, default=str), title=title)
        return self.must(note, "")

    def writer(self, asked: Mapping[str, Any]) -> Writer:
        """Who writes this note. Raises BadSettings where the one named cannot."""
        if self.settings is None:
            return LocalWriter()
        named = asked.get("writer") or "auto"
        named = self.settings.writer if named == "auto" else named
        return writer_of(replace(self.settings, writer=named), offline=bool(asked.get("offline")))

    def _paints(self, asked: Mapping[str, Any]) -> bool:
        """Whether this note's pictures would be bought at all."""
        return self.buy is not None and not asked.get("offline") and self._can_paint(asked)

    def _can_paint(self, asked: Mapping[str, Any]) -> bool:
        """Whether there is an endpoint for pictures; cards alone are none unless they were named."""
        if asked.get("endpoint"):
            return True
        return any(live.capabilities.made_by_model for live in self.engine.lives)

    def _settings_of(self, note: str, asked: Mapping[str, Any]) -> NoteSettings:
        theme = asked.get("theme") or (self.settings.theme if self.settings else "")
        return NoteSettings(
            out=self.folder(note), pages=asked.get("pages"), images=asked.get("images"),
            theme=theme or DEFAULT_THEME, ratio=asked.get("ar") or "3:4",
            offline=bool(asked.get("offline")), title=asked.get("title") or None,
            style=asked.get("style") or "photo", author=asked.get("author") or "", overwrite=True,
            consistent=bool(asked.get("consistent")),
        )  # fmt: skip

    def _illustrator(self, note: str, asked: Json) -> Callable[[Sequence[PictureWanted]], Any]:
        async def illustrate(wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
            first = [one for one in wanted if one.like is None]
            rest = [one for one in wanted if one.like is not None]
            run = self.must(note, "")["run"]
            run = run or await self._bought(note, self._purchase(note, asked, first, len(rest)))
            made = await self._pictures(run, first)
            return [*made, *await self._like(run, note, asked, rest, made)] if rest else made

        return illustrate

    def _purchase(
        self, note: str, asked: Json, wanted: Sequence[PictureWanted], later: int = 0
    ) -> Purchase:
        return Purchase(
            note, self.must(note, "")["caller"], wanted, asked.get("endpoint") or (),
            asked.get("budget"), asked.get("currency") or "", asked["take"], later,
        )  # fmt: skip

    async def _bought(self, note: str, purchase: Purchase) -> str:
        assert self.buy is not None
        run = await self.buy(purchase)
        await self._set(note, run=run)
        return run

    async def _like(
        self,
        run: str,
        note: str,
        asked: Json,
        rest: Sequence[PictureWanted],
        made: Sequence[Illustrated],
    ) -> list[Illustrated]:
        """The pictures that shall look like the first, behind it in the same run; where there is
        nothing to look like they are made from their words, with a remark.
        """
        leader = made[0]
        if not leader.ok and leader.record.get("status") not in SETTLED:
            return [Illustrated(one.row, False, record={"status": "pending"}, error=LATER) for one in rest]  # fmt: skip
        wanted = [replace(one, reference=leader.data) for one in rest]
        if await self.engine.records.last_row(run) == len(made):
            assert self.append is not None
            await self.append(run, self._purchase(note, asked, wanted))
        found = await self._pictures(run, wanted, after=len(made))
        if not leader.ok:
            return [replace(one, remark=NO_COVER) for one in found]
        names = asked.get("endpoint") or [live.name for live in self.engine.lives][:1]
        why = no_reference(names)
        return [one if one.record.get("reference_sha256") else replace(one, remark=why) for one in found]  # fmt: skip

    async def _pictures(
        self, run: str, wanted: Sequence[PictureWanted], after: int = 0
    ) -> list[Illustrated]:
        """The run's pictures from behind row ``after``, once it is over; one that was left
        unfinished is taken up again.
        """
        record = await self.engine.records.run(run)
        if record is not None and record.owner != self.engine.workspace.token:
            await self.engine.resume(run)
        await self.wait(run)
        rows = await self.engine.records.rows(run, (0, 0), 100)
        results = {row["row"]: self.engine.result_of(row) for row in rows}
        led = {row["row"] for row in rows if json.loads(row["request"]).get("references")}
        found = []
        for at, one in enumerate(wanted, after + 1):
            made = await illustrated(one, results.get(at), rows)
            found.append(with_reference(made, one.reference if at in led else None))
        return found

    async def again(self, note: str) -> None:
        """Go on after an outline, a failure or a cancel: only what is missing is made."""
        row = self.must(note, "")
        if row["state"] not in ("outline", "failed", "cancelled", "done"):
            raise _busy()
        asked = {**json.loads(row["asked"]), "step": "all"}
        if row["run"]:
            await self.engine.records.reopen(row["run"], AGAIN)
            await self.engine.resume(row["run"])
        state = "painting" if row["plan"] else "writing"
        await self._set(note, state=state, asked=json.dumps(asked, ensure_ascii=False), error="")
        self.begin(note)

    async def replan(self, note: str, plan: NotePlan) -> None:
        """An edited outline: it is set as it stands, its pages cut where they are, its pictures
        all made and no others, however many the note was begun with.
        """
        row = self.must(note, "")
        if row["state"] != "outline":
            raise _busy()
        kept = {**json.loads(row["plan"]), "plan": plan.to_json()}
        title = plan.titles[0].text
        asked = {**json.loads(row["asked"]), "pages": None, "title": title}
        asked["images"] = len(plan.prompts)
        await self._set(
            note, plan=json.dumps(kept, ensure_ascii=False), title=title,
            asked=json.dumps(asked, ensure_ascii=False),
        )  # fmt: skip

    # changes

    async def change(self, note: str, change: Change) -> None:
        """A change that costs nothing, done when this returns. Raises BadInput."""
        self._check_done(note)
        async with self._locks.setdefault(note, asyncio.Lock()):
            result = await redo_note(self.folder(note), change, label=label_card, made_at=_now())
        await self._set(note, title=result.post.title, error="")

    async def repaint(self, note: str, doing: Json) -> None:
        """A new picture for a card: on record first, then begun."""
        self._check_done(note)
        if self.buy is None or not self._can_paint(doing):
            raise BadInput(
                "没有画图的端点：请先设置一个密钥。没有花钱。",
                "There is no endpoint for pictures: set a key first. Nothing was spent.",
            )
        doing = {**doing, "take": int(time.time() * 1000)}
        await self._set(
            note, state="painting", doing=json.dumps(doing, ensure_ascii=False), error=""
        )
        self.begin(note)

    async def _redo(self, note: str, doing: Json) -> None:
        async def illustrate(wanted: Sequence[PictureWanted], /) -> Sequence[Illustrated]:
            assert self.buy is not None
            if not doing.get("run"):
                doing["run"] = await self.buy(
                    Purchase(
                        note, self.must(note, "")["caller"], wanted, doing.get("endpoint") or (),
                        doing.get("budget"), "", doing["take"],
                    )
                )  # fmt: skip
                await self._set(note, doing=json.dumps(doing, ensure_ascii=False))
            return await self._pictures(doing["run"], wanted)

        change = Change(page=doing["page"], prompt=doing["prompt"])
        async with self._locks.setdefault(note, asyncio.Lock()):
            result = await redo_note(
                self.folder(note), change, illustrate=illustrate, label=label_card, made_at=_now()
            )
        await self._set(note, state="done", title=result.post.title, doing="", error="")

    def _check_done(self, note: str) -> None:
        if self.must(note, "")["state"] != "done":
            raise _busy()

    async def _tell_hook(self, note: str) -> None:
        row = self.memory.note(note)
        if row is None or not row["hook"]:
            return
        shown = await self.show.brief(row, self.show.public)
        now = time.time()
        body = {"type": "note.finished", "timestamp": now, "data": {"note": shown}}
        await self.hooks.send(row["hook"], note, body, now)


def _source(story: str) -> Source:
    return parse_source(story.encode("utf-8", "replace"), "story.md")


def _kept(stored: Json) -> Kept:
    plan = NotePlan.from_json(stored["plan"])
    warnings = tuple(Text(*pair) for pair in stored["warnings"])
    return Kept(Written(plan, warnings, stored["usage"]), stored["name"], stored["identity"])


def _moved(folder: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)


def _busy() -> Problem:
    return Problem(
        409, "wrong_state", Text("这篇笔记现在不能这样改。", "The note cannot be changed so now.")
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
