"""Notes over HTTP: plan, outline, make, edit; taken up after a restart without paying twice."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redloom.studio.words import language_of
from redloom.testing import FakeProvider
from studio_rig import Rig, rig

Json = dict[str, Any]
STORY = (Path(__file__).resolve().parents[1] / "examples" / "hutong.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One server."""
    with rig(tmp_path_factory.mktemp("notes") / "ws") as server:
        yield server


def test_the_live_plan_costs_nothing(made: Rig) -> None:
    """Titles, pages, pictures and the price, with nothing kept and nothing bought."""
    before = made.provider.submits
    plan = made.client.post("/api/notes/plan", json={"story": STORY, "images": 3}).json()
    assert 3 <= len(plan["outline"]["titles"]) <= 5
    assert plan["estimate"]["pictures"] == 3
    assert plan["estimate"]["total"] == {"CNY": 0.6}
    assert plan["outline"]["pictures"][0]["page"] == 0
    assert made.provider.submits == before
    assert made.client.post("/api/notes/plan", json={"story": "  "}).status_code == 422


def test_an_outline_is_edited_and_made(made: Rig) -> None:
    """It waits; what was edited is what is set: titles, pages, prompts."""
    form = {"story": STORY, "step": "outline", "images": 1}
    note = made.client.post("/api/notes", json=form).json()["id"]
    outline = made.wait_note(note, "outline")["outline"]
    outline["titles"][0]["text"] = "我自己的标题"
    outline["cover"]["title"] = "我自己的标题"
    outline["pages"] = ["# 第一页\n\n只有**这些**字。", "# 第二页\n\n- 一\n- 二"]
    outline["pictures"] = [{"purpose": "cover", "prompt": "my own words"}]
    assert made.client.put(f"/api/notes/{note}/outline", json=outline).status_code == 200
    assert made.client.post(f"/api/notes/{note}/make").status_code == 202
    shown = made.wait_note(note)
    assert shown["post"]["title"] == "我自己的标题"
    kinds = [card["kind"] for card in shown["cards"]]
    assert kinds.count("page") == 2
    assert "只有这些字" in shown["cards"][1]["text"].replace("\n", "")
    assert [t.asked.prompt for t in made.provider.tasks.values()][-1] == "my own words"
    again = made.client.put(f"/api/notes/{note}/outline", json=outline)
    assert again.status_code == 409


@pytest.mark.parametrize("asked", [None, 2, 0])
def test_the_outline_says_which_pictures_are_made(made: Rig, asked: int | None) -> None:
    """What it lists is what would be bought; edited, it decides alone, more or fewer than asked."""
    form = {"story": STORY, "step": "outline", "images": asked}
    note = made.client.post("/api/notes", json=form).json()["id"]
    outline = made.wait_note(note, "outline")["outline"]
    assert len(outline["pictures"]) == (4 if asked is None else asked)
    prompts = [f"{note} picture {k}" for k in range(6)]
    outline["pictures"] = [{"purpose": "cover", "prompt": prompts[0]}] + [
        {"purpose": "page", "prompt": words, "page": k} for k, words in enumerate(prompts[1:], 1)
    ]
    put = made.client.put(f"/api/notes/{note}/outline", json=outline).json()
    assert put["settings"]["images"] == 6
    made.client.post(f"/api/notes/{note}/make")
    shown = made.wait_note(note)
    assert [one["status"] for one in shown["pictures"]] == ["ok"] * 6
    bought = [t.asked.prompt for t in made.provider.tasks.values()]
    assert sorted(words for words in bought if words.startswith(note)) == prompts
    outline["pictures"] = outline["pictures"] * 2
    assert made.client.put(f"/api/notes/{note}/outline", json=outline).status_code == 422


def test_an_outline_without_pictures_buys_none(made: Rig) -> None:
    """All pictures deleted: typeset cards only, though the note was begun with an open number."""
    note = made.client.post("/api/notes", json={"story": STORY, "step": "outline"}).json()["id"]
    outline = made.wait_note(note, "outline")["outline"]
    before = made.provider.submits
    outline["pictures"] = []
    made.client.put(f"/api/notes/{note}/outline", json=outline)
    made.client.post(f"/api/notes/{note}/make")
    assert made.wait_note(note)["pictures"] == []
    assert made.provider.submits == before


def told(made: Rig, path: str, until: str, lang: str = "zh") -> list[tuple[str, Json]]:
    """Events of a stream up to the first note in the state ``until``."""
    found: list[tuple[str, Json]] = []
    name = ""
    with made.client.stream("GET", path, headers={"Accept-Language": lang}) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
                if name == "note" and found[-1][1]["note"]["state"] == until:
                    return found
    return found


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_one_stream_tells_the_pictures_too(tmp_path: Path, lang: str) -> None:
    """Each picture's way from waiting to its address, and the money, in the reader's language."""

    def some(provider: FakeProvider) -> None:
        provider.script = lambda asked, _n: "refused" if "two" in asked.prompt else "made"
        provider.seconds = lambda _prompt: 400.0

    with rig(tmp_path / "ws", change=some) as server:
        form = {"story": STORY, "step": "outline"}
        note = server.client.post("/api/notes", json=form).json()["id"]
        outline = server.wait_note(note, "outline")["outline"]
        outline["pictures"] = [{"purpose": "cover", "prompt": "one"}, {"prompt": "two", "page": 1}]
        server.client.put(f"/api/notes/{note}/outline", json=outline)
        server.client.post(f"/api/notes/{note}/make")
        found = told(server, f"/api/notes/{note}/events", "done", lang)
    assert found[0][0] == "snapshot"
    assert found[0][1]["now"] > 0
    pictures = found[0][1]["note"]["pictures"] + [d["picture"] for n, d in found if n == "picture"]
    first = [one for one in pictures if one["row"] == 1]
    assert first[-1]["status"] == "ok"
    assert first[-1]["url"].startswith(server.url)
    assert "pending" in [one["status"] for one in first]
    second = [one for one in pictures if one["row"] == 2][-1]
    assert second["status"] == "refused"
    assert language_of(second["error"]) == lang
    assert [d["money"]["spent"] for n, d in found if n == "money"][-1] == {"CNY": 0.2}
    stages = [d["note"]["stage"]["text"] for n, d in found if n == "note"]
    assert stages[-1] == ("完成" if lang == "zh" else "Done")


def test_edits_are_free_and_leave_the_rest(made: Rig) -> None:
    """Text, title, theme, cover, body: no purchase; other cards keep every byte."""
    note = made.client.post("/api/notes", json={"story": STORY, "images": 2}).json()["id"]
    first = made.wait_note(note)
    billed = made.provider.billed()
    before = [made.client.get(card["url"]).content for card in first["cards"]]
    at = f"/api/notes/{note}"
    text_card = next(c["n"] for c in first["cards"] if c["kind"] == "page" and c["picture"] is None)
    page = made.client.get(f"{at}/pages/{text_card}").json()
    assert page["markdown"]
    edited = made.client.post(f"{at}/pages/{text_card}", json={"text": "换成这一句。"}).json()
    after = [made.client.get(card["url"]).content for card in edited["cards"]]
    changed = [k + 1 for k, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert changed == [text_card]
    assert made.client.post(f"{at}/title", json={"title": "新标题"}).json()["title"] == "新标题"
    assert made.client.post(f"{at}/theme", json={"theme": "film"}).status_code == 200
    assert made.client.post(f"{at}/theme", json={"theme": "nothere"}).status_code == 422
    assert made.client.post(f"{at}/cover", json={"picture": 2}).status_code == 200
    assert made.client.post(f"{at}/cover", json={"picture": 9}).status_code == 422
    post = made.client.post(f"{at}/post", json={"body": "新的正文", "tags": ["甲"]}).json()["post"]
    assert post == {"title": "新标题", "body": "新的正文", "tags": ["甲"]}
    too_long = made.client.post(f"{at}/pages/{text_card}", json={"text": "字" * 3000})
    assert too_long.status_code == 422
    assert made.provider.billed() == billed


def test_the_guide_names_what_a_note_has(made: Rig) -> None:
    """Every field of a served note, its pictures, cards and events stands in docs/api.md."""
    guide = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text("utf-8")
    part = guide[guide.index("## A note") : guide.index("## Endpoints, feedback")]
    note = made.client.post("/api/notes", json={"story": STORY, "images": 1}).json()["id"]
    shown = made.wait_note(note)
    served = {
        *shown,
        *shown["pictures"][0],
        *shown["cards"][0],
        *shown["settings"],
        *shown["outline"],
    }
    assert {name for name in served if f'"{name}"' not in part} == set()
    page = made.client.get(f"/api/notes/{note}/pages/1").json()
    assert {name for name in page if f'"{name}"' not in part} == set()


def test_a_new_picture_for_a_card_is_bought_once(made: Rig) -> None:
    """202, then a fresh picture on that card."""
    note = made.client.post("/api/notes", json={"story": STORY, "images": 1}).json()["id"]
    before = made.client.get(made.wait_note(note)["cards"][0]["url"]).content
    billed = made.provider.billed()
    answer = made.client.post(f"/api/notes/{note}/pages/1", json={"prompt": "another view"})
    assert answer.status_code == 202
    shown = made.wait_note(note)
    assert made.provider.billed() == billed + 1
    assert made.client.get(shown["cards"][0]["url"]).content != before
    assert made.client.post(f"/api/notes/{note}/pages/99", json={"prompt": "x"}).status_code == 422


def test_history_search_export_remove(made: Rig) -> None:
    """Found by words of the story; packed; gone from the list when removed."""
    form = {"story": "关于一只叫墨墨的黑猫的故事。它每天等我下班。", "offline": True}
    note = made.client.post("/api/notes", json=form).json()["id"]
    made.wait_note(note)
    found = made.client.get("/api/notes", params={"q": "墨墨"}).json()["notes"]
    assert [one["id"] for one in found] == [note]
    assert found[0]["cover"]["thumb"]
    assert made.client.get(found[0]["cover"]["thumb"]).headers["content-type"] == "image/webp"
    data = made.client.get(f"/api/notes/{note}/export.zip").content
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert f"{note}/01-cover.png" in archive.namelist()
    shape = made.client.get(f"/api/notes/{note}/export.json", params={"for": "xiaohongshu-mcp"})
    assert Path(shape.json()["images"][0]).is_file()
    assert made.client.delete(f"/api/notes/{note}").status_code == 204
    assert made.client.get(f"/api/notes/{note}").status_code == 404
    assert made.client.get("/api/notes", params={"q": "墨墨"}).json()["notes"] == []


def test_a_note_that_fails_says_why_and_can_go_on(tmp_path: Path) -> None:
    """A picture that is refused leaves its place to text; `make` again asks only for it."""

    def refuse(provider: FakeProvider) -> None:
        provider.script = lambda _asked, n: "refused" if n <= 10 else "made"

    with rig(tmp_path / "ws", change=refuse) as server:
        note = server.client.post("/api/notes", json={"story": STORY, "images": 1}).json()["id"]
        shown = server.wait_note(note)
        assert shown["pictures"][0]["status"] == "refused"
        assert shown["warnings"]
        server.provider.script = lambda _asked, _n: "made"
        server.client.post(f"/api/notes/{note}/make")
        shown = server.wait_note(note)
        assert shown["cards"][0]["picture"] == 1
        assert server.provider.billed() == 1


def test_a_note_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Stopped while it is painted; the next server finishes it with the same pictures."""
    kept: list[Any] = []

    def slow(provider: FakeProvider) -> None:
        provider.seconds = lambda _prompt: 150.0
        kept.append(provider)

    with rig(tmp_path / "ws", change=slow) as server:
        note = server.client.post("/api/notes", json={"story": STORY, "images": 2}).json()["id"]
        server.wait_note(note, "painting")
        while server.provider.submits < 2:
            server.client.get("/health")
    with rig(tmp_path / "ws", provider=kept[0]) as server:
        shown = server.wait_note(note)
        assert [one["status"] for one in shown["pictures"]] == ["ok", "ok"]
    assert kept[0].submits == 2
    assert kept[0].bought_twice() == []


def test_a_consistent_note_is_drawn_after_its_cover(tmp_path: Path) -> None:
    """The cover first, the others with it as their reference, in one run within the budget; a
    picture made anew later is drawn after the same cover."""
    with rig(tmp_path / "ws") as server:
        form = {"story": STORY, "images": 3, "consistent": True, "budget": 5}
        note = server.client.post("/api/notes", json=form).json()["id"]
        shown = server.wait_note(note)
        asked = [task.asked for task in server.provider.tasks.values()]
        assert [len(one.references) for one in asked] == [0, 1, 1]
        assert len({one.references for one in asked[1:]}) == 1
        assert [one["status"] for one in shown["pictures"]] == ["ok"] * 3
        assert shown["money"]["spent"] == {"CNY": 0.6}
        assert shown["settings"]["consistent"] is True
        page = next(card["n"] for card in shown["cards"] if (card["picture"] or 0) > 1)
        server.client.post(f"/api/notes/{note}/pages/{page}", json={"prompt": "a cat on the wall"})
        server.wait_note(note)
        last = list(server.provider.tasks.values())[-1].asked
        assert "a cat on the wall" in last.prompt
        assert last.references == asked[1].references


def test_a_cover_that_is_refused_leaves_the_others_without_reference(tmp_path: Path) -> None:
    """They are made from their words, and the note says that the look may differ."""

    def first_no(provider: FakeProvider) -> None:
        provider.script = lambda _asked, number: "refused" if number == 1 else "made"

    with rig(tmp_path / "ws", change=first_no) as server:
        form = {"story": STORY, "images": 3, "consistent": True}
        note = server.client.post("/api/notes", json=form).json()["id"]
        shown = server.wait_note(note)
        made = [task.asked.references for task in server.provider.tasks.values()]
        assert made == [()] * 3
        assert any("画风可能不一致" in one or "differ in look" in one for one in shown["warnings"])
