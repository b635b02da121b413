"""`python3 build_zipapp.py [--output dist/hakuriver.pyz]`: HakuRiver as one executable file.

The same sources give the same bytes (on one version of zlib): entries are sorted, dates and
modes are fixed. The standard library's zipapp does neither, and its `__main__` loses the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGE = "hakuriver"
SHEBANG = b"#!/usr/bin/env python3\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
FILE_MODE = 0o100644 << 16  # a regular file, rw-r--r--, where Unix keeps it

# Read by whatever `python3` is on the machine, so it has to be valid for Python 2 and old 3.x too.
MAIN = """\
import sys

if sys.version_info < (3, 10):
    sys.stderr.write(
        "hakuriver: error: Python 3.10 or newer is needed, %s is Python %d.%d\\n"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(2)

from hakuriver.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build HakuRiver as one executable file.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "hakuriver.pyz")
    output = parser.parse_args(argv).output
    build(ROOT, output)
    print(f"{output}: {output.stat().st_size} bytes")
    return 0


def build(root: Path, output: Path) -> None:
    """Write root's package and LICENSE to output, which is complete or untouched."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=output.parent, prefix=f".{output.name}.", delete=False
    ) as file:
        try:
            file.write(SHEBANG)
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in sorted(_entries(root)):
                    archive.writestr(_info(name), content, zipfile.ZIP_DEFLATED, compresslevel=9)
            file.flush()
            os.fchmod(file.fileno(), 0o755)
            os.fsync(file.fileno())
            os.rename(file.name, output)
        except BaseException:
            os.unlink(file.name)
            raise


def _entries(root: Path) -> Iterator[tuple[str, bytes]]:
    """(name in the archive, content) of everything that belongs into it."""
    yield "__main__.py", MAIN.encode()
    yield "LICENSE", (root / "LICENSE").read_bytes()
    for path in (root / PACKAGE).rglob("*"):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield name.as_posix(), path.read_bytes()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, LONG_AGO)
    info.create_system = 3  # Unix, wherever this runs
    info.external_attr = FILE_MODE
    return info


if __name__ == "__main__":
    sys.exit(main())
