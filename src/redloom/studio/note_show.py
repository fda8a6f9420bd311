"""Notes as the API shows them: outline, cards, words held against the platform's limits.

May import: clock, typeset, note, lang, journal, studio.{feed,memory,show,outline,pictures,words}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redloom.clock import offload
from redloom.journal import Row
from redloom.lang import Text
from redloom.note import folder as note_folder
from redloom.note import rules
from redloom.note.plan import NotePlan
from redloom.note.rules import LIMITS, Post, title_length, utf16_length
from redloom.typeset.theme import SIZES

from .feed import Looked
from .memory import Memory
from .outline import outline_json
from .show import Show
from .words import Said

Json = dict[str, Any]


def check_json(title: str, body: str, tags: Sequence[str], images: int) -> Json:
    """Lengths, limits, and what is over them with a proposal."""
    post = Post(title, body, tuple(tags), tuple(str(at) for at in range(images)))
    names = {"content": "body"}
    findings = [
        {"field": names.get(one.field, one.field), "message": str(one.message), "proposal": one.proposal}
        for one in rules.check(post)
    ]  # fmt: skip
    return {
        "title": {"length": title_length(title), "most": LIMITS["title"]},
        "body": {"length": utf16_length(body), "most": LIMITS["content"]},
        "tags": {"length": len(tags), "most": LIMITS["tags"]},
        "images": {"length": images, "most": LIMITS["images"]},
        "findings": findings,
    }


@dataclass
class NoteShow:
    """Makes the API's JSON of a note. ``public`` is what addresses outside of a request begin with."""

    root: Path
    memory: Memory
    show: Show
    public: str

    def folder(self, note: str) -> Path:
        """Where a note lies."""
        return self.root / "notes" / note

    async def brief(self, row: Row, root: str) -> Json:
        """As in lists and events."""
        record = await offload(note_folder.record_of, self.folder(row["id"]))
        return await self._head(row, record, root)

    async def full(self, row: Row, root: str) -> Json:
        """The whole note."""
        record = await offload(note_folder.record_of, self.folder(row["id"]))
        shown = await self._head(row, record, root)
        asked = json.loads(row["asked"])
        outline = None
        if row["plan"]:
            plan = NotePlan.from_json(json.loads(row["plan"])["plan"])
            theme = asked.get("theme") or "paper"
            ratio = asked.get("ar") or "3:4"
            outline = await offload(outline_json, plan, theme, ratio, asked.get("pages"))
        shown |= {
            "story": row["story"],
            "outline": outline,
            "pictures": await self._pictures(row, row["run"], root),
        }
        shown |= (
            _done(record)
            if record
            else {"titles": [], "check": None, "warnings": [], "versions": []}
        )
        return shown

    async def _head(self, row: Row, record: Json | None, root: str) -> Json:
        at = f"{root}/api/notes/{row['id']}"
        cards = _cards(record, at) if record else []
        run = await self.show.run(row["run"], root) if row["run"] else None
        money = run["money"] if run else {"spent": {}, "maybe": {}, "unpriced": 0}
        return {
            "id": row["id"], "title": row["title"], "state": row["state"], "created": row["created"],
            "updated": row["updated"], "stage": {"name": row["state"], "text": Said(_STAGES.get(row["state"], Text("", "")))},
            "error": _error(row["error"]), "settings": _settings(json.loads(row["asked"])),
            "run": row["run"] or None, "money": money, "held": run["held"] if run else [], "cards": cards, "cover": cards[0] if cards else None,
            "post": _post(record) if record else None,
            "urls": {
                "self": at, "events": f"{at}/events", "zip": f"{at}/export.zip",
                "xiaohongshu": f"{at}/export.json?for=xiaohongshu-mcp", "preview": f"{at}/files/preview.html",
            },
        }  # fmt: skip

    async def watched(self, row: Row, root: str) -> Json:
        """As a stream begins with it: brief, with the pictures that its events then change."""
        shown = await self.brief(row, root)
        return {**shown, "pictures": await self._pictures(row, row["run"], root)}

    async def look(self, note: str, needed: bool, root: str) -> Looked | None:
        """How far its pictures are; None where it has none or, unless ``needed``, is not at work."""
        row = self.memory.note(note)
        if row is None or not (needed or row["state"] in _AT_WORK):
            return None
        doing = json.loads(row["doing"]) if row["doing"] else {}
        run = doing.get("run") or ("" if doing else row["run"])
        shown = await self.show.run(run, root) if run else None
        if shown is None:
            return None
        pictures = await self._pictures(row, run, root)
        return Looked(run, pictures, shown["money"], doing.get("page"))

    async def _pictures(self, row: Row, run: str, root: str) -> list[Json]:
        """The pictures that are made for it, as their run knows them."""
        if not run:
            return []
        rows, _ = await self.memory.rows(run, (), "", 0, 50)
        plan = json.loads(row["plan"])["plan"] if row["plan"] else {}
        places = {one["prompt"]: at for at, one in enumerate(plan.get("prompts", ()), 1)}
        found = []
        for one in await self.show.rows(run, rows, root):
            picture = one["picture"] or {}
            found.append(
                {
                    "row": places.get(one["prompt"], one["row"]), "purpose": one["id"] or "page",
                    **{name: one[name] for name in _OF_ROW},
                    "url": picture.get("url"), "thumb": picture.get("thumb"), "sha256": picture.get("sha256"),
                }
            )  # fmt: skip
        return found


_AT_WORK = frozenset({"writing", "painting", "setting"})
_OF_ROW = ("prompt", "status", "stage", "code", "error", "price", "currency", "feedback")
_STAGES = {
    "writing": Text("写标题和正文", "Writing titles and body"),
    "outline": Text("大纲在等你看", "The outline waits for you"),
    "painting": Text("画配图", "Making pictures"),
    "setting": Text("排版卡片", "Setting the cards"),
    "done": Text("完成", "Done"),
    "failed": Text("没有做成", "Failed"),
    "cancelled": Text("已取消", "Cancelled"),
}
_ASKED = ("theme", "ar", "pages", "images", "style", "writer", "endpoint", "title", "author", "offline", "consistent", "budget", "currency")  # fmt: skip


def _settings(asked: Mapping[str, Any]) -> Json:
    return {name: asked.get(name) for name in _ASKED}


def _error(text: str) -> Json | None:
    if not text:
        return None
    error: Json = json.loads(text)
    return {**error, "message": Said(Text(*error["message"]))}


def _post(record: Json) -> Json:
    return {"title": record["title"], "body": record["content"], "tags": record["tags"]}


def _cards(record: Json, at: str) -> list[Json]:
    width, height = SIZES[record["redloom"]["look"]["ratio"]]
    found = []
    for number, card in enumerate(record["redloom"]["cards"], 1):
        url = f"{at}/files/{quote(card['file'])}?v={card['sha256'][:12]}"
        shown = card["prompt"]
        found.append(
            {
                "n": number, "kind": card["kind"], "text": card["text"], "file": card["file"], "url": url,
                "thumb": f"{url}&thumb=1", "width": width, "height": height,
                "picture": None if shown is None else shown + 1,
            }
        )  # fmt: skip
    return found


def _done(record: Json) -> Json:
    """What only a finished note has."""
    own = record["redloom"]
    titles = [
        {"text": one["text"], "hook": one.get("hook", ""), "length": title_length(one["text"])}
        for one in own["plan"]["titles"]
    ]
    return {
        "titles": titles, "warnings": [str(Text(*pair)) for pair in own["warnings"]],
        "versions": own["versions"],
        "check": check_json(record["title"], record["content"], record["tags"], len(record["images"])),
    }  # fmt: skip
