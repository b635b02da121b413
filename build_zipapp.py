"""`python3 build_zipapp.py [--output dist/hakuriver.pyz]`: HakuRiver as one executable file.

The same sources give the same bytes (on one version of zlib), and the same BUILD on any: entries are
sorted, dates and modes are fixed. The standard library's zipapp does neither, and its `__main__` loses
the exit code. The packages of vendor.lock go in as well; pip fetches them once, into .build/wheels.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGE = "hakuriver"
LOCK = "vendor.lock"
WHEELS = Path(".build", "wheels")
PLATFORMS = ("manylinux2014_x86_64", "manylinux2014_aarch64")
EXTENSION = "psutil/_psutil_linux.abi3.so"
OTHER_SYSTEMS = ("aix", "bsd", "osx", "sunos", "windows")
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

from zipimport import zipimporter

from hakuriver.system import bytecode

BUILD = "@"

if isinstance(__loader__, zipimporter):
    bytecode.begin(__loader__.archive, BUILD)

from hakuriver.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""

# The SDK reaches the engine through a socket. certifi's own list would be unpacked into the temporary
# folder at each start, since OpenSSL cannot read it from a zip; the system's is a file already.
CERTIFI = '''"""Stands in for the package of this name: the certificates that the system trusts."""

import ssl


def where():
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or paths.openssl_cafile
'''


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build HakuRiver as one executable file.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "hakuriver.pyz")
    output = parser.parse_args(argv).output
    try:
        build(ROOT, output)
    except CannotBuild as error:
        sys.stderr.write(f"build_zipapp: error: {error}\n")
        return 1
    print(f"{output}: {output.stat().st_size} bytes")
    return 0


class CannotBuild(Exception):
    """The text says why, and what to do."""


def build(root: Path, output: Path) -> None:
    """Write root's package, LICENSE and the locked packages to output: complete, or untouched.

    Raises CannotBuild.
    """
    wheels = fetch(root)
    entries = dict([*_entries(root), *_vendored(wheels)])
    entries["__main__.py"] = MAIN.replace("@", _digest(entries), 1).encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=output.parent, prefix=f".{output.name}.", delete=False
    ) as file:
        try:
            file.write(SHEBANG)
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in sorted(entries.items()):
                    archive.writestr(_info(name), content, zipfile.ZIP_DEFLATED, compresslevel=9)
            file.flush()
            os.fchmod(file.fileno(), 0o755)
            os.fsync(file.fileno())
            os.rename(file.name, output)
        except BaseException:
            os.unlink(file.name)
            raise


def _entries(root: Path) -> Iterator[tuple[str, bytes]]:
    """(name in the archive, content) of everything of ours that belongs into it."""
    yield "LICENSE", (root / "LICENSE").read_bytes()
    for path in (root / PACKAGE).rglob("*"):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield name.as_posix(), path.read_bytes()


def _digest(entries: dict[str, bytes]) -> str:
    """SHA-256 over all names and contents: what the file is, however it was compressed."""
    whole = hashlib.sha256(MAIN.encode())
    for name, content in sorted(entries.items()):
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()


def fetch(root: Path) -> list[Path]:
    """The wheels of the lock, each with the SHA-256 that it names; fetched if need be."""
    locked = _locked(root / LOCK)
    folder = root / WHEELS
    if missing := set(locked) - set(_by_hash(folder)):
        _download(root, folder)
        missing = set(locked) - set(_by_hash(folder))
        if missing:
            names = ", ".join(sorted(locked[digest] for digest in missing))
            raise CannotBuild(f"these packages of {LOCK} could not be fetched: {names}")
    found = _by_hash(folder)
    return [found[digest] for digest in locked]


def _locked(path: Path) -> dict[str, str]:
    """Requirement by SHA-256."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        word.rpartition(":")[2]: words[0]
        for words in lines
        if words and not words[0].startswith("#")
        for word in words[1:]
    }


def _by_hash(folder: Path) -> dict[str, Path]:
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder.glob("*.whl")}


def _download(root: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"Fetching the packages of {LOCK} into {folder} ...\n")
    for platform in PLATFORMS:
        # The stable ABI, or none at all, and the oldest Python: wheels for every Python, whatever runs this.
        argv = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--require-hashes", "--only-binary=:all:", f"--platform={platform}",
            "--implementation=cp", "--abi=abi3", "--python-version=3.10",
            f"--dest={folder}", f"--requirement={root / LOCK}",
        ]  # fmt: skip
        if subprocess.run(argv, check=False, stdout=sys.stderr).returncode:
            raise CannotBuild(
                f"pip could not fetch the packages of {LOCK}. It needs a package registry that pip is"
                f" set up for, once; or copy the folder {WHEELS} from a machine that has built before."
            )


def _vendored(wheels: list[Path]) -> Iterator[tuple[str, bytes]]:
    """What is in the wheels: the modules, each one's licences as licenses/PACKAGE/NAME, and the list of
    packages. Several wheels of one package differ in their extension only."""
    packages: dict[str, dict[str, object]] = {}
    for wheel in wheels:
        package = wheel.name.partition("-")[0]
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                place, _, last = name.rpartition("/")
                if ".dist-info" not in place:
                    if _is_needed(name):
                        yield _named_for_its_machine(name, wheel), archive.read(name)
                elif _is_licence(last):
                    yield f"licenses/{package}/{last}", archive.read(name)
                elif last == "METADATA":
                    packages[package] = _facts(archive.read(name))
            texts = [name.rpartition("/")[2] for name in archive.namelist() if ".dist-info" in name]
            packages[package]["texts"] = [
                f"licenses/{package}/{text}" for text in sorted(filter(_is_licence, texts))
            ]
    if packages:
        yield "certifi.py", CERTIFI.encode()
        yield "licenses/packages.json", json.dumps(packages, indent=1, sort_keys=True).encode()


def _is_needed(name: str) -> bool:
    elsewhere = {f"psutil/_ps{system}.py" for system in OTHER_SYSTEMS}
    return not name.endswith(("/", "/py.typed", ".pyi")) and name not in elsewhere


def _named_for_its_machine(name: str, wheel: Path) -> str:
    if name != EXTENSION:
        return name
    machine = "aarch64" if "aarch64" in wheel.name else "x86_64"
    return name.replace(".abi3.so", f".{machine}.so")


def _facts(metadata: bytes) -> dict[str, object]:
    headers = email.message_from_bytes(metadata)
    licence = headers.get("License-Expression") or headers.get("License") or "see its text"
    return {"version": headers["Version"], "licence": licence}


def _is_licence(name: str) -> bool:
    return name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE"))


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, LONG_AGO)
    info.create_system = 3  # Unix, wherever this runs
    info.external_attr = FILE_MODE
    return info


if __name__ == "__main__":
    sys.exit(main())
