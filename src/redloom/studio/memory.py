"""What the studio keeps in the journal: callers, what they asked for, notes, opinions, hooks.

Each is one operation, as in `records`; the statements are in ``journal.sql``.
May import: errors, lang, clock, job, journal, records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redloom.journal import Db, Journal, Row


@dataclass(frozen=True, slots=True)
class Listing:
    """Which runs are wanted; empty parts let everything through."""

    before: str = ""
    caller: str = ""
    states: Sequence[str] = ()
    kinds: Sequence[str] = ()
    words: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """A run as it was asked for. ``reserved`` is what it may cost at most."""

    run: str
    caller: str
    name: str = ""
    about: Mapping[str, Any]
    reserved: float = 0.0
    currency: str = ""
    hook: str = ""


class Memory:
    """The typed face of the studio's tables."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    async def secret(self) -> bytes:
        """What sessions, picture addresses and webhooks are signed with."""
        text = await self.journal.read(lambda db: db.value("meta", item="studio"))
        return bytes.fromhex(str(text))

    # callers

    async def add_caller(
        self, name: str, digest: str, at: float, *, per_minute: float | None,
        budget: float | None, currency: str,
    ) -> bool:  # fmt: skip
        """A new caller; False where the name is taken."""
        changed = await self.journal.do(
            lambda db: db.run(
                "add_caller", who=name, hash=digest, created=at, per_minute=per_minute,
                budget=budget, currency=currency,
            ),
            "caller",
        )  # fmt: skip
        return changed > 0

    async def callers(self) -> list[Row]:
        """Every caller that ever was."""
        return await self.journal.read(lambda db: db.all("callers"))

    def caller(self, name: str) -> Row | None:
        """One caller by name."""
        return self.journal.glance(lambda db: db.one("caller", who=name))

    def caller_by_hash(self, digest: str) -> Row | None:
        """Whose token has this SHA-256; also one that was revoked."""
        return self.journal.glance(lambda db: db.one("caller_by_hash", hash=digest))

    async def revoke(self, name: str, at: float) -> bool:
        """The token is good no more; False where there is none."""
        return (
            await self.journal.do(lambda db: db.run("revoke_caller", who=name, at=at), "revoke") > 0
        )

    async def spent_of(self, caller: str) -> tuple[float, float]:
        """Spent, and spent or set aside for what goes on, of a caller."""
        return await self.journal.read(
            lambda db: (
                float(db.value("spent_of_caller", caller=caller)),
                float(db.value("committed_of_caller", caller=caller)),
            )
        )

    # runs

    async def ask(self, asked: AskedFor, budget: float | None = None) -> bool:
        """Set ``asked.reserved`` aside and keep what was asked; False where ``budget`` forbids it.

        One commit: two calls at once cannot both take what is left for one.
        """
        values = {name: getattr(asked, name) for name in asked.__dataclass_fields__}
        values["label"] = values.pop("name")
        values["about"] = json.dumps(dict(asked.about), ensure_ascii=False)
        values["hook_state"] = "waiting" if asked.hook else ""

        def ask(db: Db) -> bool:
            if budget is not None:
                used = float(db.value("committed_of_caller", caller=asked.caller))
                if used + asked.reserved > budget + 1e-9:
                    return False
            db.run("add_asked", **values)
            return True

        return await self.journal.do(ask, "asked")

    def asked(self, run: str) -> Row | None:
        """What a run was asked for with, where it came over HTTP."""
        return self.journal.glance(lambda db: db.one("asked", run=run))

    async def runs(self, wanted: Listing) -> list[Row]:
        """Runs, newest first, with who asked for them."""
        return await self.journal.read(
            lambda db: db.all(
                "page_of_runs", before=wanted.before, caller=wanted.caller,
                states=json.dumps(list(wanted.states)), kinds=json.dumps(list(wanted.kinds)),
                words=_like(wanted.words), limit=wanted.limit,
            )
        )  # fmt: skip

    async def unfinished(self, kinds: Iterable[str]) -> list[Row]:
        """Runs of these kinds that are not over."""
        wanted = json.dumps(list(kinds))
        return await self.journal.read(lambda db: db.all("unfinished_of", kinds=wanted))

    async def rows(
        self, run: str, statuses: Sequence[str], words: str, offset: int, limit: int
    ) -> tuple[list[Row], int]:
        """A page of a run's rows that the filter lets through, and how many those are."""
        how = {"run": run, "statuses": json.dumps(list(statuses)), "words": _like(words)}
        return await self.journal.read(
            lambda db: (
                db.all("filtered_rows", **how, offset=offset, limit=limit),
                _counted(db, run, statuses, how),
            )
        )

    async def row(self, run: str, row: int, take: int) -> Row | None:
        """One row, or None."""
        return await self.journal.read(lambda db: db.one("one_row", run=run, row=row, take=take))

    async def active(self, run: str) -> list[Row]:
        """Live tasks of a run's pending rows."""
        return await self.journal.read(lambda db: db.all("live_of_jobs", run=run))

    async def done_since(self, run: str, since: float) -> int:
        """Pictures of a run finished since then."""
        return int(await self.journal.read(lambda db: db.value("done_since", run=run, since=since)))

    async def hooks_due(self, now: float) -> list[Row]:
        """Webhooks of runs that are over and have not been told."""
        return await self.journal.read(lambda db: db.all("hooks_due", now=now))

    async def set_hook(self, run: str, state: str, tries: int, at: float | None) -> None:
        """How far a webhook has come."""
        await self.journal.do(
            lambda db: db.run("set_hook", run=run, state=state, tries=tries, at=at), "hook"
        )

    # repeated requests

    async def repeat(self, caller: str, key: str, digest: str, at: float) -> Row:
        """What is kept under an Idempotency-Key: kept now, or by the request before."""

        def keep(db: Db) -> Row:
            db.run("add_repeat", caller=caller, key=key, digest=digest, at=at)
            row = db.one("repeat", caller=caller, key=key)
            assert row is not None
            return row

        return await self.journal.do(keep, "repeat")

    async def repeated(self, caller: str, key: str, what: str) -> None:
        """The run or note that the key stands for."""
        await self.journal.do(
            lambda db: db.run("set_repeat", caller=caller, key=key, what=what), "repeat"
        )

    # pictures and opinions

    async def image(self, sha256: str) -> Row | None:
        """What is known of a stored picture by its digest."""
        return await self.journal.read(lambda db: db.one("image_by_sha", sha256=sha256))

    async def is_of(self, image: str, caller: str) -> bool:
        """Whether a picture was made for this caller."""
        found = await self.journal.read(
            lambda db: db.value("caller_of_image", image=image, caller=caller)
        )
        return bool(found)

    async def is_wanted_by(self, key: str, caller: str) -> bool:
        """Whether a run of this caller wants the picture of this key."""
        return bool(
            await self.journal.read(lambda db: db.value("key_of_caller", key=key, caller=caller))
        )

    async def set_feedback(
        self, image: str, thumb: int | None, used: bool | None, at: float
    ) -> Row:
        """Keep an opinion; what is None stays as it was."""
        mark = None if used is None else int(used)

        def keep(db: Db) -> Row:
            row = db.one("set_feedback", image=image, thumb=thumb, used=mark, at=at)
            assert row is not None
            return row

        return await self.journal.do(keep, "feedback")

    async def feedback_of(self, images: Iterable[str]) -> dict[str, Row]:
        """Opinions on these pictures."""
        wanted = json.dumps(list(images))
        rows = await self.journal.read(lambda db: db.all("feedback_of", images=wanted))
        return {row["image"]: row for row in rows}

    async def endpoint_records(self) -> list[Row]:
        """What every endpoint and model made, what it cost, what was kept."""
        return await self.journal.read(lambda db: db.all("record_of_endpoints"))

    async def days(self) -> list[Row]:
        """What was spent, day by day, newest first."""
        return await self.journal.read(lambda db: db.all("spent_by_day"))

    # notes

    async def add_note(
        self, note: str, caller: str, story: str, asked: Mapping[str, Any], at: float,
        title: str = "", hook: str = "",
    ) -> None:  # fmt: skip
        """A note to be written."""
        await self.journal.do(
            lambda db: db.run(
                "add_note", id=note, created=at, caller=caller, state="writing", title=title,
                story=story, asked=json.dumps(dict(asked), ensure_ascii=False), hook=hook,
            ),
            "note",
        )  # fmt: skip

    def note(self, note: str) -> Row | None:
        """One note, unless it was removed."""
        return self.journal.glance(lambda db: db.one("note", id=note))

    async def set_note(self, note: str, at: float, **values: str) -> None:
        """Change what is given of state, title, asked, plan, run, doing, error."""
        names = ("state", "title", "asked", "plan", "run", "doing", "error")
        told = {name: values.get(name) for name in names}
        await self.journal.do(lambda db: db.run("set_note_values", id=note, at=at, **told), "note")

    async def notes(self, words: str, caller: str, before: str, limit: int) -> list[Row]:
        """Notes, newest first."""
        return await self.journal.read(
            lambda db: db.all(
                "page_of_notes", words=_like(words), caller=caller, before=before, limit=limit
            )
        )

    async def unfinished_notes(self) -> list[Row]:
        """Notes that an earlier server left in the middle."""
        return await self.journal.read(lambda db: db.all("unfinished_notes"))


def _counted(db: Db, run: str, statuses: Sequence[str], how: Mapping[str, Any]) -> int:
    """How many rows the filter lets through; without words the index knows it."""
    if how["words"]:
        return int(db.value("count_filtered", **how))
    counts = db.all("counts", run=run)
    return sum(row["number"] for row in counts if not statuses or row["status"] in statuses)


def _like(words: str) -> str:
    """A pattern for LIKE … ESCAPE '!' that finds ``words`` anywhere; empty for none."""
    words = words.strip()
    if not words:
        return ""
    for mark in "!%_":
        words = words.replace(mark, f"!{mark}")
    return f"%{words}%"
