"""The folder that holds the journal and the pictures, and who may spend in it (rule 10).

``engine.lock`` is held with ``flock`` by the one engine of the workspace: the kernel releases it
when that process dies and never before. ``owners/`` has one such file for each process that
wants runs carried, so that anyone can ask whether a run's owner still lives.

May import: errors, lang, private.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from . import private
from .errors import DiskFull


@dataclass
class Workspace:
    """A workspace folder. Nothing in it is readable by other users of the machine."""

    root: Path
    _lock: int | None = None
    _owner: int | None = None
    token: str = field(default_factory=lambda: f"{os.getpid()}-{uuid.uuid4().hex[:12]}")
    """This process's name as an owner of runs."""

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.root / "journal.db"

    @property
    def images(self) -> Path:
        """The store of pictures."""
        return self.root / "images"

    @property
    def partial(self) -> Path:
        """Downloads that are not whole yet."""
        return self.root / "partial"

    def prepare(self) -> Workspace:
        """Make the folder and those in it (0700), and this process's owner file. Raises DiskFull."""
        try:
            private.folder(self.root)
            # The root may be a folder that was there before us, and stays as its owner made it;
            # what we put into it is shut by itself.
            for folder in (self.images, self.partial, self.root / "owners"):
                private.own_folder(folder)
            self._owner = _locked(self._owner_file(self.token), wait=True)
        except OSError as error:
            raise DiskFull(
                f"工作区 {self.root} 写不进去（{error.strerror}）；没有花钱。可用 --workspace 换一个文件夹。",
                f"The workspace {self.root} cannot be written ({error.strerror}); nothing was spent. Name another with --workspace.",
            ) from error
        self._sweep()
        return self

    def try_lock(self) -> bool:
        """Become the engine of this workspace if nobody is; whether this process is it now."""
        if self._lock is None:
            self._lock = _locked(self.root / "engine.lock", wait=False)
        return self._lock is not None

    def unlock(self) -> None:
        """Let another process be the engine."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def last_epoch(self) -> int:
        """The epoch of the last engine that worked here; 0: none is known."""
        try:
            text = (self.root / "engine.lock").read_text("ascii")
        except (OSError, ValueError):
            return 0
        return int(text) if text.strip().isdigit() else 0

    def remember_epoch(self, epoch: int) -> None:
        """For the holder of the lock: the journal has committed this epoch. A journal that knows
        less afterwards has lost its write-ahead log, or is an older copy.
        """
        if self._lock is not None and epoch > self.last_epoch:
            os.pwrite(self._lock, b"%d" % epoch, 0)

    def lives(self, token: str) -> bool:
        """Whether the process that calls itself ``token`` is still there."""
        if token == self.token:
            return True
        path = self._owner_file(token)
        if not token or not path.exists():
            return False
        taken = _locked(path, wait=False)
        if taken is None:
            return True
        os.close(taken)
        return False

    def close(self) -> None:
        """Give up lock and owner file."""
        self.unlock()
        if self._owner is not None:
            self._owner_file(self.token).unlink(missing_ok=True)
            os.close(self._owner)
            self._owner = None

    def _owner_file(self, token: str) -> Path:
        return self.root / "owners" / f"{Path(token).name}.lock"

    def _sweep(self) -> None:
        """Remove the files of owners that died."""
        for path in (self.root / "owners").glob("*.lock"):
            if not self.lives(path.stem):
                path.unlink(missing_ok=True)


def _locked(path: Path, *, wait: bool) -> int | None:
    """An open file with an exclusive lock, or None where another process has it."""
    while True:
        handle = private.opener(str(path), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if _is_at(handle, path):
            return handle
        os.close(handle)  # somebody swept the file between our open and our lock


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one that ``path`` names."""
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def fingerprint(key: str, salt: str) -> str:
    """A short name for a key that tells keys apart and gives none away."""
    if not key:
        return "-"
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:12]
