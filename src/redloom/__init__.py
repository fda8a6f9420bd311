"""Redloom: text to finished pictures in bulk; every prompt once, paid once.

The contents page. A test reads the order from here and holds every import to it: a module may
import only what stands before it in this list.

The ground
    version   the release's number
    lang      in which language the user is spoken to
    errors    everything that can go wrong, by what to do next and whether money may be gone
    clock     nominal time; the seam that tests and benchmarks turn
    memory    what keeps memory flat where the C library would not
    private   files and folders that only their owner reads
    events    what happened, as frozen records on one stream
    bound     how fast a run could be at most

The way of one picture, in the order that it goes
    prompt        what is asked: text, size, seed, count
    encodings     which encoding a file is in
    templates     {a|b}, __wildcards__ and {columns} in prompts
    prompt_flags  Midjourney's and A1111's flags inside a prompt
    prompt_tables columns by their known names
    prompt_files  reading .txt .csv .xlsx .jsonl .json
    job           one wanted picture: its key, its states
    money         sums, budget, estimate
    upgrade       before a journal is used: the right file, this release's schema, a copy kept
    journal       what became of every job (SQLite; the SQL under names in journal.sql)
    spending      what a run has cost, added up from the journal
    rows          what the journal keeps, as values
    records       the journal's typed operations
    pages         rows out of a SQLite file that SQLite cannot read any more
    salvage       what can still be read of a damaged journal
    workspace     the folder of journal and store, and who may spend in it
    takeover      before an engine takes over: the latest journal? which unfinished files?
    spill         pictures inside an answer go to disk as they arrive
    wire          one pooled HTTP session per endpoint; what left, what was lost
    previews      small pictures of what is being made, while somebody watches
    endpoint      where it can be made: the Provider protocol, limits, price, capabilities
    limit         how fast an endpoint may be asked, and what a 429 teaches
    retry         whether and when to ask again: decisions as values, no sleeping
    timing        how long pictures take, learnt; when to look next
    poll          when to ask for a ticket: one scheduler per account
    route         which endpoint gets the next job
    told          limits that a service tells of itself, put to use
    carried       a run while it is carried: ready, in hand, its purse
    settle        what a lost answer was, decided from the account's list
    twins         lost answers to the same words: whose a finished task is
    task          one paid try: intent, submit, ticket, end
    looking       looks through the account for lost answers
    naming        how files are called
    splice        parts of PNG, JPEG and WebP files
    metadata      what is written into a picture, and its AIGC label
    links         where a result may lie, and where we do not go
    parts         unfinished files of downloads; what the disk refuses
    verify        bytes to a verified picture: decoded, measured, hashed
    download      result to bytes on disk, whole and verified or not at all
    image         the finished picture: store, derived formats
    rebuild       a damaged or lost journal, built again from itself, store and sidecars
    result        what a caller gets of one wanted picture
    examine       one look at a finished picture: thumbnail, fingerprint, doubts
    finish        from a finished task to a file and an outcome on record
    measured      how large a finished picture is that nobody has taken yet
    floor         what the work on one picture asks of the carrier
    withheld      a picture that its service calls made and does not hand over
    hedge         the drain's twins: a straggler at a free endpoint is raced, for nothing
    making        one picture, from its slot to its outcome
    drain         the end of a run: longest first, waiting tasks called back to an idle endpoint
    places        where the jobs of a run may go
    carrier       carries jobs down the way
    manifest      what a run leaves: manifest.jsonl and manifest.csv
    contact       the contact sheet, index.html
    tries         a run's paid tries and the moments that each passed
    losses        where its slots stood idle while work was left, each second with one cause
    figures       a run in figures: latencies, distance to the bound and its causes
    diary         what a run went through that its rows do not tell
    report        a run as one page, report.html

The rooms
    typeset       cards: themes, faces, title breaks, drawing
    diffusers_worker  a process per GPU for the provider `diffusers`: batches, models, their rescue
    cluster       GPUs of many machines: the same batches, made by Ray actors
    providers     one file each, found by name
    emulators     one file each: the service's protocol, limits, traps, ledger
    testing       the jumping clock and the fake provider, for our tests and for yours
    config_files  settings files in their different forms
    settings_form what a settings file may hold
    settings      where every setting comes from
    equip         endpoints put to use: gates, lanes, poll schedulers
    wanted        a run's options, and the jobs of each row
    engine        add runs, follow them, pause, resume, cancel
    audit         the account's tasks against the ledger; what nobody collected is collected
    conformance   what every provider must do, as cases against its emulator
    eta           when a run will be over
    progress      a run as a person watches it
    metrics       Prometheus metrics of an engine, one watcher
    traces        OpenTelemetry spans of pictures, one watcher (the extra otel)
    logs          log lines for people or for machines, secrets masked
    observe       who watches an engine because the environment asks for it
    note          a story into a note: writer, pages, export
    soften        a refused prompt in milder words, where the user allows it
    config_manager  RedBookContentGen's settings class
    compat        RedBookContentGen's other names on this engine
    bench         the race against the bound

The surfaces
    studio        HTTP API and web pages
    cli           the commands
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .compat import AsyncImageService, ImageGenerationResult, ImageGenerator
    from .config_manager import ConfigManager
    from .engine import Engine, Result, RunOptions, generate
    from .prompt import Prompt

_HOMES = {
    "Engine": "engine",
    "Result": "result",
    "RunOptions": "engine",
    "generate": "engine",
    "Prompt": "prompt",
    "AsyncImageService": "compat",
    "ImageGenerationResult": "compat",
    "ImageGenerator": "compat",
    "ConfigManager": "config_manager",
}
"""Where the public names live; each is imported when it is first asked for."""

__all__ = [
    "AsyncImageService",
    "ConfigManager",
    "Engine",
    "ImageGenerationResult",
    "ImageGenerator",
    "Prompt",
    "Result",
    "RunOptions",
    "__version__",
    "generate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
