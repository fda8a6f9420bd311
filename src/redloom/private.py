"""Files and folders that nobody but their owner reads, whatever the umask says.

Folders are 0700 and files 0600 from the moment that they are there: a mode put right afterwards
leaves a moment in which another user of the machine may open them. A symbolic link in the place
of a file is not followed.

May import: nothing of the way.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

FOLDER, FILE = 0o700, 0o600


def folder(path: Path) -> None:
    """Make ``path`` and what is missing above it, 0700. One that is there stays as it is.

    Raises OSError, FileExistsError where a file lies there.
    """
    try:
        path.mkdir(FOLDER)
    except FileNotFoundError:
        folder(path.parent)
        path.mkdir(FOLDER, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise


def own_folder(path: Path) -> None:
    """`folder`, and one of ours that others may read is shut to them. Raises OSError."""
    folder(path)
    _shut(path, FOLDER)


def opener(path: str, flags: int) -> int:
    """For `open`: a new file is 0600, a symbolic link is refused. Raises OSError."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FILE)


def own_file(path: Path) -> None:
    """Make ``path`` where it is missing, 0600, and shut it to others where it is there.

    For a file that a library is going to open by its name. Raises OSError.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE))
    _shut(path, FILE)


def shut_file(path: Path) -> None:
    """Shut a file to others if it is there; never an error."""
    with contextlib.suppress(OSError):
        _shut(path, FILE)


def write(path: Path, data: bytes) -> None:
    """A new file, 0600, that was not there before. Raises OSError, FileExistsError."""
    with open(path, "xb", opener=opener) as file:
        file.write(data)


def _shut(path: Path, mode: int) -> None:
    """Take away what group and others may do, where it is ours to say."""
    facts = path.lstat()
    if facts.st_uid != os.geteuid() or stat.S_ISLNK(facts.st_mode) or not facts.st_mode & 0o077:
        return
    # Some network disks know no modes: what cannot be shut there is the disk's matter.
    with contextlib.suppress(OSError):
        path.chmod(mode & stat.S_IMODE(facts.st_mode))
