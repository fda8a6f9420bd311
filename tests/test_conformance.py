"""Every provider that has a stand-in of its name keeps the seam's bargain, by the same cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from redloom import conformance, providers
from redloom.conformance import Case, Subject

SUBJECTS = [subject for name in providers.names() for subject in conformance.subjects(name)]


@pytest.mark.parametrize("case", conformance.CASES, ids=str)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_conformance(subject: Subject, case: Case, tmp_path: Path) -> None:
    """The case's own words say what is held."""
    if reason := case.left_out(subject):
        pytest.skip(reason)
    case.check(subject, tmp_path)
