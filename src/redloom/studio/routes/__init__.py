"""The addresses, one file for each family. Each has a ``router`` that `app` mounts.

May import: everything of the studio but ``app`` and ``server``.
"""
