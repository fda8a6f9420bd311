"""A stand-in for Azure's image API: `openai`'s in its own dialect (`openai_dialects`).

May import: nothing outside this room.
"""

from __future__ import annotations

from .contract import Variant
from .openai import FAULTS, Emulator, parse_faults, speaking

__all__ = ["FAULTS", "VARIANTS", "Emulated", "Emulator", "parse_faults"]

Emulated = speaking("azure")
VARIANTS = {
    "": Variant(),
    "versioned": Variant(
        "my-pictures", {"dialect": "azure-versioned"}, {"api_version": "2025-04-01-preview"}
    ),
}
"""See `contract`."""
