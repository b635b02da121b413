"""Files that only their owner may read: they hold what tasks were given, secrets among it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_OWNER_ONLY = 0o600


def make_private(path: Path) -> None:
    """Before anything is in it; one that is there is closed. SQLite gives what it makes beside its
    file the same mode. Raises OSError if it cannot be made."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY))
    with contextlib.suppress(OSError):
        path.chmod(_OWNER_ONLY)
