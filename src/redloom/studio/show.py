"""Runs and rows as the API shows them (docs/api.md).

May import: spending, engine, journal, records, manifest, lang, studio.{memory,pictures,words}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redloom.engine import Engine
from redloom.journal import Db, Row
from redloom.lang import Text
from redloom.manifest import line_of
from redloom.records import Run
from redloom.spending import spending_of

from .memory import Memory
from .pictures import Pictures
from .words import Said, outcome_words

Json = dict[str, Any]
PACE_S = 120.0
"""Over how many nominal seconds a run's pace is measured."""
_STAGES = {"intent": "sent", "accepted": "sent", "doubt": "doubt", "made": "fetching"}


@dataclass
class Moment:
    """What only the events tell, of now: how far rows are, which endpoints wait for their quota."""

    stages: dict[str, dict[tuple[int, int], str]] = field(default_factory=dict)
    held: dict[str, tuple[float, Text]] = field(default_factory=dict)
    """Endpoint to the nominal time before which it may not be asked, and why."""
    stopped: dict[str, Text] = field(default_factory=dict)
    """Why endpoints are out of use until a person acts."""


@dataclass
class Show:
    """Makes the API's JSON out of the journal's rows. ``root`` is what our addresses begin with."""

    engine: Engine
    memory: Memory
    pictures: Pictures
    moment: Moment = field(default_factory=Moment)

    # runs

    async def run(self, run: str, root: str) -> Json | None:
        """One run, or None."""
        found = await self.engine.records.run(run)
        if found is None:
            return None
        asked = self.memory.asked(run)
        return (await self._runs([(found, dict(asked) if asked else {})], root))[0]

    async def runs(self, rows: Sequence[Row], root: str) -> list[Json]:
        """Runs as `Memory.runs` gives them."""
        extra = ("caller", "name", "about")
        pairs = []
        for row in rows:
            values = dict(row)
            asked = {name: values.pop(name) for name in extra}
            values["options"] = json.loads(values["options"])
            values["environment"] = json.loads(values["environment"])
            values["complete"] = bool(values["complete"])
            pairs.append((Run(**values), asked))
        return await self._runs(pairs, root)

    async def _runs(self, pairs: Sequence[tuple[Run, Mapping[str, Any]]], root: str) -> list[Json]:
        now = self.engine.clock.now()
        facts = await self.engine.journal.read(
            lambda db: [_facts(db, run, now - PACE_S) for run, _ in pairs]
        )
        return [
            self._run(run, asked, fact, root, now)
            for (run, asked), fact in zip(pairs, facts, strict=True)
        ]

    def _run(self, run: Run, asked: Mapping[str, Any], facts: Json, root: str, now: float) -> Json:
        counts: dict[str, int] = facts["counts"]
        total = run.total or sum(counts.values())
        done = sum(number for status, number in counts.items() if status != "pending")
        endpoints = list(run.environment.get("places", {}))
        about = json.loads(asked.get("about") or "{}")
        self_url = f"{root}/api/runs/{run.id}"
        return {
            "id": run.id, "name": asked.get("name") or about.get("name") or "", "kind": run.kind,
            "state": "waiting" if run.state == "open" and run.note else run.state,
            "waits_for": run.note, "carried": self._carried(run), "created": run.created,
            "total": total, "complete": run.complete, "counts": counts, "done": done,
            "in_flight": facts["live"], "priority": run.priority, "endpoints": endpoints,
            "model": run.options.get("model", ""), "size": run.options.get("size", ""),
            "money": {**facts["money"], "budget": run.budget, "currency": run.currency},
            "pace": _pace(facts["lately"], counts.get("pending", 0), run, now),
            "held": [
                held_json(name, *self.moment.held[name], now)
                for name in endpoints
                if name in self.moment.held and self.moment.held[name][0] > now
            ],
            "urls": {
                "self": self_url, "events": f"{self_url}/events", "rows": f"{self_url}/rows",
                "zip": f"{self_url}/export.zip", "manifest": f"{self_url}/manifest.csv",
                "report": f"{self_url}/report",
            },
        }  # fmt: skip

    def _carried(self, run: Run) -> str:
        if run.owner == self.engine.workspace.token:
            return "here"
        return "elsewhere" if self.engine.workspace.lives(run.owner) else "nobody"

    # rows

    async def rows(self, run: str, rows: Iterable[Row], root: str) -> list[Json]:
        """Rows of one run, with how far each is and what was thought of it."""
        rows = list(rows)
        stages: dict[tuple[int, int], str] = {}
        if any(row["status"] == "pending" for row in rows):
            stages = await self.stages(run)
        images = [row["image"] for row in rows if row["image"]]
        opinions = await self.memory.feedback_of(images) if images else {}
        return [self.row(row, stages, opinions, root) for row in rows]

    async def stages(self, run: str) -> dict[tuple[int, int], str]:
        """How far the pending rows of a run are that are not merely waiting."""
        live = await self.memory.active(run)
        known = {(row["row"], row["take"]): _STAGES[row["state"]] for row in live}
        said = self.moment.stages.get(run, {})
        return {**{at: stage for at, stage in said.items() if stage == "retrying"}, **known,
                **{at: stage for at, stage in said.items() if at in known and known[at] == "sent"}}  # fmt: skip

    def row(
        self,
        row: Row,
        stages: Mapping[tuple[int, int], str],
        opinions: Mapping[str, Row],
        root: str,
    ) -> Json:
        """One row."""
        line = line_of(row)
        at = (row["row"], row["take"])
        about = json.loads(row["about"] or "{}")
        given = json.loads(row["input"])
        opinion = opinions.get(row["image"] or "")
        return {
            "row": line["row"], "take": line["take"], "id": line["id"], "status": line["status"],
            "stage": stages.get(at, "waiting") if row["status"] == "pending" else None,
            "prompt": line["prompt"], "revised_prompt": about.get("revised_prompt", ""),
            "endpoint": line["endpoint"], "model": line["model"], "size": line["size"],
            "seed": line["seed"], "attempts": line["attempts"], "seconds": line["seconds"],
            "finished_at": row["ended"], "price": line["price"], "currency": line["currency"],
            "price_source": line["price_source"], "code": line["error_code"],
            "error": outcome_words(line["status"], line["error_code"], line["error"]), "recorded": line["error"],
            "flags": line["flags"].split(), "extra": given.get("extra", {}),
            "picture": self.picture(row, root),
            "feedback": {
                "thumb": opinion["thumb"] if opinion else 0,
                "used": bool(opinion["used"]) if opinion else False,
            },
        }  # fmt: skip

    def picture(self, row: Row, root: str) -> Json | None:
        """A row's picture, or None while there is none."""
        if row["status"] not in ("ok", "duplicate") or not row["image"]:
            return None
        sha = row["image"]
        kind = str(row["file"]).rpartition(".")[2] or "png"
        return {
            "url": root + self.pictures.path(sha, kind),
            "thumb": root + self.pictures.path(sha, thumb=True),
            "width": row["width"], "height": row["height"], "sha256": sha,
        }  # fmt: skip


def held_json(endpoint: str, until: float, reason: Text, now: float) -> Json:
    """A quota's countdown; ``seconds`` are nominal, counted from ``now``."""
    seconds = max(0.0, round(until - now, 1))
    return {"endpoint": endpoint, "until": until, "seconds": seconds, "reason": Said(reason)}


def _facts(db: Db, run: Run, since: float) -> Json:
    """What a run's tables say of it, in one go."""
    spending = spending_of(db.all("spent", run=run.id))
    counts = {row["status"]: row["number"] for row in db.all("counts", run=run.id)}
    is_open = run.state == "open" and counts.get("pending", 0) > 0
    return {
        "counts": counts,
        "live": int(db.value("live_of_run", run=run.id)),
        "lately": int(db.value("done_since", run=run.id, since=since)) if is_open else 0,
        "money": money_json(spending.billed, spending.maybe, spending.unpriced),
    }


def _pace(lately: int, waiting: int, run: Run, now: float) -> Json | None:
    """Pictures a minute and nominal seconds to the end, once there is something to tell from."""
    if not lately or not waiting or run.state != "open":
        return None
    seconds = max(1.0, min(PACE_S, now - run.created))
    return {
        "per_minute": round(lately * 60 / seconds, 2),
        "eta_s": round(waiting * seconds / lately, 1),
    }


def money_json(spent: Mapping[str, float], maybe: Mapping[str, float], unpriced: int) -> Json:
    """Sums by currency, without the dust of binary fractions."""
    return {"spent": rounded(spent), "maybe": rounded(maybe), "unpriced": unpriced}


def rounded(sums: Mapping[str, float]) -> dict[str, float]:
    """Amounts to a millionth; nothing for what is nothing."""
    return {code: round(amount, 6) for code, amount in sums.items() if code and round(amount, 6)}
