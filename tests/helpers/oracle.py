"""The one oracle of every fault test: what has to hold once everything has come to its end.

It reads the journal, the files, the service's own ledger and every byte written, and trusts nothing
that a program said. What it holds is listed in docs/reliability.md.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redloom.emulators.ledger import Ledger, prompt_sha
from redloom.emulators.pictures import prompt_of_picture
from redloom.journal import Journal, Row
from redloom.takeover import download_name

FINAL = frozenset({"ok", "duplicate", "refused", "failed", "in-doubt", "cancelled", "unpaid"})
BAD_WORDS = (b"Traceback (most recent call last)", b"was never retrieved", b"never awaited")
"""What no program may have said, whatever happened to it."""


@dataclass(frozen=True)
class Evidence:
    """What is left of a scene: ``folder`` holds everything that was written, ``workspace`` too."""

    folder: Path
    workspace: Path
    ledger: Ledger | None
    """The service's own books; None where nothing costs money."""
    outcomes: frozenset[str] = frozenset({"ok", "duplicate"})
    """The outcomes that the scene's faults allow."""
    secrets: Sequence[str] = ()
    refused: Mapping[str, int] | None = None
    """Requests that the service refused because a quota was used up, by quota (`service.Watched`);
    None: nobody counted."""
    learning: float = 0.05
    """Refusals for each accepted request while an unknown quota, or one that is told wrongly, is
    found: what `test_limit` holds for rates from 0.3 to 50 a second and 2 to 100 at once."""
    copies: int = 1
    """Purchases of one prompt that are right: 2 where the store was emptied in between."""
    runs: int | None = None
    """How many runs there were."""


@dataclass
class Found:
    """What became of a scene's rows; ``lost`` is 0 or the oracle has raised."""

    statuses: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    lost: int = 0
    bought: int = 0


def judge(evidence: Evidence) -> Found:
    """Hold everything against everything else. Raises AssertionError saying what does not hold."""
    jobs = query(evidence.workspace, JOBS)
    tasks = query(evidence.workspace, TASKS)
    found = Found(Counter(job["status"] for job in jobs), len(jobs))
    one_outcome_a_row(jobs, evidence)
    if evidence.ledger is not None:
        nothing_bought_twice(evidence.ledger, evidence.copies)
        same_money(tasks, evidence.ledger)
        quotas_kept(evidence, evidence.ledger, _engines(evidence.workspace))
        found.bought = sum(p.billed > 0 for p in evidence.ledger.own())
    every_file_is_its_prompts(jobs, evidence)
    nothing_half_written(evidence.folder, tasks)
    nothing_secret(evidence.folder, evidence.secrets)
    manifests_agree(jobs)
    return found


JOBS = (
    "SELECT jobs.*, runs.out, runs.kind, runs.complete, runs.total FROM jobs "
    "JOIN runs ON runs.id = jobs.run ORDER BY jobs.run, jobs.row, jobs.take"
)
TASKS = "SELECT tasks.*, jobs.status AS job_status FROM tasks LEFT JOIN jobs ON jobs.id = tasks.job"


def query(workspace: Path, sql: str) -> list[Row]:
    """A query on a journal at rest."""
    journal = Journal(workspace / "journal.db").open()
    try:
        return journal.read_now(lambda db: db.connection.execute(sql).fetchall())
    finally:
        journal.close()


def one_outcome_a_row(jobs: Sequence[Row], evidence: Evidence) -> None:
    """Rows are numbered as they came, none is missing, each has one outcome that is allowed."""
    by_run: dict[str, list[Row]] = {}
    for job in jobs:
        by_run.setdefault(job["run"], []).append(job)
    assert evidence.runs is None or len(by_run) == evidence.runs, sorted(by_run)
    for run, rows in by_run.items():
        assert all(job["complete"] for job in rows), f"run {run} was never read to its end"
        numbers = [(job["row"], job["take"]) for job in rows]
        assert numbers == [(n, 1) for n in range(1, len(rows) + 1)], run
        assert len(rows) == rows[0]["total"]
    wrong = {
        (job["run"], job["row"], job["status"], job["code"], job["error"])
        for job in jobs
        if job["status"] not in evidence.outcomes
    }
    assert not wrong, sorted(wrong)[:20]
    ended = [job for job in jobs if job["status"] in FINAL]
    assert not [job["id"] for job in ended if job["ended"] is None or job["seq"] is None]


def nothing_bought_twice(ledger: Ledger, copies: int = 1) -> None:
    """By the service's own books: for every prompt at most one request that is charged."""
    twice = {
        prompt: [p.as_record() for p in ledger.by_prompt()[prompt]]
        for prompt in ledger.bought_twice(copies)
    }
    assert not twice, json.dumps(twice, ensure_ascii=False, indent=1)[:4000]


def every_file_is_its_prompts(jobs: Sequence[Row], evidence: Evidence) -> None:
    """Every picture is there, decodes whole, shows its own prompt, and was bought."""
    ledger = evidence.ledger
    bought = None if ledger is None else {p.prompt for p in ledger.own() if p.billed}
    for job in jobs:
        if job["status"] not in ("ok", "duplicate"):
            continue
        given = json.loads(job["input"])
        prompt = given.get("softened") or json.loads(job["request"])["prompt"]
        place = picture_of(job, evidence.workspace)
        assert place.is_file(), f"{job['run']} row {job['row']}: {place} is not there"
        assert prompt_of_picture(place.read_bytes()) == prompt_sha(prompt), (job["row"], place)
        assert bought is None or prompt in bought, (
            f"row {job['row']} has a picture that nobody sold"
        )


def picture_of(job: Row, workspace: Path) -> Path:
    """The delivered file of a job, or its picture in the store where the run has no folder."""
    if job["file"]:
        return Path(job["out"], job["file"])
    found = list((workspace / "images").rglob(f"{job['image']}*"))
    assert found, f"row {job['row']}: no file, and nothing in the store"
    return found[0]


def nothing_half_written(folder: Path, tasks: Sequence[Row] = ()) -> None:
    """No temporary file is left anywhere, but what was begun of a picture that is paid for and
    whose far side was down to the end: the next start goes on with it.
    """
    begun = {download_name(t["id"]) for t in tasks if t["state"] == "made"}
    left = [
        str(path.relative_to(folder))
        for path in folder.rglob("*.part")
        if path.parent.name != "partial" or path.name.partition(".")[0] not in begun
    ]
    left += [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]
    assert left == [], left


def same_money(tasks: Sequence[Row], ledger: Ledger) -> None:
    """What the journal calls billed was sold; what was sold is billed or in doubt there."""
    certain = {t["ticket_id"] for t in tasks if t["billed"] == "yes" and t["ticket_id"]}
    sold = {p.task_id for p in ledger.own() if p.billed}
    at_once = sum(t["billed"] == "yes" and not t["ticket_id"] for t in tasks)
    unsure = sum(t["state"] in ("doubt", "abandoned", "lost") for t in tasks)
    assert certain <= {p.task_id for p in ledger.own()}
    assert len(sold - certain) <= at_once + unsure, sorted(sold - certain)[:10]
    # A picture whose far side was down to the end is left for the next start; nothing else is.
    open_still = [t for t in tasks if t["state"] in ("intent", "accepted", "made")]
    assert not [t["id"] for t in open_still if (t["state"], t["job_status"]) != ("made", "failed")]


FINDING = 17
"""Refusals that finding an unknown quota cost at most in 500 pictures (docs/reliability.md), however
few there are to make."""


def quotas_kept(evidence: Evidence, ledger: Ledger, engines: int) -> None:
    """No quota was asked for more than learning it costs.

    One refusal more for each engine: it does not know when a dead one's last request left.
    """
    if evidence.refused is None:
        return
    asks = {
        "submit": len(ledger.own()),
        "poll": ledger.counts["poll"],
        "list": ledger.counts["list"],
    }
    allowed = {
        quota: max(FINDING, evidence.learning * number) + engines for quota, number in asks.items()
    }
    asked = Counter({"submit": 0, "poll": 0, "list": 0})
    for quota, number in evidence.refused.items():
        asked[quota if quota in allowed else "submit"] += number
    over = {
        quota: (asked[quota], allowed[quota]) for quota in asked if asked[quota] > allowed[quota]
    }
    assert not over, f"quotas that were not learnt, (refusals, allowed): {over}"


def _engines(workspace: Path) -> int:
    """How many engines have worked there, one after another."""
    return int(query(workspace, "SELECT value FROM meta WHERE name = 'epoch'")[0]["value"])


def nothing_secret(folder: Path, secrets: Sequence[str]) -> None:
    """No byte that was written is a key's: workspace, pictures, manifests, and all that was said."""
    needles = [form for secret in secrets for form in _forms(secret)]
    for path in files(folder):
        data = path.read_bytes()
        told = [needle for needle in needles if needle in data]
        assert not told, f"{path} has the key in it"
        if path.suffix in (".out", ".err"):
            bad = [word for word in BAD_WORDS if word in data]
            assert not bad, f"{path}: {data[-3000:].decode('utf-8', 'replace')}"


def _forms(secret: str) -> tuple[bytes, ...]:
    raw = secret.encode()
    return (
        raw,
        base64.b64encode(raw).rstrip(b"=")[:-2],
        raw[: len(raw) // 2 + 1],
        raw.hex().encode(),
    )


def files(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def manifests_agree(jobs: Sequence[Row]) -> None:
    """Where a run keeps a manifest it has every row once, with the journal's outcome."""
    by_out: dict[str, list[Row]] = {}
    for job in jobs:
        if job["out"] and Path(job["out"], "manifest.jsonl").exists():
            by_out.setdefault(job["out"], []).append(job)
    for out, rows in by_out.items():
        text = Path(out, "manifest.jsonl").read_text("utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        assert [(one["row"], one["take"]) for one in lines] == [(j["row"], j["take"]) for j in rows]
        differ = [
            (one["row"], one["status"], job["status"])
            for one, job in zip(lines, rows, strict=True)
            if (one["status"], one["file"]) != (job["status"], job["file"])
        ]
        assert not differ, (out, differ[:10])
