"""Compiled modules of the one file, kept for the next start: Python itself keeps none for a zip.

~/.cache/hakuriver/BUILD-PYTHON/MODULE holds the CRC-32 of what follows, and the marshalled code.
Nothing depends on it: where it cannot be read or written, or PYTHONDONTWRITEBYTECODE is set, modules
are compiled at each start. This one always is, so it is small and imports next to nothing.
"""

from __future__ import annotations

import marshal
import os
import stat
import sys
import zlib
from types import CodeType
from zipimport import zipimporter

CRC = 4  # bytes

_WRITER = "hakuriver.system.bytecode_writing"  # cannot write itself


class Importer(zipimporter):
    """A zip as a place for imports, whose modules are compiled once. folder: "" if none can be kept."""

    folder = ""

    def get_filename(self, fullname: str) -> str:
        """zipimporter compiles the module to find out whether it is compiled already."""
        name = fullname.rpartition(".")[2] + ("/__init__" if self.is_package(fullname) else "")
        return f"{self.archive}/{self.prefix}{name}.py"

    def get_code(self, fullname: str) -> CodeType:
        path = f"{self.folder}/{fullname}"
        code = read(path) if self.folder else None
        if code is None:
            code = super().get_code(fullname)
            if self.folder and not sys.dont_write_bytecode and fullname != _WRITER:
                from hakuriver.system import bytecode_writing

                bytecode_writing.write(path, code)
        return code


def begin(archive: str, build: str) -> None:
    """From here on, what is imported from archive, whose build this is, is kept."""
    Importer.folder = _usable(build)
    if Importer.folder:
        import_from(archive)


def import_from(archive: str) -> None:
    """Whoever imports from there does it with an Importer."""

    def hook(path: str) -> Importer:
        if path.startswith(archive):
            return Importer(path)  # ZipImportError, an ImportError, if there is no zip
        raise ImportError

    sys.path_hooks.insert(0, hook)
    for path in [path for path in sys.path_importer_cache if path.startswith(archive)]:
        del sys.path_importer_cache[path]


def _usable(build: str) -> str:
    """The folder; "" if there can be none, or one into which somebody else could put code."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    python = f"{sys.implementation.cache_tag}-{sys.hexversion:x}-{sys.flags.optimize}"
    folder = f"{cache}/hakuriver/{build[:16]}-{python}"
    if not os.path.isabs(cache):
        return ""
    try:
        if not os.path.isdir(folder) and not sys.dont_write_bytecode:
            from hakuriver.system import bytecode_writing

            bytecode_writing.make(folder)
        found = os.lstat(folder)
    except OSError:
        return ""
    ours = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if ours and stat.S_ISDIR(found.st_mode) else ""


def read(path: str) -> CodeType | None:
    try:
        with open(path, "rb") as file:
            content = file.read()
        if zlib.crc32(content[CRC:]).to_bytes(CRC, "big") != content[:CRC]:
            return None
        code = marshal.loads(content[CRC:])
    except (OSError, EOFError, ValueError, TypeError):
        return None
    return code if isinstance(code, CodeType) else None
