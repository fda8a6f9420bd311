"""``/docs``: the OpenAPI document as one page, with no script and nothing from elsewhere.

May import: lang.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from redloom.lang import Text

Json = Mapping[str, Any]
_VERBS = ("get", "post", "put", "delete")
STYLE_PATH = "static/docs.css"


def docs_page(document: Json, base: str) -> str:
    """The page. Its style is ``web/static/docs.css``."""
    title = f"{document['info']['title']} {document['info']['version']}"
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for verb in _VERBS:
            if verb in item:
                tag = (item[verb].get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append(_operation(document, path, verb, item[verb], base))  # fmt: skip
    links = " ".join(f'<a href="#{html.escape(tag)}">{html.escape(tag)}</a>' for tag in groups)
    body = "".join(
        f'<h2 id="{html.escape(tag)}">{html.escape(tag)}</h2>{"".join(found)}' for tag, found in groups.items()
    )  # fmt: skip
    said = Text("机器可读的全文：", "The same for machines: ")
    return (
        f'<!doctype html><html lang="{Text("zh", "en")}"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<base href="{html.escape(base)}/"><title>{html.escape(title)}</title>'
        f'<link rel="stylesheet" href="{STYLE_PATH}"><main><h1>{html.escape(title)}</h1>'
        f"<p>{html.escape(document['info']['description'])}</p>"
        f'<p>{said}<a href="openapi.json">openapi.json</a></p><nav>{links}</nav>{body}</main></html>'
    )


def _operation(document: Json, path: str, verb: str, operation: Json, base: str) -> str:
    summary = html.escape(str(operation.get("description") or operation.get("summary") or ""))
    parts = "".join(_parameters(operation)) + _body(document, operation) + _answers(operation)
    call = html.escape(_curl(document, path, verb, operation, base))
    return (
        f'<details><summary><code class="{verb}">{verb.upper()}</code> <code>{html.escape(path)}</code>'
        f" <span>{summary.splitlines()[0] if summary else ''}</span></summary>"
        f"{parts}<pre>{call}</pre></details>"
    )


def _parameters(operation: Json) -> Iterator[str]:
    for one in operation.get("parameters", ()):
        schema = one.get("schema", {})
        kind = schema.get("type") or "/".join(
            str(option.get("type")) for option in schema.get("anyOf", ())
        )
        must = " *" if one.get("required") else ""
        yield (
            f"<p><code>{html.escape(one['name'])}</code>{must} <small>{html.escape(one['in'])}, "
            f"{html.escape(kind or 'string')}</small></p>"
        )


def _body(document: Json, operation: Json) -> str:
    rows = []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, content.get("schema", {}))
        must = set(schema.get("required", ()))
        for name, field in schema.get("properties", {}).items():
            mark = " *" if name in must else ""
            rows.append(f"<li><code>{html.escape(name)}</code>{mark} <small>{html.escape(_kind_of(field))}</small></li>")  # fmt: skip
        rows.insert(0, f"<p><small>{html.escape(kind)}</small></p><ul>")
        rows.append("</ul>")
    return "".join(rows)


def _kind_of(field: Json) -> str:
    options = field.get("anyOf") or [field]
    names = [str(o.get("type") or o.get("$ref", "").rpartition("/")[2] or "any") for o in options]
    words = " | ".join(names)
    if "enum" in field:
        words += ": " + ", ".join(map(str, field["enum"]))
    if "default" in field:
        words += f" = {json.dumps(field['default'], ensure_ascii=False)}"
    return words


def _answers(operation: Json) -> str:
    found = []
    for status, answer in operation.get("responses", {}).items():
        for content in answer.get("content", {}).values():
            if "example" in content:
                text = json.dumps(content["example"], ensure_ascii=False, indent=1)
                found.append(f"<p>{html.escape(status)}</p><pre>{html.escape(text)}</pre>")
    return "".join(found)


def _resolved(document: Json, schema: Json) -> Json:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Json = document.get("components", {}).get("schemas", {}).get(name, schema)
    return found


def _curl(document: Json, path: str, verb: str, operation: Json, base: str) -> str:
    words = ["curl"] + ([] if verb == "get" else ["-X", verb.upper()])
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        schema = _resolved(document, content["application/json"].get("schema", {}))
        example = (schema.get("examples") or [{}])[0]
        words += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example, ensure_ascii=False)}'"]  # fmt: skip
    elif content:
        name = next(iter(next(iter(content.values())).get("schema", {}).get("required", ["file"])))
        words.append(f"-F '{name}=@FILE'")
    return " ".join([*words, "-H 'Authorization: Bearer TOKEN'", f"http://127.0.0.1:8787{base}{path}"])  # fmt: skip
