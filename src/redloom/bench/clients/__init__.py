"""The runners of the race: each module has its clients by name in ``CLIENTS``.

May import: bench.course, and what the client needs.
"""
