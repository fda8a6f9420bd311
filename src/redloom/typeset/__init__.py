"""Cards: themes, faces, title breaks, drawing. Knows nothing of the way.

May import: errors, lang, version.

In the order of the work (a module imports only those before it):
    content     what is typeset, as data
    characters  which characters the faces have; what is missing; emoji as clusters
    words       what may not be broken, and what may be
    titles      a title into lines, by our own small partition
    picture     a photograph made ready to stand under or beside words
    theme       the folders that say how a card looks
    press       typst, kept warm: layout looked at, pages drawn
    flow        blocks into pages, none nearly empty
    cards       the front door: a deck in, pictures out
"""
