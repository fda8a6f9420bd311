"""Redloom: text to finished pictures in bulk; every prompt once, paid once.

The contents page. A test reads the order from here and holds every import to it: a module may
import only what stands before it in this list.

The ground
    version   the release's number
    lang      in which language the user is spoken to
    errors    everything that can go wrong, by what to do next and whether money may be gone
    clock     nominal time; the seam that tests and benchmarks turn
    events    what happened, as frozen records on one stream

The way of one picture, in the order that it goes
    prompt    what is asked: text, size, seed, count; reading prompt files
    job       one wanted picture: its key, its states
    money     prices with date and source, budget, ledger
    journal   what became of every job (SQLite; the SQL under names in journal.sql)
    wire      one pooled HTTP session per endpoint; what left, what was lost
    endpoint  where it can be made: the Provider protocol, limits, price, capabilities
    limit     how fast an endpoint may be asked, and what a 429 teaches
    retry     whether and when to ask again: decisions as values, no sleeping
    route     which endpoint gets the next job
    task      one paid try: intent, submit, ticket, poll, end
    download  result to bytes on disk, whole and verified or not at all
    image     the finished picture: store, derived formats, metadata, labels
    engine    carries jobs down the way

The rooms
    typeset   cards: themes, faces, title breaks, drawing
    providers one file each, found by name
    emulators one file each: the service's protocol, limits, traps, ledger
    testing   the jumping clock and the fake provider, for our tests and for yours
    settings  where every setting comes from
    progress  a run as a person watches it
    note      a story into a note: writer, pages, export
    compat    RedBookContentGen's names on this engine
    bench     the race against the bound

The surfaces
    studio    HTTP API and web pages
    cli       the commands
"""

from .version import __version__

__all__ = ["__version__"]
