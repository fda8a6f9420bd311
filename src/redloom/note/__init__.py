"""A story into a note: words, pages, folder, export. The front door is `make.make_note`.

In the order of the work (a module imports only those before it):
    markdown     Markdown into blocks
    plain        plain text into blocks
    source       the story: bytes, in whatever encoding, to title and blocks
    text         words, sentences and clauses; what a block says
    rules        what the platform takes, and a shorter proposal
    plan         the note as planned, as JSON both ways
    keywords     what a story is about, from its own words
    pictures     words for a text-to-image service about this story
    hooks        titles out of a story's own words
    writer       what a writer is
    writer_local the writer that needs no model
    faithful     whether a written note still tells the story
    chat         one call to an OpenAI-compatible chat service
    writer_llm   the writer that asks a model
    pages        blocks and the pages they stand on
    deck         a plan and its pictures, set as cards
    illustrator  what an illustrator is
    preview      the note as a phone shows it
    folder       the note's folder, whole or not at all
    bundle       the folder's files
    make         story to note, end to end
    redo         remake part of a note
    export       the note in another shape

May import: errors, lang, clock, version, typeset.
"""
