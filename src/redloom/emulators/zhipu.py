"""A stand-in for Zhipu's image API: `openai`'s in its own dialect (`openai_dialects`).

May import: nothing outside this room.
"""

from __future__ import annotations

from .openai import FAULTS, Emulator, parse_faults, speaking

__all__ = ["FAULTS", "Emulated", "Emulator", "parse_faults"]

Emulated = speaking("zhipu")
