"""The files of a note's folder, from its plan, cards and pictures.

Everything is relative, and nothing but ``made_at`` in the record tells when or where it was made.
May import: lang, version, typeset, note.deck, note.folder, note.illustrator, note.plan,
note.preview, note.rules.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redloom.lang import Text
from redloom.typeset.content import Ratio
from redloom.version import __version__

from . import preview, rules
from .deck import Drawn, Look
from .folder import FORMAT, RECORD, digest, slug, to_json, to_lines
from .illustrator import Illustrated
from .plan import Json, NotePlan
from .rules import Finding, Post

Label = Callable[[bytes], bytes]


def as_is(data: bytes) -> bytes:
    """The label that adds nothing."""
    return data


FIELDS = (
    *(
        "row",
        "take",
        "id",
        "status",
        "file",
        "sha256",
        "source_sha256",
        "prompt",
        "endpoint",
        "model",
        "size",
    ),
    *("seed", "task_id", "attempts", "submitted_at", "finished_at", "seconds", "price", "currency"),
    *("price_source", "error_code", "error"),
)
"""A manifest's line, in order."""


@dataclass(frozen=True)
class Note:
    """All that a folder is made from. ``kept`` holds cards that must stay byte for byte as they
    are, by index; ``versions`` what was done to the note so far."""

    drawn: Drawn
    look: Look
    source: Json
    settings: Json
    writer: Json
    pictures: Sequence[Illustrated] = ()
    warnings: Sequence[Text] = ()
    versions: Sequence[Json] = ()
    kept: Mapping[int, bytes] = field(default_factory=dict)
    kept_names: Mapping[int, str] = field(default_factory=dict)

    @property
    def plan(self) -> NotePlan:
        """The plan as it was set."""
        return self.drawn.plan


@dataclass(frozen=True)
class Bundle:
    """The folder's files by path, and what the caller wants to know of them."""

    files: dict[str, bytes]
    post: Post
    warnings: tuple[Text, ...]
    findings: tuple[Finding, ...]
    manifest: list[dict[str, Any]]


def bundle(note: Note, label: Label) -> Bundle:
    """The files of ``note``; ``label`` goes over every new card that shows a model's picture."""
    cards = [_card(note, at, label) for at in range(len(note.drawn.cards))]
    names = _names(note)
    files = dict(zip(names, cards, strict=True))
    plan = note.plan
    post = Post(plan.titles[0].text, plan.body, plan.tags, tuple(names))
    findings = tuple(rules.check(post))
    warnings = tuple(
        dict.fromkeys(
            [
                *note.warnings,
                *note.drawn.warnings,
                *_failures(note),
                *(one.remark for one in note.pictures if one.remark),
                *(one.message for one in findings),
            ]
        )
    )
    manifest = [_row(note, at, name, files[name]) for at, name in enumerate(names)]
    plan_json = _externalised(plan.to_json(), files)
    painted = _stored_pictures(note, files)
    files |= _texts(post, plan)
    files["preview.html"] = _preview(note, post, cards, warnings).encode()
    files["prompts.jsonl"] = to_lines(_prompts(plan, note.look.ratio))
    files["manifest.jsonl"] = to_lines(manifest)
    record = {
        "title": post.title,
        "content": post.content,
        "images": list(post.images),
        "tags": list(post.tags),
        "redloom": {
            "format": FORMAT,
            "program": __version__,
            "source": note.source,
            "settings": note.settings,
            "look": {"theme": note.look.theme, "ratio": note.look.ratio},
            "writer": note.writer,
            "titles": [title.text for title in plan.titles],
            "plan": plan_json,
            "cards": [_card_record(note, at, name, files[name]) for at, name in enumerate(names)],
            "pictures": painted,
            "warnings": [list(text) for text in warnings],
            "findings": [_finding(one) for one in findings],
            "versions": list(note.versions),
            "files": sorted(files),
        },
    }
    files[RECORD] = to_json(record)
    return Bundle(files, post, warnings, findings, manifest)


def _card(note: Note, at: int, label: Label) -> bytes:
    if at in note.kept:
        return note.kept[at]
    png = note.drawn.cards[at].png
    return label(png) if note.drawn.shows[at] is not None else png


def _names(note: Note) -> list[str]:
    """``01-cover.png``, ``02-….png``: the number, then how the card begins."""
    names = []
    for at, card in enumerate(note.drawn.cards):
        if at in note.kept_names:
            names.append(note.kept_names[at])
            continue
        first = _first_words(note, at)
        word = card.kind if card.kind != "page" else slug(first)
        names.append(f"{at + 1:02d}-{word}.png")
    return names


def _first_words(note: Note, at: int) -> str:
    from .text import clauses, phrases_of

    for block in note.drawn.blocks[at]:
        for text in phrases_of(block):
            if text.strip():
                return (clauses(text) or [text])[0]
    return note.drawn.cards[at].text[:12]


def _failures(note: Note) -> list[Text]:
    failed = [one for one in note.pictures if not one.ok]
    texts = []
    for one in failed:
        which = (
            note.plan.prompts[one.row - 1].purpose if one.row <= len(note.plan.prompts) else "page"
        )
        zh, en = (
            ("封面配图", "The cover's picture")
            if which == "cover"
            else ("一张内页配图", "A page's picture")
        )
        why = one.error or Text("原因不明", "for an unknown reason")
        texts.append(
            Text(
                f"{zh}没有画成（{why.zh.rstrip('。')}），已改用文字卡，笔记仍然完整。",
                f"{en} was not made ({why.en.rstrip('.')}); a text card stands in, and the note is complete.",
            )
        )
    return texts


def _row(note: Note, at: int, name: str, data: bytes) -> dict[str, Any]:
    """The manifest's line for card ``at``: a model's where it shows a picture, else our own."""
    card, shown = note.drawn.cards[at], note.drawn.shows[at]
    row: dict[str, Any] = dict.fromkeys(FIELDS)
    row |= {"row": at + 1, "take": 1, "id": name.removesuffix(".png"), "status": "ok", "file": name}
    row |= {
        "sha256": digest(data),
        "prompt": card.text,
        "endpoint": "cards",
        "model": note.look.theme,
    }
    row |= {
        "size": f"{card.width}x{card.height}",
        "attempts": 1,
        "price": 0,
        "price_source": "free",
    }
    made = next((one for one in note.pictures if shown is not None and one.row == shown + 1), None)
    if made is not None and shown is not None:
        row |= {
            "prompt": note.plan.prompts[shown].prompt,
            "source_sha256": digest(made.data or b""),
        }
        row |= {
            key: value
            for key, value in made.record.items()
            if key not in ("row", "file", "sha256", "status", "id")
        }
    failed = next(
        (one for one in note.pictures if not one.ok and one.row == 1 and card.kind == "cover"), None
    )
    if failed is not None:
        row |= {
            "error_code": failed.record.get("error_code"),
            "error": failed.error.en if failed.error else None,
        }
        row |= {key: failed.record[key] for key in ("flags",) if key in failed.record}
    return row


def _card_record(note: Note, at: int, name: str, data: bytes) -> Json:
    card = note.drawn.cards[at]
    return {
        "file": name,
        "kind": card.kind,
        "text": card.text,
        "sha256": digest(data),
        "prompt": note.drawn.shows[at],
        "by_model": note.drawn.shows[at] is not None,
    }


def _externalised(data: Any, files: dict[str, bytes]) -> Any:
    """Plan JSON with the story's own pictures as files instead of text."""
    if isinstance(data, dict):
        if data.get("kind") == "figure" and "picture" in data:
            picture = base64.b64decode(data["picture"])
            name = f"pictures/figure-{digest(picture)[:12]}{extension(picture)}"
            files[name] = picture
            rest = {key: value for key, value in data.items() if key != "picture"}
            return rest | {"file": name}
        return {key: _externalised(value, files) for key, value in data.items()}
    return [_externalised(value, files) for value in data] if isinstance(data, list) else data


def internalised(data: Any, read: Callable[[str], bytes]) -> Any:
    """The inverse of what the record holds: picture files as text again."""
    if isinstance(data, dict):
        if data.get("kind") == "figure" and "file" in data:
            rest = {key: value for key, value in data.items() if key != "file"}
            return rest | {"picture": base64.b64encode(read(data["file"])).decode()}
        return {key: internalised(value, read) for key, value in data.items()}
    return [internalised(value, read) for value in data] if isinstance(data, list) else data


def extension(data: bytes) -> str:
    """The ending that fits a picture's bytes."""
    kinds = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif"}
    return next((ending for magic, ending in kinds.items() if data.startswith(magic)), ".bin")


def _stored_pictures(note: Note, files: dict[str, bytes]) -> list[Json]:
    """Models' pictures, verbatim, so that a change of text or theme costs nothing."""
    stored = []
    for one in note.pictures:
        name = None
        if one.ok and one.data is not None:
            name = f"pictures/{one.row:02d}{extension(one.data)}"
            files[name] = one.data
        error = list(one.error) if one.error else None
        stored.append(
            {"row": one.row, "ok": one.ok, "file": name, "record": one.record, "error": error}
        )
    return stored


def _texts(post: Post, plan: NotePlan) -> dict[str, bytes]:
    titles = "".join(f"{title.text}\n" for title in plan.titles)
    return {
        "title.txt": f"{post.title}\n".encode(),
        "titles.txt": titles.encode(),
        "body.txt": f"{post.content}\n".encode(),
        "tags.txt": "".join(f"{tag}\n" for tag in post.tags).encode(),
    }


def _preview(note: Note, post: Post, cards: Sequence[bytes], warnings: Sequence[Text]) -> str:
    first = note.drawn.cards[0]
    return preview.page(
        preview.Shown(
            post=post,
            pictures=cards,
            titles=note.plan.titles,
            size=(first.width, first.height),
            warnings=warnings,
            made_by_model=any(shown is not None for shown in note.drawn.shows),
        )
    )


def _prompts(plan: NotePlan, ratio: Ratio) -> list[dict[str, Any]]:
    """Prompts as `redloom batch` reads them."""
    return [
        {"id": f"{at:02d}-{one.purpose}", "prompt": one.prompt, "ar": ratio, "purpose": one.purpose}
        | ({"caption": one.caption} if one.caption else {})
        for at, one in enumerate(plan.prompts, 1)
    ]


def _finding(one: Finding) -> Json:
    proposal = one.proposal if isinstance(one.proposal, str) else list(one.proposal)
    return {
        "field": one.field,
        "length": one.length,
        "most": one.most,
        "message": list(one.message),
        "proposal": proposal,
    }
