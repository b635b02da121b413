"""The one file that this program runs from: which build it is, and its bytes, held in memory.

hold() makes a program independent of the file: whoever replaces it, by rename or in place, changes
what starts next, not what runs. Without it, a later import would read other bytes at old offsets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from typing import IO
from zipimport import ZipImportError, zipimporter

import hakuriver
from hakuriver.model.errors import HakuRiverError
from hakuriver.system.bytecode import import_from

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

_held: list[IO[bytes]] = []  # the copy, once there is one


def archive() -> str:
    """Where we were started from; "" from a checkout. By now another file may be there."""
    loader = hakuriver.__loader__
    return str(loader.archive) if isinstance(loader, zipimporter) else ""


def build() -> str:
    """Names the content of the file, as it names itself; "" from a checkout."""
    return str(getattr(sys.modules["__main__"], "BUILD", ""))


def place() -> str:
    """Where the bytes that we run from are; "" from a checkout."""
    return f"/proc/self/fd/{_held[0].fileno()}" if _held else archive()


def hold() -> None:
    """Import from a copy in memory from now on. Raises HakuRiverError if the file is another by now.

    Not by executing the copy: `ps` would show /proc/self/fd/3 instead of what was started.
    """
    original = archive()
    if not original or _held:
        return
    try:
        copy = _copy(original)
    except OSError as error:
        raise HakuRiverError(
            f"cannot make a copy of {original} to run from: {error.strerror}",
            "The copy is in memory, or else in the temporary folder. Is there room?",
        ) from None
    _check(original, f"/proc/self/fd/{copy.fileno()}")
    _held.append(copy)
    _import_from(original, place())


def _copy(original: str) -> IO[bytes]:
    with open(original, "rb") as source:
        copy = _nameless()
        shutil.copyfileobj(source, copy)
    copy.flush()
    with contextlib.suppress(OSError):  # only a memfd can be sealed
        fcntl.fcntl(copy.fileno(), fcntl.F_ADD_SEALS, _SEALS)
    return copy


def _nameless() -> IO[bytes]:
    """An empty file that only we can open. Pythons for very old systems know no memfd."""
    try:
        # Unbuffered: sealing fails while a buffer still has something to write.
        return open(os.memfd_create("hakuriver", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb", 0)
    except (AttributeError, OSError):
        return tempfile.TemporaryFile()


def _check(original: str, copy: str) -> None:
    if not os.path.exists(copy):
        raise HakuRiverError("/proc is not there", "Mount it: mount -t proc proc /proc")
    try:
        source = zipimporter(copy).get_source("__main__") or ""
    except ZipImportError:
        source = ""
    if build() not in source:
        raise HakuRiverError(
            f"{original} was replaced at the very moment of this start", "Start it again."
        )


def _import_from(original: str, copy: str) -> None:
    def moved(path: str) -> str:
        return copy + path.removeprefix(original) if path.startswith(original) else path

    import_from(copy)
    sys.path[:] = map(moved, sys.path)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "hakuriver" and hasattr(module, "__path__"):
            module.__path__[:] = map(moved, module.__path__)
