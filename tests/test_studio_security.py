"""The door: who is kept out, and that nothing of the machine can be read or reached through us."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import resource
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redloom.errors import BadInput
from redloom.studio.addresses import is_known, place_of
from redloom.studio.feed import mark_of
from redloom.studio.options import Options, checked, networks
from redloom.studio.problems import Problem
from redloom.studio.server import make_room
from redloom.studio.webhooks import Webhooks
from studio_rig import Rig, rig

TOKEN = "the-admin-token"


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A server as it starts by default: open, on loopback."""
    with rig(tmp_path_factory.mktemp("open") / "ws") as made:
        yield made


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Rig]:
    """A server with a token and a trusted proxy."""
    options = Options(token=TOKEN, proxies=networks(["127.0.0.1"]))
    with rig(tmp_path / "ws", options) as made:
        yield made


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Authorization": "Bearer rl_not-a-token"},
    ],
)
def test_the_open_server_refuses_strangers(loopback: Rig, headers: dict[str, str]) -> None:
    """Rebound names, pages of other sites, anything that came through a proxy: nothing is spent."""
    before = loopback.provider.submits
    answer = loopback.client.post("/v1/images/generations", json={"prompt": "x"}, headers=headers)
    assert answer.status_code in (401, 403, 421), answer.text
    assert answer.json()["error"]["spent"] == "no"
    assert "access-control-allow-origin" not in answer.headers
    assert loopback.provider.submits == before
    assert loopback.client.get("/api/runs", headers=headers).status_code in (401, 403, 421)


def test_our_own_page_is_let_in(loopback: Rig) -> None:
    """The same Origin as the Host, and a click on a link from elsewhere."""
    own = {"Origin": loopback.url, "Sec-Fetch-Site": "same-origin"}
    assert loopback.client.post("/api/check", json={}, headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert loopback.client.get("/", headers=link).status_code == 200


def test_a_token_is_needed_and_guesses_are_counted(closed: Rig) -> None:
    """Without: 401. Ten wrong ones: 429, also for a right one from there."""
    assert closed.client.get("/api/runs").status_code == 401
    assert closed.client.get("/metrics").status_code == 401
    assert closed.client.get("/docs").status_code == 401
    assert closed.client.get("/").status_code == 200
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert closed.client.get("/api/runs", headers=right).status_code == 200
    codes = [
        closed.client.get("/api/runs", headers={"Authorization": f"Bearer wrong-{k}"}).status_code
        for k in range(11)
    ]
    assert codes == [401] * 10 + [429]
    assert closed.client.get("/api/runs", headers=right).status_code == 429
    elsewhere = {**right, "X-Forwarded-For": "203.0.113.9"}
    assert closed.client.get("/api/runs", headers=elsewhere).status_code == 200


def test_a_cookie_changes_nothing_without_its_csrf_mark(closed: Rig) -> None:
    """Signing in gives a strict cookie; changes need the mark; signing out ends it."""
    answer = closed.client.post("/api/session", json={"token": TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    csrf = answer.json()["csrf"]
    assert closed.client.get("/api/runs").status_code == 200
    assert closed.client.post("/api/check", json={}).status_code == 403
    assert closed.client.post("/api/check", json={}, headers={"X-Redloom-CSRF": "0" * 64}).status_code == 403  # fmt: skip
    assert closed.client.post("/api/check", json={}, headers={"X-Redloom-CSRF": csrf}).status_code == 200  # fmt: skip
    assert closed.client.get("/api/session").json()["csrf"] == csrf
    forged = closed.client.cookies["redloom_session"][:-4] + "0000"
    closed.client.cookies.clear()
    assert closed.client.get("/api/runs", headers={"Cookie": f"redloom_session={forged}"}).status_code == 401  # fmt: skip


def test_addresses_are_right_behind_a_proxy_under_a_path(closed: Rig) -> None:
    """Believed headers make the addresses; the path may come stripped or whole."""
    headers = {
        "Authorization": f"Bearer {TOKEN}", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "localhost",
        "X-Forwarded-Prefix": "/red", "X-Forwarded-For": "203.0.113.9",
    }  # fmt: skip
    answer = closed.client.post("/v1/images/generations", json={"prompt": "x"}, headers=headers)
    url = answer.json()["data"][0]["url"]
    assert url.startswith("https://localhost/red/pictures/")
    whole = closed.client.get(url.removeprefix("https://localhost"), headers=headers)
    assert whole.status_code == 200
    assert '<base href="/red/">' in closed.client.get("/red/", headers=headers).text


def test_a_proxy_that_hides_the_port_is_told_so(closed: Rig) -> None:
    """The page's files come and its API says what to put right, instead of a blank page."""
    headers = {"Origin": "http://127.0.0.1:8931", "Host": "127.0.0.1", "X-Forwarded-For": "203.0.113.9"}  # fmt: skip
    assert closed.client.get("/static/core.js", headers=headers).status_code == 200
    refused = closed.client.get("/api/session", headers={**headers, "X-Redloom-Lang": "en"})
    assert refused.status_code == 403
    assert "--public-url" in refused.json()["error"]["message"]


def test_forged_forwarding_is_not_believed(tmp_path: Path) -> None:
    """Without a trusted proxy the headers change no address (and a token is needed)."""
    with rig(tmp_path / "ws", Options(token=TOKEN)) as made:
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-Host": "evil.example"}
        answer = made.client.post("/v1/images/generations", json={"prompt": "x"}, headers=headers)
        assert answer.json()["data"][0]["url"].startswith(f"{made.url}/pictures/")


@pytest.mark.parametrize("path", [
    "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2fpages.py", "/static/%2e%2e%2f%2e%2e%2fapp.py",
    "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/..%5cpages.py", "/static/x%00.css", "/static/....//pages.py",
    "/pictures/../../journal.db", "/pictures/%2e%2e%2fjournal.db", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd",
    "/api/notes/../../etc/passwd", "/api/notes/n_0/files/..%2f..%2fjournal.db", "/api/runs/..%2f..%2fx/export.zip",
    "/api/themes/%2e%2e/cover.webp", "/api/uploads/..%2f..%2fx/preview",
])  # fmt: skip
def test_no_spelling_leaves_the_folders(loopback: Rig, path: str) -> None:
    """Raw on the wire, so that no client tidies it: never a file, never a 500."""
    status, body = raw(loopback.url, path)
    assert status in (400, 404, 405, 422), (status, body[:200])
    assert b"root:" not in body
    assert b"SQLite" not in body
    assert b"import" not in body


def raw(url: str, path: str) -> tuple[int, bytes]:
    """GET with the path exactly as it is written."""
    host = url.removeprefix("http://")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as plug:
        plug.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while block := plug.recv(65536):
            data += block
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_a_note_gives_only_its_own_files(loopback: Rig) -> None:
    """Names that its record lists, and nothing beside them."""
    story = "奶奶的院子里有一棵石榴树。每年十月，她都要数一数果子。\n\n今年她数到四十九。"
    note = loopback.client.post("/api/notes", json={"story": story, "offline": True}).json()["id"]
    loopback.wait_note(note)
    at = f"/api/notes/{note}/files"
    assert loopback.client.get(f"{at}/post.json").status_code == 200
    preview = loopback.client.get(f"{at}/preview.html")
    assert "script-src" not in preview.headers["content-security-policy"]
    assert "default-src 'none'" in preview.headers["content-security-policy"]
    for name in (
        "../journal.db",
        "..%2f..%2fjournal.db",
        "history/0001/post.json",
        "%2fetc%2fpasswd",
    ):
        assert loopback.client.get(f"{at}/{name}").status_code == 404


def test_pictures_cannot_be_guessed(loopback: Rig) -> None:
    """The right digest with a wrong mark is no address."""
    answer = loopback.client.post("/v1/images/generations", json={"prompt": "mine"})
    url = answer.json()["data"][0]["url"]
    name = url.rpartition("/")[2]
    other = "0" if name[64] != "0" else "1"
    assert loopback.client.get(f"/pictures/{name[:64]}{other}{name[65:]}").status_code == 404
    assert loopback.client.get(f"/pictures/{name[:64]}.png").status_code == 404


def test_bodies_are_measured(loopback: Rig) -> None:
    """Announced or not, more than the limit is 413; broken JSON and forms are 4xx."""
    client = loopback.client
    big = b'{"prompt": "' + b"x" * (5 * 1024 * 1024) + b'"}'
    json_type = {"Content-Type": "application/json"}
    assert client.post("/v1/images/generations", content=big, headers=json_type).status_code == 413
    parts = (big[at : at + 65536] for at in range(0, len(big), 65536))
    assert (
        client.post("/v1/images/generations", content=parts, headers=json_type).status_code == 413
    )
    for body in (
        b"",
        b"{",
        b"[" * 5000,
        b'{"prompt": 1}',
        b"\xff\xfe",
        b'{"prompt": "x", "n": 1e400}',
    ):
        assert client.post("/v1/images/generations", content=body, headers=json_type).status_code in (400, 422)  # fmt: skip
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"--b", b"--b\r\n\r\n\r\n--b--", b"\x00" * 100):
        for path in ("/api/uploads", "/v1/images/edits"):
            assert client.post(path, content=body, headers=form).status_code in (400, 422)
    assert client.post("/api/uploads", content=b"x").status_code in (400, 422)


def test_strict_headers_everywhere(loopback: Rig) -> None:
    """Pages, answers, errors: the same policy, no sniffing, no caching of what is private."""
    for path in ("/", "/api/runs", "/nope", "/docs"):
        answer = loopback.client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert loopback.client.get("/api/runs").headers["cache-control"] == "no-store"


def test_nothing_but_http_is_spoken(loopback: Rig) -> None:
    """A web socket is refused."""
    answer = loopback.client.get("/api/events", headers={"Upgrade": "websocket", "Connection": "Upgrade", "Host": "evil.example"})  # fmt: skip
    assert answer.status_code in (400, 421)


# addresses that we ask


@pytest.mark.parametrize("address", [
    "http://example.com/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/", "https://10.0.0.8/",
    "https://169.254.169.254/latest/meta-data/", "https://2130706433/", "https://0x7f.1/", "https://user:pw@example.com/",
    "file:///etc/passwd", "https://router/", "https://[::ffff:127.0.0.1]/", "gopher://x.example/", "https://example.com:0/",
])  # fmt: skip
def test_webhooks_do_not_go_inwards(loopback: Rig, address: str) -> None:
    """Refused when the run is asked for, before anything is spent."""
    before = loopback.provider.submits
    answer = loopback.client.post("/api/runs", json={"prompts": ["x"], "webhook": address})
    assert answer.status_code == 422, answer.text
    assert loopback.provider.submits == before


def test_a_public_name_with_an_inner_address_is_not_asked() -> None:
    """Judged on the address that would be connected to, at the moment of connecting."""

    async def inward(_host: str, _port: int) -> list[str]:
        return ["10.0.0.7"]

    hooks = Webhooks(b"s" * 32, resolve=inward)
    assert hooks.check("https://rebound.example/x")
    assert asyncio.run(hooks.send("https://rebound.example/x", "r", {}, 1.0)) is False


def test_a_webhook_is_told_and_signed(tmp_path: Path) -> None:
    """A receiver that the operator named: one POST at the run's end, its signature checks."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    got: list[tuple[dict[str, str], bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=receiver.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{receiver.server_port}"
    try:
        with rig(tmp_path / "ws", Options(webhook_hosts=(host,))) as made:
            form = {"prompts": ["x"], "webhook": f"http://{host}/done"}
            run = made.client.post("/api/runs", json=form).json()["id"]
            made.wait_run(run)
            for _ in range(200):
                if got:
                    break
                made.client.get("/health")
            hooks = made.house.hooks
            headers, body = got[0]
            said = hooks.headers(run, int(headers["webhook-timestamp"]), body)
            assert headers["webhook-signature"] == said["webhook-signature"]
            assert json.loads(body)["data"]["run"]["counts"] == {"ok": 1}
    finally:
        receiver.shutdown()
        receiver.server_close()


def test_signatures_are_those_of_standard_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification's own example: its key, id, time and body give its signature."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setattr(Webhooks, "_key", property(lambda _self: key))
    hooks = Webhooks(b"")
    said = hooks.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert said["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert said["webhook-timestamp"] == "1614265330"
    assert hooks.shown_secret == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_names_in_a_zip_stay_inside(loopback: Rig) -> None:
    """A file of prompts that names its pictures ``../../x`` or ``/etc/x``: no entry leads out."""
    table = "prompt,filename\na cup,../../evil\na hat,/etc/evil\na bowl,..\\\\evil\na jug,C:evil\n"
    sent = loopback.client.post("/api/uploads", files={"file": ("../../p.csv", table.encode())})
    assert sent.status_code == 201, sent.text
    run = loopback.client.post("/api/runs", json={"upload": sent.json()["upload"]}).json()["id"]
    loopback.wait_run(run)
    data = loopback.client.get(f"/api/runs/{run}/export.zip").content
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    assert sum(name.endswith(".png") for name in names) == 4
    for name in names:
        assert not name.startswith("/"), name
        assert ".." not in name.split("/"), name
        assert not {"\\", ":"} & set(name), name


def test_a_preview_is_its_callers_only(closed: Rig) -> None:
    """Its name is a hash of the request, which another could work out: that is not enough."""
    right = {"Authorization": f"Bearer {TOKEN}"}
    other = closed.client.post("/api/tokens", json={"name": "other"}, headers=right).json()["token"]
    mine = closed.client.post("/api/tokens", json={"name": "mine"}, headers=right).json()["token"]
    form = {"prompts": ["a cat"]}
    as_me = {"Authorization": f"Bearer {mine}"}
    closed.client.post("/api/runs", json=form, headers=as_me)
    key = _key(closed)
    leave = closed.house.engine.previews.watch()
    closed.house.engine.previews.keep(key, b"\xff\xd8jpeg")
    at = f"/api/previews/{key}"
    assert closed.client.get(at, headers=as_me).status_code == 200
    assert closed.client.get(at, headers=right).status_code == 200
    assert closed.client.get(at, headers={"Authorization": f"Bearer {other}"}).status_code == 404
    assert closed.client.get(at).status_code == 401
    leave()


def _key(made: Rig) -> str:
    """The key of the only job."""
    rows = made.house.engine.journal.read_now(
        lambda db: db.connection.execute("SELECT key FROM jobs").fetchall()
    )
    return str(rows[0][0])


def test_the_server_makes_room_for_streams() -> None:
    """The soft limit on open files is raised as far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        make_room()
        now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert now == (16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# options and places as values


def test_off_loopback_a_token_is_needed() -> None:
    """Listening for others without one is refused at the start."""
    with pytest.raises(BadInput):
        checked(Options(host="0.0.0.0"))
    with pytest.raises(BadInput):
        checked(Options(host="0.0.0.0", token="short"))
    assert checked(Options(host="0.0.0.0", token=TOKEN)).token == TOKEN


def test_a_rebound_name_is_unknown_even_with_a_public_url() -> None:
    """The public address never stands in for the name that was really asked."""
    options = Options(public_url="https://pictures.example/x")
    scope = {"client": ("127.0.0.1", 1), "scheme": "http", "headers": [(b"host", b"evil.example")]}
    place = place_of(scope, options)
    assert place is not None
    assert not is_known(place, options)
    assert place_of({**scope, "headers": [(b"host", b"a"), (b"host", b"b")]}, options) is None


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_breaks_the_place(host: bytes, forwarded: bytes) -> None:
    """Whatever the headers hold, there is a place or none, and no exception."""
    options = Options(proxies=networks(["127.0.0.1"]))
    scope = {"client": ("127.0.0.1", 1), "scheme": "http", "headers": [(b"host", host), (b"x-forwarded-host", forwarded), (b"x-forwarded-for", forwarded), (b"x-forwarded-prefix", forwarded)]}  # fmt: skip
    place = place_of(scope, options)
    assert place is None or is_known(place, options) in (True, False)


@given(st.text(max_size=60))
def test_any_event_id_is_a_mark(text: str) -> None:
    """Garbage is the beginning; numbers fit the database."""
    first, second = mark_of(text)
    assert 0 <= first < 2**63
    assert 0 <= second < 2**63


def test_webhook_errors_name_the_field() -> None:
    """The problem says which parameter is wrong."""
    with pytest.raises(Problem) as problem:
        Webhooks(b"x").check("https://10.0.0.1/")
    assert problem.value.param == "webhook"
