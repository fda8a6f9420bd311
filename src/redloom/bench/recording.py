"""HTTP exchanges as they happened, without what must not be kept.

The key is never in a recording: request headers are not recorded at all. Ids become ``id-1``,
``id-2``, …, the same one each time; of a link's query only the names of its fields remain.

May import: wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redloom.wire import Answer, Wire

_ID = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_LINK = re.compile(r"https?://[^\s\"\\]+")
KEPT_HEADERS = ("content-type", "retry-after", "x-dashscope-timeout", "x-ratelimit-remaining")
MOST = 8192
"""Characters of a body that is no JSON."""


class Recorder(Wire):
    """A `Wire` that keeps what it sent and got, scrubbed. One for each provider under test."""

    def __init__(self, *args: Any, headers: Mapping[str, str] | None = None, **how: Any) -> None:
        super().__init__(*args, headers=headers, **how)
        self.exchanges: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        self._secrets = [
            value.split(" ", 1)[-1] for value in (headers or {}).values() if len(value) > 7
        ]

    async def post(self, path: str, payload: Mapping[str, Any], **how: Any) -> Answer:
        """As `Wire.post`, and on record."""
        answer = await super().post(path, payload, **how)
        self._keep("POST", path, answer, sent=json.loads(self.scrub(json.dumps(payload))))
        return answer

    async def get(self, path: str, **how: Any) -> Answer:
        """As `Wire.get`, and on record."""
        answer = await super().get(path, **how)
        self._keep("GET", path, answer, query=dict(how.get("query") or {}))
        return answer

    def _keep(self, method: str, path: str, answer: Answer, **more: Any) -> None:
        headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        self.exchanges.append(
            {"method": method, "path": self.scrub(path), **more, "status": answer.status,
             "headers": headers, "body": self._body(answer)}
        )  # fmt: skip

    def _body(self, answer: Answer) -> Any:
        if answer.body is None:
            return self.scrub(answer.text[:MOST])
        return json.loads(self.scrub(json.dumps(answer.body, ensure_ascii=False)))

    def scrub(self, text: str) -> str:
        """``text`` without keys, ids and signatures."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _LINK.sub(lambda found: _bare(found[0]), text)
        return _ID.sub(lambda found: self._name(found[0]), text)

    def _name(self, found: str) -> str:
        return self._names.setdefault(found, f"id-{len(self._names) + 1}")

    async def file(self, url: str) -> bytes:
        """A file's bytes; nothing of them is recorded but their number."""
        async with self.session() as session, session.get(url, allow_redirects=False) as answer:
            data = await answer.read()
            self.exchanges.append(
                {"method": "GET", "path": self.scrub(url), "status": answer.status,
                 "headers": {n: answer.headers[n] for n in KEPT_HEADERS if n in answer.headers},
                 "bytes": len(data)}
            )  # fmt: skip
            return data

    def lines(self) -> str:
        """The recording as JSON Lines."""
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in self.exchanges)


def _bare(link: str) -> str:
    """A link with the values of its query struck out."""
    parts = urlsplit(link)
    names = "&".join(f"{name}=***" for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{names}" if names else "")
