"""What is mounted where.

May import: everything of the studio but ``server``.
"""

from __future__ import annotations

from fastapi import FastAPI

from redloom.version import __version__

from . import pages


def create_app() -> FastAPI:
    """The application."""
    app = FastAPI(title="Redloom", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(pages.router)
    return app
