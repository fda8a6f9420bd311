"""The release's number; alone in a file so that nothing heavy is imported to read it.

May import: nothing of the package.
"""

__version__ = "0.1.0"
