"""The other half of bytecode.py, which a start needs only when a module is not compiled yet."""

from __future__ import annotations

import contextlib
import marshal
import os
import zlib
from types import CodeType

from hakuriver.system.bytecode import CRC

_KEPT = 4  # folders: of this build, and of earlier ones and other Pythons


def make(folder: str) -> None:
    """May raise OSError."""
    above = os.path.dirname(folder)
    os.makedirs(above, 0o700, exist_ok=True)
    for old in sorted(os.scandir(above), key=lambda entry: entry.stat().st_mtime)[: 1 - _KEPT]:
        for file in os.listdir(old.path):
            os.unlink(f"{old.path}/{file}")
        os.rmdir(old.path)
    os.makedirs(folder, 0o700, exist_ok=True)


def write(path: str, code: CodeType) -> None:
    """The whole file or none: another process of ours may be reading it."""
    data = marshal.dumps(code)
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(zlib.crc32(data).to_bytes(CRC, "big") + data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
