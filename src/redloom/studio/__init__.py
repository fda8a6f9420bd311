"""The studio: the engine behind HTTP, for people at a browser, programs and other agents.

FastAPI and uvicorn are imported here and nowhere else. Who follows a request opens, in order:
``app`` (what is mounted where), ``guard`` (who may call), ``house`` (what all routes share),
``routes/`` (one file for each family of addresses), ``web/`` (the pages).

May import: everything but the commands.
"""
