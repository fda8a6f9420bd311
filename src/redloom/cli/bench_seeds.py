"""``redloom bench --seeds A-B`` and ``--sweep``: our client alone, on the clock that jumps.

May import: cli.common, errors, bench.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from redloom.errors import BadInput

from .common import Common

if TYPE_CHECKING:
    from redloom.bench.measure import Row
    from redloom.bench.scenarios import Scenario

SCENES = ("unequal", "slows", "reject", "halved")
"""Those in which the last draws decide; the others by ``--scenario``."""
MOST = 1000


def seeds_of(text: str) -> range:
    """``2001-2020`` or one number. Raises BadInput for anything else."""
    first, _, last = text.partition("-")
    if first.isdecimal() and (last or first).isdecimal():
        found = range(int(first), int(last or first) + 1)
        if 0 < len(found) <= MOST:
            return found
    raise BadInput(
        f"--seeds 要写成 2001-2020 这样（至多 {MOST} 个），不是“{text}”。",
        f"--seeds is a range such as 2001-2020, of {MOST} at most; not “{text}”.",
    )


def seeds(common: Common, asked: dict[str, Any], scenes: Sequence[Scenario]) -> int:
    """Run them, tell how the figures fall, keep them; 1 where a median misses its target."""
    from redloom.bench import jumped, machine, race, spread

    wanted = seeds_of(asked["seeds"])
    for one in scenes:
        if one.lane == "sync":
            raise BadInput(
                f"“{one.name}”走同步通道，调用一直开着，时钟跳不了；去掉 --seeds 跑它。",
                f"“{one.name}” keeps its calls open, so the clock cannot jump; run it without --seeds.",
            )
    about = machine.about()

    def told(row: Row) -> None:
        common.emit({"event": "seed", **row.record()})
        if not common.json and not common.quiet:
            click.echo(f"· {row.scenario} {row.seed} {row.above_pct:+.2f} %", err=True)

    rows = jumped.many(scenes, wanted, asked["at_once"] or os.cpu_count() or 1, told)
    race.keep(asked["out"] / "seeds.json", rows, about)
    lines = "\n".join(spread.markdown(scenes, rows))
    common.say(lines, lines)
    bad = spread.faults(rows)
    for line in bad:
        common.hint(line, line)
    common.hint(f"\n结果：{asked['out']}/seeds.json", f"\nResults: {asked['out']}/seeds.json")
    kinds = [one for scene in scenes for one in spread.spreads(scene, rows) if one.target]
    missed = any(one.target and one.median > one.target.most for one in kinds)
    return 1 if missed or bad else 0


def sweep(common: Common, asked: dict[str, Any]) -> int:
    """What each setting costs; 1 where a picture is missing or was bought twice."""
    from redloom.bench import machine
    from redloom.bench import sweep as settings

    about = machine.about()

    def told(row: settings.Measured) -> None:
        common.emit({"event": "setting", **settings.record(row)})
        if not common.json and not common.quiet:
            click.echo(f"· {row.name} {row.above_pct:+.1f} %", err=True)

    rows = settings.sweep(asked["pictures"] or 60, asked["at_once"] or os.cpu_count() or 1, told)
    path = asked["out"] / "sweep.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**about, "rows": [settings.record(row) for row in rows]}
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    lines = "\n".join(settings.markdown(rows))
    common.say(lines, lines)
    common.hint(f"\n结果：{path}", f"\nResults: {path}")
    return 0 if all(row.delivered == row.wanted and not row.twice for row in rows) else 1
