"""A refused prompt in milder words, by a text model; only where the user asked for that.

What comes of it is never silent: the new words are recorded beside the user's own, told when
they are used, and the picture is flagged ``softened``. A prompt is rewritten once.

May import: errors, clock, settings, note.chat.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from .clock import Clock
from .errors import BadSettings, Refused
from .note.chat import Chat
from .settings import Settings

LONGEST = 2000
"""Characters of a rewritten prompt at most."""
_SYSTEM = (
    "You rewrite prompts for text-to-image models that a moderation filter refused. Keep subject, "
    "composition, style, colours and the language of the prompt. Change only what a filter for a "
    "general audience objects to: violence, blood, nudity, drugs, weapons, names of real people "
    "and brands; put a harmless image of the same mood in its place. If the prompt asks for "
    'something that must not be depicted at all, answer {"prompt": ""}. '
    'Answer with JSON only: {"prompt": "…"}.'
)


@dataclass
class Softener:
    """Rewrites refused prompts. Call it with the prompt and the service's reason."""

    chat: Chat

    async def __call__(self, prompt: str, reason: str) -> str:
        """The prompt in milder words. Raises Refused where the model would not, ServiceErrors."""
        said = await self.chat.ask(
            [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": f"Refused because: {reason}\n\nPrompt:\n{prompt}"},
            ]
        )
        try:
            words = json.loads(said)["prompt"]
        except (ValueError, KeyError, TypeError):
            words = None
        if not isinstance(words, str) or len(words) > LONGEST:
            raise Refused("文字模型的回答看不懂。", "The text model's answer cannot be read.")
        if not words.strip():
            raise Refused("文字模型也不愿改写。", "The text model would not rewrite it.")
        return words


def softener(settings: Settings, clock: Clock) -> Softener:
    """The softener that the settings allow. Raises BadSettings where no text model is set up."""
    chat = settings.chat
    if chat is None or not chat.api_key:
        variable = chat.key_variable if chat is not None else "OPENAI_API_KEY"
        raise BadSettings(
            f"--soften 要用文字模型改写，还没有它的密钥：请设置 {variable}。没有花钱。",
            f"--soften rewrites with a text model, and its key is missing: set {variable}. Nothing was spent.",
        )
    return Softener(Chat(chat.api_key, clock, chat.model, chat.base_url))
