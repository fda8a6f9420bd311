"""What is installed: every pin is required by something, has a licence on the page, and no code of ours runs at the install."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from test_docs import tool

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ELSEWHERE = {"aiolimiter": set(), "dashscope": {"requests", "websocket-client", "cryptography", "certifi", "tiktoken", "aiohttp"}}  # fmt: skip
"""What `make bench` alone installs, and what it asks for."""
HEAVY = ("gpu", "ray")
"""Extras whose packages are pinned in constraints-extras.txt."""


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    """tools/licences.py."""
    return tool("licences")


def plain(name: str) -> str:
    """A name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parted(requirement: str) -> tuple[str, set[str], str]:
    """Name, extras asked for, and the extra that it belongs to (empty: always)."""
    found = re.match(r"([\w.-]+)(?:\[([^\]]*)\])?", requirement)
    assert found is not None
    extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
    return (
        plain(found[1]),
        {one.strip() for one in (found[2] or "").split(",")} - {""},
        extra[1] if extra else "",
    )


def needed() -> set[str]:
    """Everything that the project, its light extras, tests and benchmarks need, on any platform."""
    project = PROJECT["project"]
    asked = [*project["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    asked += [
        one
        for name, ones in project["optional-dependencies"].items()
        if name not in HEAVY
        for one in ones
    ]
    found: dict[str, set[str]] = {}
    waiting = [(name, extras) for name, extras, _ in map(parted, asked)]
    while waiting:
        name, extras = waiting.pop()
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | extras
        if name in ELSEWHERE:
            waiting += [(one, set()) for one in ELSEWHERE[name]]
            continue
        try:
            told = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        parts = [parted(one) for one in told]
        waiting += [(one, more) for one, more, of in parts if not of or of in found[name]]
    return set(found)


def test_every_pin_is_required(licences: ModuleType) -> None:
    """No package is pinned that nothing asks for any more, and each pin is one exact version."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in lines)
    assert {plain(name) for name in licences.pins()} - needed() == set()


def test_what_is_installed_is_what_is_pinned(licences: ModuleType) -> None:
    """Each pin that is installed here has the pinned version."""
    wrong = {}
    for name, version in licences.pins().items():
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if there != version:
            wrong[name] = there
    assert wrong == {}


def test_every_pin_has_its_licence_on_the_page(licences: ModuleType) -> None:
    """The table has each pin once, with a licence that may be shipped, as the package says it itself."""
    listed = licences.listed()
    assert set(listed) == set(licences.pins())
    for name, licence in listed.items():
        try:
            said, _ = licences.licence_of(name)
        except metadata.PackageNotFoundError:
            continue
        assert said == licence.strip(), name


def test_every_direct_dependency_has_its_reason() -> None:
    """docs/dependencies.md names each package that pyproject.toml asks for."""
    page = plain((ROOT / "docs" / "dependencies.md").read_text("utf-8"))
    project = PROJECT["project"]
    asked = [*project["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    asked += [one for ones in project["optional-dependencies"].values() for one in ones]
    assert [one for one in asked if parted(one)[0] not in page] == []


def test_nothing_of_ours_runs_at_the_install() -> None:
    """A plain build by hatchling: no setup.py, no build hook, no script after the install."""
    assert not (ROOT / "setup.py").exists()
    assert PROJECT["build-system"] == {
        "requires": ["hatchling>=1.25"],
        "build-backend": "hatchling.build",
    }
    hatch = json.dumps(PROJECT["tool"]["hatch"])
    assert "hooks" not in hatch
    assert PROJECT["project"]["scripts"] == {"redloom": "redloom.cli:main"}


ANSWERS = {
    "clean": '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}',
    "hit": '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
    "unknown": '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}',
}


@pytest.mark.parametrize(("answer", "said", "status"), [
    ("clean", "1 packages audited, 0 known", 0), ("hit", "a 1: CVE-1 (2)", 1), ("unknown", "NOT audited", 0),
    ("offline", "cannot be reached", 0), ("broken", "pip-audit failed", 2),
])  # fmt: skip
def test_the_audit_never_claims_what_it_does_not_know(
    tmp_path: Path, answer: str, said: str, status: int
) -> None:
    """A hit fails; a database out of reach is said plainly and passes; a broken tool is told apart."""
    script = tmp_path / "pip_audit.py"
    ends = {"offline": "sys.exit('requests.exceptions.ConnectionError: Name resolution')", "broken": "sys.exit('no such option')"}  # fmt: skip
    script.write_text(f"import sys\n{ends.get(answer, f'print({ANSWERS.get(answer)!r})')}\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "audit_deps.py"), sys.executable, str(script)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said in done.stdout
    assert done.returncode == status
