"""The race against the bound: emulator and clients in processes of their own, measured alike.

`scenarios` says what the service is like, `clients` who runs, `bounds` what could be reached at
best, `host` and `runner` are the two kinds of process, `measure` reads what a run came to from the
service's own ledger, `race` puts it together, `table` and `drawing` show it.

May import: everything before the surfaces.
"""
