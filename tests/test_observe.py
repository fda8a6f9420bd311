"""Watching because the environment asks: `--verbose`, spans to a collector, what is missing said."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from helpers.terminal import Service, prompts
from redloom.errors import BadSettings, MissingExtra
from redloom.traces import from_environment, wanted

WORDS = "picture number"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An emulated service for all of these."""
    made = Service(tmp_path_factory.mktemp("service"), str(int(time.time()))).begin()
    prompts(made.folder, 2)
    yield made
    made.end()


@dataclass
class Collector:
    """An OpenTelemetry collector as far as it takes traces over HTTP."""

    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        self.headers.append(str(request.headers))
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if request.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.bodies.append(body)
        request.send_response(200)
        request.end_headers()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """It and its address."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.answer(self)

        def log_message(self, *_args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield kept, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def command(service: Service, *words: str, **told: str) -> subprocess.CompletedProcess[str]:
    """The command under further variables of the environment."""
    return subprocess.run(
        service.command(*words), env={**service.env(), **told}, cwd=service.folder,
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def test_spans_reach_a_collector(service: Service, collector: tuple[Collector, str]) -> None:
    """An address in the environment is enough: every picture's spans, without prompts and keys."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    kept, url = collector
    done = command(
        service, "batch", "p.txt", "--out", "A", OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_EXPORTER_OTLP_HEADERS="x-collector-key=mine",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(kept.paths) == {"/v1/traces"}
    sent = b"".join(kept.bodies)
    assert sent.count(b"picture") == 2
    for part in (b"submit", b"queued", b"run", b"download", b"redloom.endpoint", b"service.name"):
        assert part in sent
    assert WORDS.encode() not in sent
    assert b"sk-emulated" not in sent
    assert "x-collector-key: mine" in kept.headers[0].lower()


def test_a_collector_that_is_down_costs_no_picture(service: Service) -> None:
    """Nobody listens there: the run ends well all the same."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    done = command(
        service, "batch", "p.txt", "--out", "B", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_verbose_tells_every_step(service: Service) -> None:
    """-v: submits, ends and outcomes as lines of standard error; without it none, and no file."""
    told = command(service, "batch", "p.txt", "--out", "C", "--take", "7", "-v")
    assert told.returncode == 0, told.stderr
    for part in ("DEBUG redloom: submitted run", "DEBUG redloom: done run", "INFO redloom: ended run"):  # fmt: skip
        assert part in told.stderr, told.stderr
    assert WORDS not in told.stderr
    quiet = command(service, "batch", "p.txt", "--out", "D", "--take", "8")
    assert "redloom:" not in quiet.stderr
    assert not (service.folder / "home" / "logs").exists()


def test_an_exporter_that_is_not_there_is_said_before_anything(service: Service) -> None:
    """Exit 2 with the code; nothing is bought."""
    before = service.bought()
    told = command(service, "batch", "p.txt", "--out", "E", "--take", "9", OTEL_TRACES_EXPORTER="carrier-pigeon")  # fmt: skip
    assert told.returncode == 2
    assert "carrier-pigeon" in told.stderr
    assert "[bad-settings]" in told.stderr
    assert service.bought() == before


def test_a_missing_extra_prints_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the SDK is not installed: the line, exit 2."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra) as caught:
        from_environment({"OTEL_TRACES_EXPORTER": "otlp"})
    assert "pip install 'redloom[otel]'" in str(caught.value)
    assert caught.value.exit_status == 2


def test_what_the_environment_wants() -> None:
    """The variables as OpenTelemetry means them; nothing without any of them."""
    assert wanted({}) == ""
    assert wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}) == "otlp"
    assert wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}) == "otlp"
    assert wanted({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}) == ""
    assert wanted({"OTEL_TRACES_EXPORTER": "console"}) == "console"
    assert wanted({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}) == ""
    assert from_environment({}) is None
    pytest.importorskip("opentelemetry.sdk.trace")
    with pytest.raises(BadSettings):
        from_environment({"OTEL_TRACES_EXPORTER": "nobody-has-this"})


def test_nothing_of_it_is_imported_unless_asked() -> None:
    """The engine and its watchers load no OpenTelemetry by themselves."""
    code = (
        "import sys, redloom.engine, redloom.observe, redloom.traces, redloom.cli.batch; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
