"""What is mounted where.

May import: everything of the studio but ``server``.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route
from starlette.types import ASGIApp

from redloom.version import __version__

from . import pages, problems
from .docs_page import docs_page
from .guard import Guard
from .house import House
from .routes import notes, openai, pictures, runs, system, uploads

DESCRIPTION = (
    "One engine behind HTTP. `/v1/…` speaks OpenAI's shapes; `/api/…` is the studio's own; `/mcp` is "
    "for other agents. Every prompt ends in one recorded outcome, paid for at most once."
)


def create_app(house: House, mcp: ASGIApp) -> Guard:
    """The application around a house, behind its door. ``mcp`` answers at ``/mcp``."""
    app = FastAPI(
        title="Redloom", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None,
        openapi_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.house = house
    problems.install(app)
    for one in (system, runs, uploads, notes, pictures, openai):
        app.include_router(one.router)
    _add_documents(app)
    app.router.routes.append(Route("/mcp", endpoint=mcp))
    app.include_router(pages.router)
    return Guard(pictures.Front(app, house), house.options, house.callers)


def _add_documents(app: FastAPI) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> dict[str, Any]:
        return {**document(app), "servers": [{"url": request.scope["redloom.base"] or "/"}]}

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        page = docs_page(document(app), request.scope["redloom.base"])
        return Response(page, media_type="text/html")


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; made once."""
    if not app.openapi_schema:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemes = made.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        made["security"] = [{"token": []}]
        app.openapi_schema = made
    return app.openapi_schema
