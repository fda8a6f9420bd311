"""What a person should hear of a batch's rows before anything is spent.

Which rows cannot be asked for and why, what is changed for a model, which flags mean nothing
here: each once, with how many rows it holds for and an example.

May import: prompt, cli.common, lang.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from redloom.lang import Text
from redloom.prompt import Prompt

from .common import Common

EXAMPLES = 8
"""Rows that cannot be asked for and are named at once; the manifest has them all."""
KINDS = 12
"""Different changes that are told."""
_STYLES = {"style", "风格", "画风"}


@dataclass
class Remarks:
    """Collected while the input is read for its price."""

    bad: list[tuple[int, str]] = field(default_factory=list)
    """The first rows that cannot be asked for, with their reasons."""
    refused: int = 0
    """Rows that no endpoint could make."""
    changes: Counter[Text] = field(default_factory=Counter)
    first: dict[Text, int] = field(default_factory=dict)
    """The first row of each change."""
    flags: Counter[str] = field(default_factory=Counter)
    unused_style: int = 0

    def saw(self, row: int, prompt: Prompt) -> None:
        """Look at one record."""
        if prompt.problem:
            self.cannot(row, prompt.problem)
            return
        for word in prompt.extra.get("ignored_flags", "").split():
            name = word.lstrip("-—–")
            if name != word and name and not name[0].isdigit():
                self.flags[f"--{name}"] += 1
        named = next(
            (n for n in prompt.extra if unicodedata.normalize("NFKC", n).lower() in _STYLES), ""
        )
        if named and prompt.extra[named] and prompt.extra[named] not in prompt.text:
            self.unused_style += 1

    def cannot(self, row: int, reason: str) -> None:
        """A row that cannot be asked for."""
        if len(self.bad) < EXAMPLES:
            self.bad.append((row, reason))

    def changed(self, row: int, note: Text) -> None:
        """A change made for a model."""
        self.changes[note] += 1
        self.first.setdefault(note, row)

    def tell(self, common: Common, *, aloud: bool, bad: int) -> None:
        """Say it all: on stdout where that was asked for, else by the way."""
        speak = common.say if aloud else common.hint
        for row, reason in sorted(self.bad):
            speak(f"  第 {row} 条不能做：{reason}", f"  row {row} cannot be made: {reason}")
        if bad > len(self.bad):
            more = bad - len(self.bad)
            speak(f"  ……还有 {more} 条不能做", f"  … and {more} more")
        for note, count in self.changes.most_common(KINDS):
            rows = Text(
                f"{count} 张，如第 {self.first[note]} 条",
                f"{count}, such as row {self.first[note]}",
            )
            speak(f"  {note.zh}（{rows.zh}）", f"  {note.en} ({rows.en})")
        if self.flags:
            zh = "、".join(f"{name} × {number}" for name, number in self.flags.most_common(KINDS))
            en = ", ".join(f"{name} × {number}" for name, number in self.flags.most_common(KINDS))
            speak(
                f"  在这里没有意义、不会发出的参数：{zh}",
                f"  flags that mean nothing here and are not sent: {en}",
            )
        if self.unused_style:
            speak(
                f"  {self.unused_style} 条的“风格”列没有写进提示词；要用它就在提示词里写 {{风格}} 或 {{style}}。",
                f"  the style column of {self.unused_style} rows is not in their prompts; write {{style}} into a prompt to use it",
            )

    def record(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "problems": [{"row": row, "reason": reason} for row, reason in self.bad],
            "changes": [
                {"note": str(note), "count": count, "first_row": self.first[note]}
                for note, count in self.changes.most_common()
            ],
            "ignored_flags": dict(self.flags),
        }
