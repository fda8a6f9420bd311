"""Licence and size of everything pinned, as a table in docs/dependencies.md.

    python tools/licences.py          # writes the table anew, from what is installed
    python tools/licences.py --check  # exit 1 where the page does not fit the pins

A licence that is not on the list of those that may be shipped with an Apache-2.0 program stops it.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE, PINS = ROOT / "docs" / "dependencies.md", ROOT / "constraints.txt"
BEGIN, END = "<!-- licences -->", "<!-- /licences -->"
GOOD = re.compile(r"^(MIT|MIT-CMU|MIT-0|BSD|BSD-2-Clause|BSD-3-Clause|3-Clause BSD|Apache|Apache-2.0|Apache 2.0|PSF-2.0|MPL-2.0|ISC|Python)\b")  # fmt: skip
NOT_INSTALLED = {"aiolimiter": ("MIT", 0.1), "dashscope": ("Apache-2.0", 15.0)}
"""Of the race only (`make bench` installs them): licence and MB, from their own pages."""


def pins() -> dict[str, str]:
    """What is pinned, to which version."""
    lines = PINS.read_text("utf-8").split()
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def licence_of(name: str) -> tuple[str, float]:
    """A package's licence as it says itself, and its size in MB as installed."""
    if name in NOT_INSTALLED:
        return NOT_INSTALLED[name]
    found = metadata.distribution(name)
    said = found.metadata
    kinds = [
        one.split(" :: ")[-1]
        for one in said.get_all("Classifier") or ()
        if one.startswith("License")
    ]
    named = said.get("License")
    if named == "UNKNOWN":
        named = ""
    told = said.get("License-Expression") or named or "; ".join(kinds)
    words = told.split("\n")[0].strip()
    if "Mozilla" in words:
        words = "MPL-2.0"
    size = sum(
        path.stat().st_size
        for one in found.files or ()
        if (path := Path(str(one.locate()))).is_file()
    )
    return words.removesuffix(" License"), size / 1e6


def table() -> str:
    """The table. Raises SystemExit for a licence that may not be shipped."""
    rows = []
    for name in sorted(pins(), key=str.lower):
        licence, size = licence_of(name)
        if not all(GOOD.match(part.strip()) for part in re.split(r" (?:OR|AND) ", licence)):
            raise SystemExit(
                f"{name}: the licence “{licence}” is not on the list in tools/licences.py"
            )
        rows.append(f"| {name} | {licence} | {size:.1f} MB |")
    return "\n".join(["| package | licence | installed |", "|---|---|---|", *rows])


def listed() -> dict[str, str]:
    """Package and licence of the page's table."""
    part = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    return dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \| [\d.]+ MB \|$", part, re.MULTILINE))


def main() -> int:
    """Write, or with ``--check`` compare names and licences (sizes differ from machine to machine)."""
    if "--check" in sys.argv[1:]:
        return 0 if set(listed()) == set(pins()) else 1
    text = PAGE.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
