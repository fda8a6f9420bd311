"""Who writes a note: the one named in the settings, else the model where there is a key.

May import: errors, lang, clock, settings, note.source, note.writer, note.writer_local, note.writer_llm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from redloom.errors import BadSettings, ServiceError
from redloom.lang import Text

from .writer import Wish, Writer, Written

if TYPE_CHECKING:
    from redloom.settings import Settings

    from .source import Source


def writer_of(settings: Settings, *, offline: bool) -> Writer:
    """Who writes: the one named, else the model where there is a key, else the local one.

    Raises BadSettings where the named one cannot.
    """
    name = settings.writer
    if name not in ("auto", "local", "llm"):
        raise BadSettings(
            f"没有叫“{name}”的写手；可选 auto、local、llm。没有花钱。",
            f"There is no writer “{name}”; choose auto, local or llm. Nothing was spent.",
        )
    if offline or name == "local" or (name == "auto" and settings.chat is None):
        from .writer_local import LocalWriter

        return LocalWriter()
    chat = _chat_writer(settings)
    return chat if name == "llm" else OrLocal(chat)


@dataclass(frozen=True)
class OrLocal:
    """The model's words; where its service fails, the story's own, and a word about it.

    Only for ``--writer auto``: a person who names ``llm`` hears of the failure instead.
    """

    chat: Writer
    name: str = "auto"

    @property
    def identity(self) -> str:
        """Changes with the model's."""
        return f"auto/{self.chat.identity}"

    async def write(self, source: Source, wish: Wish) -> Written:
        """The plan by either."""
        from .writer_local import LocalWriter

        try:
            return await self.chat.write(source, wish)
        except ServiceError as error:
            why = error.text
        written = await LocalWriter().write(source, wish)
        warning = Text(
            f"文字服务没有写成，文字取自原文（{why.zh}）",
            f"The text service could not write it, so the words are the story's own ({why.en})",
        )
        return replace(written, warnings=(*written.warnings, warning))


def _chat_writer(settings: Settings) -> Writer:
    from redloom.clock import clock_from_environment
    from redloom.settings import check_address

    from .writer_llm import ChatWriter

    chat, clock = settings.chat, clock_from_environment()
    if chat is None:
        return ChatWriter("")  # says which key is missing
    check_address(clock, "chat", chat.base_url)
    return ChatWriter(chat.api_key, model=chat.model, base_url=chat.base_url, clock=clock)
