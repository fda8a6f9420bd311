"""The studio's API on a real server: runs, rows, events, uploads, feedback, money, tokens."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from redloom.lang import Text
from redloom.studio.options import Options
from redloom.studio.routes import runs
from redloom.studio.words import language_of
from redloom.testing import FakeProvider
from studio_rig import SPEED, Rig, rig

Json = dict[str, Any]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One open server for tests that leave it as it was."""
    with rig(tmp_path_factory.mktemp("studio") / "ws") as made:
        yield made


def begin(made: Rig, prompts: list[Any], **more: Any) -> str:
    """Begin a run; its id."""
    answer = made.client.post("/api/runs", json={"prompts": prompts, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def events(
    client: httpx.Client, run: str, after: str | None = None, until: str = "finish"
) -> list[tuple[str, str, Json]]:
    """(event, id, data) of a run's stream up to the first ``until``."""
    headers = {"Last-Event-ID": after} if after else {}
    found: list[tuple[str, str, Json]] = []
    name = mark = ""
    with client.stream("GET", f"/api/runs/{run}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("id: "):
                mark = line[4:]
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, mark, json.loads(line[6:])))
                mark = ""
                over = found[-1][2].get("run") if name == "snapshot" else None
                done = isinstance(over, dict) and over["state"] == "done" and over["done"] == 0
                if name == until or done:
                    return found
    return found


def test_a_run_from_prompts_to_pictures(shared: Rig) -> None:
    """Three prompts, one twice: four pictures, each paid for once, shown with price and address."""
    before = shared.provider.billed()
    run = begin(shared, ["one a", {"prompt": "one b", "id": "B", "n": 2}, "one c"], name="first")
    shown = shared.wait_run(run)
    assert shown["counts"] == {"ok": 4}
    assert shown["name"] == "first"
    assert shown["carried"] == "here"
    assert shown["money"]["spent"] == {"CNY": 0.8}
    assert shared.provider.billed() - before == 4
    rows = shared.client.get(f"/api/runs/{run}/rows").json()["rows"]
    assert [(row["row"], row["take"], row["id"]) for row in rows] == [
        (1, 1, ""), (2, 1, "B"), (2, 2, "B"), (3, 1, "")
    ]  # fmt: skip
    picture = shared.client.get(rows[0]["picture"]["url"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    thumb = shared.client.get(rows[0]["picture"]["thumb"])
    assert thumb.headers["content-type"] == "image/webp"
    assert shared.client.get(f"/api/runs/{run}/images/1").content == picture.content


def test_the_same_prompts_again_cost_nothing_unless_fresh(shared: Rig) -> None:
    """The store answers a second run; ``fresh`` buys again."""
    shared.wait_run(begin(shared, ["again"]))
    before = shared.provider.billed()
    shared.wait_run(begin(shared, ["again"]))
    assert shared.provider.billed() == before
    shared.wait_run(begin(shared, ["again"], fresh=True))
    assert shared.provider.billed() == before + 1


def test_events_are_complete_and_resume_by_id(shared: Rig) -> None:
    """Every row's end comes once, with an id; from an id on only what follows it."""
    run = begin(shared, [f"event {k}" for k in range(12)])
    first = events(shared.client, run)
    ends = [(mark, data) for name, mark, data in first if name in ("complete", "error")]
    assert sorted(data["row"]["row"] for _, data in ends) == list(range(1, 13))
    assert all(mark for mark, _ in ends)
    assert first[0][0] == "snapshot"
    assert first[-1][0] == "finish"
    assert ends[-1][1]["total"] == 12
    half = ends[5][0]
    url = f"/api/runs/{run}/events"
    rest: list[int] = []
    with shared.client.stream("GET", url, headers={"Last-Event-ID": half}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and '"image_url"' in line:
                rest.append(json.loads(line[6:])["row"]["row"])
                if len(rest) == 6:
                    break
    assert rest == [data["row"]["row"] for _, data in ends[6:]]


def test_rows_are_paged_and_filtered(tmp_path: Path) -> None:
    """By state, by words, by offset; ``bad`` is all that is no picture, and retry takes it up."""

    def refuse(provider: FakeProvider) -> None:
        provider.script = lambda asked, n: "refused" if "bad" in asked.prompt and n < 30 else "made"

    with rig(tmp_path / "ws", change=refuse) as made:
        run = begin(made, [*(f"good {k}" for k in range(7)), "bad x", "bad y"])
        made.wait_run(run)
        at = f"/api/runs/{run}/rows"
        bad = made.client.get(at, params={"status": "bad"}).json()
        assert bad["total"] == 2
        assert {row["status"] for row in bad["rows"]} == {"refused"}
        page = made.client.get(at, params={"offset": 5, "limit": 2}).json()
        assert [row["row"] for row in page["rows"]] == [6, 7]
        assert page["total"] == 9
        assert made.client.get(at, params={"q": "bad y"}).json()["total"] == 1
        made.provider.script = lambda _asked, _n: "made"
        assert made.client.post(f"/api/runs/{run}/retry").status_code == 200
        assert made.wait_run(run)["counts"] == {"ok": 9}


def test_pause_resume_cancel_priority(tmp_path: Path) -> None:
    """The queue's controls, and 409 where they make no sense."""
    with rig(tmp_path / "ws", change=lambda p: setattr(p, "seconds", lambda _p: 600.0)) as made:
        run = begin(made, [f"slow {k}" for k in range(20)])
        assert made.client.post(f"/api/runs/{run}/pause").json()["state"] == "paused"
        assert made.client.post(f"/api/runs/{run}/pause").status_code == 409
        assert made.client.post(f"/api/runs/{run}/resume").json()["state"] == "open"
        high = made.client.post(f"/api/runs/{run}/priority", json={"priority": 50}).json()
        assert high["priority"] == 50
        assert made.client.post(f"/api/runs/{run}/cancel").json()["state"] == "cancelled"
        assert made.client.post(f"/api/runs/{run}/cancel").status_code == 409
        queue = made.client.get("/api/runs", params={"state": "cancelled"}).json()["runs"]
        assert [one["id"] for one in queue] == [run]


def test_a_zip_of_a_run(shared: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture and both manifests, whole."""
    run = begin(shared, ["zip a", "zip b"])
    shared.wait_run(run)
    data = shared.client.get(f"/api/runs/{run}/export.zip").content
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert names[:2] == ["manifest.csv", "manifest.jsonl"]
    assert len(names) == 4
    monkeypatch.setattr(runs, "PART_BYTES", 100)  # several parts even of a small one
    answer = shared.client.get(f"/api/runs/{run}/manifest.jsonl")
    assert answer.headers["content-length"] == str(len(answer.content))
    lines = answer.text.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok", "ok"]


def test_an_upload_with_columns_to_map(shared: Rig) -> None:
    """A Chinese table: known columns are understood, others mapped, the rest carried along."""
    table = "编号,画什么,张数,备注\n1,红围巾,2,甲\n2,蓝围巾,1,乙\n3,,1,丙\n"
    sent = shared.client.post("/api/uploads", files={"file": ("画.csv", table.encode("gb18030"))})
    assert sent.status_code == 201, sent.text
    upload = sent.json()
    assert [(one["name"], one["field"]) for one in upload["columns"]] == [
        ("编号", "id"), ("画什么", None), ("张数", "n"), ("备注", None)
    ]  # fmt: skip
    assert upload["invalid"] == 3
    mapping = {"画什么": "prompt"}
    seen = shared.client.post(f"/api/uploads/{upload['upload']}/preview", json={"mapping": mapping}).json()  # fmt: skip
    assert [row["prompt"] for row in seen["rows"]] == ["红围巾", "蓝围巾", ""]
    assert (seen["total"], seen["invalid"], seen["pictures"]) == (3, 1, 3)
    assert seen["estimate"]["total"] == {"CNY": 0.6}
    assert seen["rows"][0]["extra"] == {"备注": "甲"}
    answer = shared.client.post("/api/runs", json={"upload": upload["upload"], "mapping": mapping})
    shown = shared.wait_run(answer.json()["id"])
    assert shown["counts"] == {"ok": 3, "invalid": 1}


def test_an_upload_cannot_name_other_files(shared: Rig, tmp_path: Path) -> None:
    """promptFiles, references, word lists with paths: nothing of this machine is read."""
    (tmp_path / "secret.txt").write_text("the secret\n", "utf-8")
    where = tmp_path / "secret"
    tasks = {"tasks": [{"promptFiles": [str(tmp_path / "secret.txt")]}, {"prompt": "a", "ref": [f"{where}.txt"]},
                       {"prompt": f"x __{where}__ y"}]}  # fmt: skip
    sent = shared.client.post(
        "/api/uploads", files={"file": ("t.json", json.dumps(tasks).encode())}
    )
    assert "the secret" not in sent.text
    rows = sent.json()["rows"]
    assert [bool(row["problem"]) for row in rows] == [True, False, True]
    run = shared.client.post("/api/runs", json={"upload": sent.json()["upload"]}).json()["id"]
    shared.wait_run(run)
    assert all(not task.asked.references for task in shared.provider.tasks.values())


def test_errors_come_in_the_callers_language(tmp_path: Path) -> None:
    """Row, event and OpenAI's answer; what the journal has stays beside it as recorded."""

    def refuse(provider: FakeProvider) -> None:
        provider.script = lambda _asked, _n: "refused"

    with rig(tmp_path / "ws", change=refuse) as made:
        run = begin(made, ["no"])
        made.wait_run(run)
        rows = [
            made.client.get(f"/api/runs/{run}/rows/1", headers={"Accept-Language": lang}).json()
            for lang in ("zh", "en")
        ]
        assert [language_of(row["error"]) for row in rows] == ["zh", "en"]
        assert rows[0]["recorded"] == rows[1]["recorded"] in (rows[0]["error"], rows[1]["error"])
        for lang in ("zh", "en"):
            with made.client.stream("GET", f"/api/runs/{run}/events?lang={lang}") as answer:
                line = next(one for one in answer.iter_lines() if '"message"' in one)
            assert language_of(json.loads(line[6:])["message"]) == lang
            answered = made.client.post(
                "/v1/images/generations", json={"prompt": "no"}, headers={"X-Redloom-Lang": lang}
            )
            assert language_of(answered.json()["error"]["message"]) == lang


def test_the_server_tells_its_time(shared: Rig) -> None:
    """The session and every stream's beginning say what time it is here, and how fast it goes."""
    clock = shared.client.get("/api/session").json()["clock"]
    assert clock["speed"] == SPEED
    assert 0 <= shared.house.now() - clock["now"] < 60 * SPEED
    with shared.client.stream("GET", "/api/events") as answer:
        line = next(one for one in answer.iter_lines() if one.startswith("data: "))
    assert json.loads(line[6:])["now"] > clock["now"]


def test_a_quota_counts_down_in_seconds(shared: Rig) -> None:
    """What holds an endpoint is in the run from the first look on, in nominal seconds from now."""
    run = begin(shared, ["held"], fresh=True)
    shared.wait_run(run)
    until = shared.house.now() + 5000
    shared.house.show.moment.held["fake"] = (until, Text("等", "wait"))
    held = shared.client.get(f"/api/runs/{run}", headers={"Accept-Language": "en"}).json()["held"]
    del shared.house.show.moment.held["fake"]
    assert (held[0]["until"], held[0]["reason"]) == (until, "wait")
    assert 0 < held[0]["seconds"] <= 5000


def test_feedback_is_kept_and_counted(shared: Rig) -> None:
    """Thumbs and used, per endpoint and model, with the price of a kept picture."""
    run = begin(shared, ["liked"], fresh=True)
    shared.wait_run(run)
    row = shared.client.get(f"/api/runs/{run}/rows/1").json()
    sha = row["picture"]["sha256"]
    put = shared.client.put("/api/feedback", json={"sha256": sha, "thumb": 1})
    assert put.json() == {"thumb": 1, "used": False}
    assert (
        shared.client.put("/api/feedback", json={"sha256": sha, "used": True}).json()["thumb"] == 1
    )
    model = shared.client.get("/api/feedback").json()["models"][0]
    assert (model["up"], model["used"]) == (1, 1)
    assert model["price_per_kept"]["CNY"] > 0
    assert shared.client.get(f"/api/runs/{run}/rows/1").json()["feedback"]["used"] is True
    assert (
        shared.client.put("/api/feedback", json={"sha256": "0" * 64, "thumb": 1}).status_code == 404
    )


def test_what_was_kept_can_choose_the_endpoint(tmp_path: Path) -> None:
    """``prefer: kept`` asks where pictures were kept most often, once ten were looked at; without
    it, and before that, every endpoint named may be asked.
    """
    with rig(tmp_path / "ws", also="second") as made:
        both = ["fake", "second"]

        def asked(**more: Any) -> list[str]:
            run = begin(made, ["which"], endpoint=both, fresh=True, **more)
            made.wait_run(run)
            return list(made.client.get(f"/api/runs/{run}").json()["endpoints"])

        assert asked(prefer="kept") == both
        for endpoint, thumb in (("fake", -1), ("second", 1)):
            prompts = [f"{endpoint} {k}" for k in range(10)]
            run = begin(made, prompts, endpoint=[endpoint])
            made.wait_run(run)
            for row in made.client.get(f"/api/runs/{run}/rows").json()["rows"]:
                form = {"sha256": row["picture"]["sha256"], "thumb": thumb}
                assert made.client.put("/api/feedback", json=form).status_code == 200
        assert asked(prefer="kept") == ["second"]
        assert asked() == both
        bad = made.client.post("/api/runs", json={"prompts": ["x"], "prefer": "cheap"})
        assert bad.status_code == 422


def test_endpoints_money_settings_themes(shared: Rig) -> None:
    """What the other pages need is there and makes sense."""
    shown = shared.client.get("/api/endpoints").json()
    assert shown["default"] == "fake"
    assert shown["endpoints"][0]["now"]["slots"] == 5
    assert shared.client.post("/api/endpoints/fake/test").json()["ok"] is True
    assert shared.client.post("/api/endpoints/none/test").status_code == 404
    assert shared.client.get("/api/money").json()["total"].keys() <= {"CNY"}
    theme = shared.client.get("/api/themes").json()["themes"][0]
    assert shared.client.get(theme["cover"]).content[8:12] == b"WEBP"
    assert shared.client.get("/api/themes/..%2f..%2fetc/cover.webp").status_code == 404
    check = shared.client.post("/api/check", json={"title": "长" * 21, "body": "x", "tags": []})
    assert check.json()["title"] == {"length": 21, "most": 20}
    assert shared.client.get("/health").json()["engine"] == "leading"


def test_tokens_have_quotas_and_budgets(tmp_path: Path) -> None:
    """A caller with two pictures of budget and a minute's quota gets no more, and sees only its own."""
    options = Options(token="the-admin-token")
    with rig(tmp_path / "ws", options, headers={"Authorization": "Bearer the-admin-token"}) as made:
        made.wait_run(begin(made, ["admin's"]))
        form = {"name": "shop", "budget": 0.6, "currency": "CNY", "per_minute": 4}
        token = made.client.post("/api/tokens", json=form).json()["token"]
        assert made.client.post("/api/tokens", json=form).status_code == 409
        shop = httpx.Client(base_url=made.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30)  # fmt: skip
        with shop:
            assert shop.get("/api/runs").json()["runs"] == []
            assert shop.get("/api/settings").status_code == 403
            ok = shop.post("/api/runs", json={"prompts": ["s1", "s2"]})
            made.wait_run(ok.json()["id"])
            over = shop.post("/api/runs", json={"prompts": ["s3", "s4"]})
            assert over.status_code == 402
            assert over.json()["error"]["code"] == "insufficient_quota"
            limited = shop.post("/api/runs", json={"prompts": ["s5"]})
            assert limited.status_code == 429
            assert int(limited.headers["Retry-After"]) >= 1
            admins = made.client.get("/api/runs").json()["runs"]
            assert len(admins) == 2
            other = next(one["id"] for one in admins if one["id"] != ok.json()["id"])
            assert shop.get(f"/api/runs/{other}").status_code == 404
            listed = made.client.get("/api/tokens").json()["tokens"][0]
            assert listed["spent"] == pytest.approx(0.4)
            assert token not in made.client.get("/api/tokens").text
            assert made.client.delete("/api/tokens/shop").status_code == 204
            assert shop.get("/api/runs").status_code == 401


def test_an_idempotency_key_is_one_run(shared: Rig) -> None:
    """The same key and body twice: one run; another body: 409."""
    body, headers = {"prompts": ["idem"], "fresh": True}, {"Idempotency-Key": "k-1"}
    first = shared.client.post("/api/runs", json=body, headers=headers).json()["id"]
    assert shared.client.post("/api/runs", json=body, headers=headers).json()["id"] == first
    clash = shared.client.post("/api/runs", json={"prompts": ["else"]}, headers=headers)
    assert clash.status_code == 409


def test_the_budget_of_a_run_holds(shared: Rig) -> None:
    """Money for two pictures: two are made, the others are unpaid; another currency is refused."""
    run = begin(shared, [f"b{k}" for k in range(5)], budget=0.4, currency="CNY")
    assert shared.wait_run(run)["counts"] == {"ok": 2, "unpaid": 3}
    wrong = shared.client.post("/api/runs", json={"prompts": ["x"], "budget": 1, "currency": "USD"})
    assert wrong.status_code == 422


def test_a_report_and_metrics(shared: Rig) -> None:
    """The report of a run as one page that can reach nothing; the figures as Prometheus reads them."""
    run = begin(shared, ["reported"], fresh=True)
    shared.wait_run(run)
    page = shared.client.get(f"/api/runs/{run}/report")
    assert page.status_code == 200
    assert page.text.lstrip().lower().startswith("<!doctype html")
    assert "sandbox allow-scripts" in page.headers["content-security-policy"]
    figures = shared.client.get("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    assert "redloom_" in figures.text


def test_the_queue_of_everything(shared: Rig) -> None:
    """The stream of all runs tells of a run's state and its end."""
    seen: list[str] = []
    with shared.client.stream("GET", "/api/events") as answer:
        run = begin(shared, ["watched"], fresh=True)
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and run in line:
                seen.append(name)
                if name == "finish":
                    break
    assert seen[-1] == "finish"


def test_a_wrong_body_is_told_in_the_readers_language(shared: Rig) -> None:
    """What pydantic finds wrong is said in Chinese to who reads Chinese, with the field's name."""
    zh = {"Accept-Language": "zh"}
    for body, said in (
        ({"prompts": "a"}, "prompts 不对：要是一个列表"),
        ({"prompts": ["a"], "n": 0}, "n 不对：不能小于 1"),
        ({"prompts": ["a"], "in_doubt": "maybe"}, "in_doubt 不对：要是 'wait', 'resubmit' or 'fail' 之一"),
    ):  # fmt: skip
        answer = shared.client.post("/api/runs", json=body, headers=zh)
        assert answer.status_code == 422
        assert said in answer.json()["error"]["message"]
