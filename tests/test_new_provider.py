"""A provider is one file: the documentation's own example is found and passes every case."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import test_fuzz_providers as fuzz
from redloom import conformance, emulators, providers
from redloom.conformance import Case, Subject
from redloom.emulators.shop_faults import SUBMIT_WORDS
from redloom.settings import load_settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
_FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    """The Python of a page: the provider, its stand-in, its test."""
    return _FENCE.findall((DOCS / page).read_text("utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example's two files lie where files of their kind lie, and nothing else is told."""
    folder = tmp_path_factory.mktemp("added")
    for room, text in zip((providers, emulators), blocks("providers.md"), strict=False):
        place = folder / room.__name__.rpartition(".")[2]
        place.mkdir()
        (place / "inkstone.py").write_text(text, "utf-8")
        room.__path__.append(str(place))
    providers._files.cache_clear()
    yield
    for room in (providers, emulators):
        room.__path__.pop()
        sys.modules.pop(f"{room.__name__}.inkstone", None)
    providers._files.cache_clear()


@pytest.fixture
def subject(found: None) -> Subject:
    """The example, found by its name."""
    (subject,) = conformance.subjects("inkstone")
    return subject


def test_it_is_found_by_its_name(subject: Subject, tmp_path: Path) -> None:
    """Its name is among the providers, and its variable alone makes its endpoint."""
    assert "inkstone" in providers.names()
    settings = load_settings(environ={"INKSTONE_API_KEY": "k"}, folder=tmp_path)
    config = settings.endpoint("inkstone")
    assert config.ready
    assert (config.model, config.base_url) == ("ink-1", "https://api.inkstone.example/v1")
    assert settings.default_endpoint == "inkstone"


@pytest.mark.parametrize("case", conformance.CASES, ids=str)
def test_it_passes_every_case(subject: Subject, case: Case, tmp_path: Path) -> None:
    """The case's own words say what is held; left out is only what its flags say it lacks."""
    if reason := case.left_out(subject):
        pytest.skip(reason)
    case.check(subject, tmp_path)


def test_most_cases_are_for_it(subject: Subject) -> None:
    """Its flags leave out only its missing lane, list, cancel, references and regions."""
    left = {case.left_out(subject) for case in conformance.CASES if case.left_out(subject)}
    told = {reason.removeprefix("inkstone ") for reason in left}
    assert told == {
        "has no synchronous lane", "lists no tasks", "cannot cancel",
        "takes no reference pictures", "has keys that are good everywhere",
        "does not refuse what is too much", "hands over links, no bytes, or either",
    }  # fmt: skip


def test_a_flaw_is_noticed(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break three promises, one by one: a case fails for each."""
    cases = {str(case): case for case in conformance.CASES}
    kind, text = subject.provider.CODES["slow_down"], subject.provider.CODES["bad_words"]
    monkeypatch.setitem(subject.provider.CODES, "slow_down", text)
    with pytest.raises(conformance.NotConforming, match="Throttled"):
        cases["too fast is throttled[async]"].check(subject, tmp_path / "1")
    monkeypatch.setitem(subject.provider.CODES, "slow_down", kind)
    lost = subject.provider.Unavailable
    monkeypatch.setattr(subject.provider, "AnswerLost", lost)
    with pytest.raises(conformance.NotConforming, match="is Unavailable"):
        cases["a lost answer is a doubt[async]"].check(subject, tmp_path / "2")
    monkeypatch.setitem(subject.provider.CODES, "bad_key", kind)
    with pytest.raises(conformance.NotConforming, match="wrong key"):
        cases["a wrong key stops the endpoint[async]"].check(subject, tmp_path / "3")


def test_a_failed_case_says_what_was_answered(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no case expects: its kind, what the case holds, the stand-in's own answer."""
    monkeypatch.setattr(subject.emulator.Emulator, "key_of", lambda *_: "another")
    cases = {str(case): case for case in conformance.CASES}
    with pytest.raises(conformance.NotConforming) as failed:
        cases["a picture is made and bought once[async]"].check(subject, tmp_path)
    said = str(failed.value)
    assert said.startswith("inkstone, a picture is made and bought once[async]: KeyRefused")
    assert "What is to hold: The happy way" in said
    assert 'POST /pictures → 401 {"error":"bad_key"}' in said


def test_a_wait_that_is_dropped_is_noticed(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service says Retry-After, the provider does not pass it on: a case fails."""
    monkeypatch.setattr("redloom.endpoint.Answer.retry_after_s", lambda _: None)
    cases = {str(case): case for case in conformance.CASES}
    with pytest.raises(conformance.NotConforming, match="retry_after_s is None"):
        cases["its rate is felt as throttled[async]"].check(subject, tmp_path)


@pytest.mark.parametrize("call", ["submit", "waiting", "poll", "check", "key"])
def test_its_answers_may_be_spoilt(subject: Subject, call: str, tmp_path: Path) -> None:
    """What is asked of the providers of this repository is true of the example too."""
    if call == "submit":
        fuzz.test_every_spoilt_acceptance(subject, tmp_path)
    else:
        fuzz.test_a_spoilt_answer_to_a_question(subject, call, tmp_path)


def test_its_codes_get_into_the_table(subject: Subject) -> None:
    """tools/troubleshooting.py finds ``CODES`` of a provider that is one file, by itself."""
    place = DOCS.parent / "tools" / "troubleshooting.py"
    spec = importlib.util.spec_from_file_location("troubleshooting", place)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for lang in ("en", "zh"):
        lines = tool.services(lang).splitlines()
        assert "| Inkstone | `throttled` | `slow_down` |" in lines
        assert "| Inkstone | `account-empty` | `no_credit` |" in lines


def test_its_stand_in_has_an_answer_for_every_word(subject: Subject) -> None:
    """The list of words that a new stand-in has to know is whole."""
    words = {"no-key", "wrong-key", "key", "body", "unknown", *SUBMIT_WORDS.values()}
    assert words == set(subject.emulator.NOES)


def test_its_first_lines_say_what_it_imports() -> None:
    """As tests/test_layout.py asks of every module."""
    provider, stand_in, _ = blocks("providers.md")
    rooms = set(re.findall(r"^from redloom\.(\w+)", provider, re.MULTILINE))
    said = provider.split('"""')[1].partition("May import: ")[2]
    assert rooms == set(re.findall(r"[a-z]+", said))
    assert "May import: " in stand_in.split('"""')[1]


def test_both_pages_show_the_same_code() -> None:
    """The Chinese page's code is the English page's."""
    assert blocks("providers.md") == blocks("providers.zh-CN.md")
    assert len(blocks("providers.md")) == 3


@pytest.mark.parametrize("page", ["providers.md", "providers.zh-CN.md"])
def test_the_table_of_services_is_true(page: str) -> None:
    """Every row names a provider that is there, with variables that it really reads."""
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (.*?) \| (.*?) \|$", (DOCS / page).read_text("utf-8"), re.MULTILINE
    )
    keyed = {
        path.stem
        for path in (DOCS.parent / "src" / "redloom" / "providers").glob("[a-z]*.py")
        if providers.load(path.stem).DEFAULTS.key_variables
    }
    assert keyed <= {name for name, _, _ in rows}, "a provider has no row"
    for name, keys, addresses in rows:
        defaults = providers.load(name).DEFAULTS
        options = [v for names in defaults.option_variables.values() for v in names]
        assert set(re.findall(r"`(\w+)`", keys)) <= set(defaults.key_variables), name
        assert set(re.findall(r"`(\w+)`", addresses)) <= {*defaults.url_variables, *options}, name


def test_the_example_is_as_well_kept_as_our_own(tmp_path: Path) -> None:
    """ruff finds nothing in it, with the project's own settings."""
    for number, text in enumerate(blocks("providers.md")):
        (tmp_path / f"example_{number}.py").write_text(text, "utf-8")
    config = DOCS.parent / "pyproject.toml"
    command = [sys.executable, "-m", "ruff", "check", "--config", str(config), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_plugin_is_a_provider_like_ours(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same file from another package, by entry point: found, and it passes a whole run."""
    module = tmp_path / "redloom_inkstone.py"
    module.write_text(blocks("providers.md")[0], "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("inkwell", "redloom_inkstone", providers.GROUP)
    monkeypatch.setattr(providers, "_plugins", lambda: {"inkwell": entry})
    assert "inkwell" in providers.names()
    plugin = Subject("inkwell", providers.load("inkwell"), subject.emulator)
    cases = {str(case): case for case in conformance.CASES}
    cases["a run ends in files that show their prompts[async]"].check(plugin, tmp_path)
