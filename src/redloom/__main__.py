"""``python -m redloom``: the same as the command ``redloom``.

May import: cli.
"""

from .cli import main

if __name__ == "__main__":
    main()
