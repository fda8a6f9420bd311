"""Secrets: keys from everywhere they may stand go into no byte that is written, sent or shown."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from helpers.terminal import Service, manifest, prompts
from helpers.waiting import pause

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "environment": "sk-sentinel0environment0d41d8cd98f0",
    "dotenv": "sk-sentinel0dotenv0a87ff679a2f3e71d",
    "toml": "tomlSentinel0eccbc87e4b5ce2fe28308",
    "legacy": "sk-sentinel0legacy0c4ca4238a0b9238",
    "password": "PwSentinel0b6d767d2f8ed5d21a44b0e5",
    "query": "QySentinel045c48cce2e2d7fbdea1afc5",
    "admin": "AdSentinel0e4da3b7fbbce2345d7772b0",
    "otel": "OtSentinel08f14e45fceea167a5a36ded",
}
INPUTS = {".env", "redloom.toml", "config.json", "wrong.toml", "address.toml"}
TOML = """
[endpoints.mine]
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key_env = "MINE_KEY"

[endpoints.shown]
provider = "dashscope"
api_key_env = "MINE_KEY"
base_url = "{address}"
"""

ADDRESS = """
[endpoints.x]
provider = "openai"
base_url = "http://me:{password}@127.0.0.1:9/v1?signature={query}"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with bad days; the folder of a user who has keys wherever keys may be."""
    folder = tmp_path_factory.mktemp("secrets")
    made = Service(folder, str(int(time.time())))
    made.begin(
        "--keys", SECRETS["environment"],
        "--faults", "submit_busy=0.1,answer_lost=0.2,task_failed=0.2,submit_throttled=0.1",
    )  # fmt: skip
    (folder / ".env").write_text(f"OPENAI_API_KEY={SECRETS['dotenv']}\n")
    (folder / "redloom.toml").write_text(TOML.format(**SECRETS, address=made.url))
    (folder / "config.json").write_text(json.dumps({"openai_api_key": SECRETS["legacy"]}))
    (folder / "address.toml").write_text(ADDRESS.format(**SECRETS))
    (folder / "wrong.toml").write_text(f'[endpoints.x]\napi_key = "{SECRETS["toml"]}"\n')
    prompts(folder, 8)
    yield made
    made.end()


def environment(service: Service) -> dict[str, str]:
    """A key in the environment, another service's too, spans onto standard error."""
    return {
        **service.env(), "DASHSCOPE_API_KEY": SECRETS["environment"], "REDLOOM_TOKEN": SECRETS["admin"],
        "OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRETS['otel']}",
        "MINE_KEY": SECRETS["toml"],
    }  # fmt: skip


def said(service: Service, *words: str) -> tuple[str, bytes]:
    """A command's output and errors."""
    done = subprocess.run(
        service.command(*words), env=environment(service), cwd=service.folder, capture_output=True,
        timeout=90, check=False,
    )  # fmt: skip
    assert "-v" in words or b"Traceback" not in done.stderr, done.stderr.decode()
    return " ".join(words), done.stdout + done.stderr


def test_no_byte_holds_a_key(service: Service) -> None:
    """A batch with faults, a note and its exports, every command that shows, a bundle, a server."""
    commands = [
        ["batch", "p.txt", "--out", "A", "--endpoint", "dashscope", "-v"],
        ["batch", "p.txt", "--out", "A", "--endpoint", "dashscope", "--json"],
        ["batch", "p.txt", "--out", "B", "--endpoint", "shown", "--json", "-v", "--limit", "1"],
        ["batch", "p.txt", "--out", "C", "--endpoint", "mine", "-v", "--dry-run"],
        ["batch", "nothing.txt"], ["config", "--config", "wrong.toml", "-v"],
        ["config", "--config", "address.toml", "-v"],
        ["note", "story.txt", "--out", "N", "--endpoint", "dashscope", "--writer", "local", "--images", "1"],
        ["export", "N", "--for", "zip"],
        ["report", "A"], ["runs", "--json"], ["show", "A", "--json"],
        ["config", "--json"], ["config"], ["models", "--json"], ["audit", "--json"],
        ["doctor", "--json", "--offline"], ["doctor", "--bundle", "b.zip", "--offline"],
        ["doctor", "--bundle", "with.zip", "--with-prompts", "--lang", "zh", "--offline"],
    ]  # fmt: skip
    (service.folder / "story.txt").write_text(
        "院子里有一棵石榴树。\n\n每年十月，她都要数一数果子。"
    )
    told = [said(service, *words) for words in commands]
    assert manifest(service.folder / "A")
    assert (service.folder / "N" / "post.json").is_file()
    told += served(service)
    written = [
        (str(path.relative_to(service.folder)), path.read_bytes())
        for path in service.folder.rglob("*")
        if path.is_file() and path.name not in INPUTS
    ]
    names = [name for name, _ in written]
    for suffix in ("journal.db", ".png", ".png.json", "manifest.csv", "report.html", "post.json", "b.zip"):  # fmt: skip
        assert any(name.endswith(suffix) for name in names), suffix
    assert any(b"picture" in data for name, data in told if name.startswith("batch"))
    assert found([*told, *written]) == []


def served(service: Service) -> list[tuple[str, bytes]]:
    """What a server answers and says, the wrong questions too."""
    errors = (service.folder / "serve.err").open("wb")
    server = subprocess.Popen(
        service.command("serve", "--port", "0", "--json", "-v"), env=environment(service), cwd=service.folder,
        stdout=subprocess.PIPE, stderr=errors,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        url = json.loads(server.stdout.readline())["url"]
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as stranger:
            answers = [stranger.get("/api/runs"), stranger.post("/api/session", json={"token": "wrong-one"})]  # fmt: skip
        right = {"Authorization": f"Bearer {SECRETS['admin']}"}
        with httpx.Client(base_url=url, timeout=60, trust_env=False, headers=right) as client:
            answers += list(asked(client))
    finally:
        server.terminate()
        server.communicate(timeout=40)
        errors.close()
    heard = [(str(one.request.url), str(one.headers).encode() + one.content) for one in answers]
    assert {one.status_code for one in answers} >= {200, 401, 404, 422}
    return heard


def asked(client: httpx.Client) -> Iterator[httpx.Response]:
    """Questions to every part of the API."""
    yield client.post(
        "/v1/images/generations", json={"prompt": "a red scarf", "model": "dashscope"}
    )
    made = client.post("/api/runs", json={"prompts": ["a hat", "a cup"], "endpoint": "dashscope"})
    yield made
    run = made.json()["id"]
    ends = time.monotonic() + 60
    while client.get(f"/api/runs/{run}").json()["state"] != "done" and time.monotonic() < ends:
        pause(0.1)
    for path in (
        f"/api/runs/{run}", f"/api/runs/{run}/rows", f"/api/runs/{run}/export.zip", f"/api/runs/{run}/report",
        f"/api/runs/{run}/manifest.csv", "/api/runs", "/api/settings", "/api/money", "/api/endpoints", "/v1/models",
        "/metrics", "/openapi.json", "/docs", "/health", "/", "/api/session", "/api/tokens", "/nope", "/api/runs/nope",
        "/api/notes", "/api/themes",
    ):  # fmt: skip
        yield client.get(path)
    yield client.post("/api/runs", json={"prompts": ["x"], "endpoint": "nobody"})
    yield client.post(
        "/api/runs", json={"prompts": ["x"], "webhook": f"https://u:{'p' * 8}@x.example/"}
    )
    yield client.post("/api/runs", json={"prompts": 7})
    yield client.post("/api/check", json={})


def found(blobs: Iterable[tuple[str, bytes]]) -> list[str]:
    """Which blob holds which secret, plain, encoded, or inside what is compressed."""
    shapes = {
        name: {secret.encode(), quote(secret).encode(), base64.b64encode(secret.encode())[:-4], secret.encode("utf-16-le")}
        for name, secret in SECRETS.items()
    }  # fmt: skip
    return [
        f"{where} holds the key of {name}"
        for where, data in blobs
        for name, forms in shapes.items()
        if any(form in one for one in unpacked(data) for form in forms)
    ]


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what is compressed in a ZIP or in a PNG's text."""
    yield data
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from unpacked(archive.read(name))
    for at in (one.end() for one in re.finditer(rb"zTXt|iTXt|iCCP", data)):
        for start in range(at, min(at + 120, len(data))):
            if data[start : start + 1] == b"\x78":
                try:
                    yield zlib.decompressobj().decompress(data[start:])
                except zlib.error:
                    continue


def test_the_search_finds_what_is_there() -> None:
    """The search itself: plain, encoded, zipped, in a PNG's compressed text."""
    secret = SECRETS["toml"].encode()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"x" * 100 + secret)
    text = b"\x89PNG....zTXtComment\x00\x00" + zlib.compress(secret * 3)
    for data in (b"x" + secret, zipped.getvalue(), text, base64.b64encode(secret)):
        assert found([("here", data)]) == ["here holds the key of toml"]
    assert found([("here", b"nothing")]) == []


PATTERNS = {
    "a key of OpenAI's or DashScope's kind": re.compile(r"\bsk-(?:proj-)?[A-Za-z0-9_-]{20,}"),
    "a key of Amazon's": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a key of Google's": re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"),
    "a token of a code host": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,}|glpat-[\w-]{20,})"),
    "a token of a model host": re.compile(r"\b(?:hf_[A-Za-z0-9]{30,}|r8_[A-Za-z0-9]{30,})"),
    "a token of a package index": re.compile(r"\bpypi-AgEI[\w-]{40,}|\bnpm_[A-Za-z0-9]{36}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a signed web token": re.compile(r"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}"),
    "a token of ours": re.compile(r"\brl_[A-Za-z0-9_-]{43}\b"),
    "a password in an address": re.compile(r"\bhttps?://[^\s/:@\"'{}<>]+:[^\s/@\"'{}<>$]{8,}@(?!x\.example|proxy\.example)"),
}  # fmt: skip
ALLOWED = ("sentinel", "example", "emulated", "0123456789", "abcdefghij", "test", "made-up", "fake")
"""What stands in an invented key and in no real one."""


def tracked() -> list[Path]:
    """The files of the repository; skips where there is none (a package unpacked by itself)."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no repository here")
    return [ROOT / name for name in listed.decode().split("\0") if name]


def readable(path: Path) -> str:
    """A file's text; nothing of fonts and pictures."""
    data = path.read_bytes()
    return "" if b"\0" in data[:4096] else data.decode("utf-8", "replace")


def suspects(text: str) -> list[str]:
    """What looks like a real key in a text."""
    return [
        f"{kind}: {match[0][:12]}…"
        for kind, pattern in PATTERNS.items()
        for match in pattern.finditer(text)
        if not any(word in match[0].lower() for word in ALLOWED)
    ]


def test_the_repository_holds_no_key() -> None:
    """No tracked file holds anything that looks like a key, and no file of keys is tracked."""
    files = tracked()
    hits = {
        str(path.relative_to(ROOT)): hit
        for path in files
        if path.is_file() and (hit := suspects(readable(path)))
    }
    assert hits == {}
    assert [p.name for p in files if p.name == ".env" or p.suffix in (".pem", ".key", ".p12")] == []


@pytest.mark.parametrize(("kind", "text"), [
    ("OpenAI", "sk-proj-" + "Qw9Zx8Cv7" * 4), ("Amazon", "AKIA" + "Q7WZ" * 4), ("Google", "AIza" + "Sy9Qx7w" * 5),
    ("code", "ghp_" + "Qw9Zx8" * 6), ("model", "hf_" + "Qw9Zx8" * 6), ("index", "pypi-AgEI" + "cHlwaS5v" * 6),
    ("private", "-----BEGIN RSA PRIVATE KEY" + "-----"), ("ours", "rl_" + "Qw9Zx8C" * 6 + "v"),
    ("password", "https://bob:" + "hunter2hunter2@db.internal/x"),
])  # fmt: skip
def test_each_kind_of_key_is_known(kind: str, text: str) -> None:
    """The scan finds one of each kind."""
    assert [hit for hit in suspects(f"x = '{text}'") if kind in hit], kind
