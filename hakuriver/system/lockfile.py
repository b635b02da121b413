"""One process per data folder: an flock that dies with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hakuriver.model.errors import UsageError


class LockFile:
    """Held until the process ends, however it ends."""

    def __init__(self, path: Path, *, what: str) -> None:
        """Raises UsageError with the pid of the holder if it is taken."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{what} cannot use {path.parent}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise UsageError(
                f"{what} is at work already in {path.parent}, pid {holder or 'unknown'}",
                "Stop that one first, or give this one other data: HAKURIVER_HOME or the config.",
            ) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._descriptor)
            raise UsageError(f"{what} cannot write {path}: {error.strerror}") from None

    def release(self) -> None:
        os.close(self._descriptor)
