"""What every provider must do, as cases that are tried against its emulator.

The same cases for every provider, ours and yours. A case is left out only where the provider's
own capability flags say that its protocol lacks the thing; the reason is derived from the flags.
In a test module::

    from redloom import conformance

    SUBJECT = conformance.Subject("mine", my_provider_module, my_emulator_module)

    @pytest.mark.parametrize("case", conformance.CASES, ids=str)
    def test_conformance(case, tmp_path):
        if reason := case.left_out(SUBJECT):
            pytest.skip(reason)
        case.check(SUBJECT, tmp_path)

What the emulator must offer is in `emulators.contract`. Time jumps (`redloom.testing`), so that a
day passes in a moment; nothing here waits for real.

May import: everything on the way, providers, emulators, testing, engine.
"""

from __future__ import annotations

from . import asking, buying, carrying, following
from .case import CASES, Case, NotConforming, Subject, subjects

__all__ = [
    "CASES",
    "Case",
    "NotConforming",
    "Subject",
    "asking",
    "buying",
    "carrying",
    "following",
    "subjects",
]
