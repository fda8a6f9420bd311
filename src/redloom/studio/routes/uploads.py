"""Files of prompts: send one, see what its columns mean, begin a run with it in ``/api/runs``.

May import: see `routes`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from redloom.clock import offload
from redloom.studio.forms import PreviewForm, listed
from redloom.studio.house import Here, House
from redloom.studio.problems import wrong
from redloom.studio.uploads import FIELDS, Upload, preview

router = APIRouter(tags=["uploads"])
Json = dict[str, Any]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object", "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}  # fmt: skip


@router.post("/api/uploads", status_code=201, openapi_extra=_BODY)
async def upload(request: Request, house: Here) -> Json:
    """A .txt .csv .tsv .xlsx .jsonl(.gz) or .json of prompts; kept for a day."""
    async with request.form(max_files=1, max_fields=20) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise wrong("file", "缺少 file 文件。", "The file “file” is missing.")
        with tempfile.NamedTemporaryFile(prefix="redloom-upload-") as copy:
            while block := await file.read(1 << 20):
                copy.write(block)
            copy.flush()
            name = Path((file.filename or "prompts.txt").replace("\\", "/")).name or "prompts.txt"
            taken = await offload(house.uploads.take, name, Path(copy.name))
    return await _shown(house, taken, PreviewForm())


@router.post("/api/uploads/{name}/preview")
async def look(name: str, form: PreviewForm, house: Here) -> Json:
    """The same file with its columns meant otherwise."""
    return await _shown(house, house.uploads.get(name), form)


async def _shown(house: House, upload: Upload, form: PreviewForm) -> Json:
    lives = house.lives_for(listed(form.endpoint), form.model)
    told = {"n": form.n, "size": form.size}
    seen = await offload(lambda: preview(house.uploads.prompts(upload, form.mapping), lives, told))
    return {
        "upload": upload.id, "name": upload.name, "kind": upload.kind, "fields": list(FIELDS),
        "columns": upload.columns_json(), **seen,
    }  # fmt: skip
