"""In which language the user is spoken to: Chinese or English, and a sentence in both.

May import: nothing of the package.
"""

from __future__ import annotations

import locale
import os
from contextvars import ContextVar
from typing import Literal, NamedTuple

Lang = Literal["zh", "en"]


class Text(NamedTuple):
    """One sentence in both languages. ``str()`` is the sentence in the language in force."""

    zh: str
    en: str

    def __str__(self) -> str:
        return self.zh if language() == "zh" else self.en

    def format(self, **values: object) -> Text:
        """The sentence with ``{name}`` filled in, in both languages."""
        return Text(self.zh.format(**values), self.en.format(**values))


_language: ContextVar[Lang | None] = ContextVar("redloom_language", default=None)


def language() -> Lang:
    """The language in force: the one set by `use_language`, else what the locale says."""
    return _language.get() or language_of_locale()


def use_language(lang: Lang | None) -> None:
    """Speak ``lang`` from here on in this context; ``None`` goes back to the locale."""
    _language.set(lang)


def language_of_locale() -> Lang:
    """``zh`` where the locale says Chinese, else ``en``.

    The variables are read in the order of POSIX (LC_ALL, LC_MESSAGES, LANG); Python's own
    `locale.getlocale` is asked only where none is set, as on Windows.
    """
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    named = locale.getlocale()[0] or ""
    return "zh" if named.lower().startswith(("zh", "chinese")) else "en"
