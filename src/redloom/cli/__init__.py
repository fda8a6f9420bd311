"""The commands. Each is a module of its own, imported when it is called and never before.

May import: everything; `table`, `common` and `group` only lang, errors and config_files, so that
`redloom --help` stays quick.
"""

from .group import cli, main

__all__ = ["cli", "main"]
