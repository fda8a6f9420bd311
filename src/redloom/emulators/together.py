"""A stand-in for together's image API: `openai`'s in its own dialect (`openai_dialects`).

May import: clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from .contract import Variant
from .openai import FAULTS, Emulator, ServiceTime, parse_faults, parse_service_time, serve
from .openai import Emulated as _Emulated

__all__ = [
    "FAULTS",
    "VARIANTS",
    "Emulated",
    "Emulator",
    "ServiceTime",
    "parse_faults",
    "parse_service_time",
    "serve",
]


@dataclass(frozen=True, kw_only=True)
class Emulated(_Emulated):
    """See `openai.Emulated`."""

    dialect: str = "together"


VARIANTS = {"": Variant()}
"""See `contract`."""
