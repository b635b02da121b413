"""`python3 build_zipapp.py [--output dist/hakuriver.pyz]`: HakuRiver as one executable file.

The same sources give the same bytes (on one version of zlib), and the same BUILD on any: entries are
sorted, dates and modes are fixed. The standard library's zipapp does neither, and its `__main__` loses
the exit code. The packages of vendor.lock and dashboard.lock go in as well; pip and npm fetch them once,
into .build.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGE = "hakuriver"
LOCK = "vendor.lock"
WHEELS = Path(".build", "wheels")
DASHBOARD_LOCK = "dashboard.lock"
NPM_PACKAGES = Path(".build", "npm")
VENDOR = f"{PACKAGE}/host/dashboard/vendor"
PLATFORMS = ("manylinux2014_x86_64", "manylinux2014_aarch64")
EXTENSION = "psutil/_psutil_linux.abi3.so"
OTHER_SYSTEMS = ("aix", "bsd", "osx", "sunos", "windows")
SHEBANG = b"#!/usr/bin/env python3\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
FILE_MODE = 0o100644 << 16  # a regular file, rw-r--r--, where Unix keeps it

Packages = dict[str, dict[str, object]]
"""What `licenses` lists: version, licence and texts of each package, by name."""

# Read by whatever `python3` is on the machine, so it has to be valid for Python 2 and old 3.x too.
MAIN = """\
import sys

if sys.version_info < (3, 10):
    sys.stderr.write(
        "hakuriver: error: Python 3.10 or newer is needed, %s is Python %d.%d\\n"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(2)

BUILD = "@"

try:
    from zipimport import zipimporter

    from hakuriver.system import bytecode

    if isinstance(__loader__, zipimporter):
        bytecode.begin(__loader__.archive, BUILD)

    from hakuriver.__main__ import main
except KeyboardInterrupt:
    sys.exit(130)

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
    parser.add_argument(
        "--without-dashboard", action="store_true", help="without the web page, which needs npm"
    )
    given = parser.parse_args(argv)
    output = given.output
    try:
        build(ROOT, output, dashboard=not given.without_dashboard)
    except CannotBuild as error:
        sys.stderr.write(f"build_zipapp: error: {error}\n")
        return 1
    print(f"{output}: {output.stat().st_size} bytes")
    return 0


class CannotBuild(Exception):
    """The text says why, and what to do."""


def build(root: Path, output: Path, *, dashboard: bool = True) -> None:
    """Write root's package, LICENSE and the locked packages to output: complete, or untouched.

    Raises CannotBuild.
    """
    wheels = fetch(root)
    from_npm = fetch_from_npm(root) if dashboard else []
    packages: Packages = {}
    entries = dict([*_entries(root), *_vendored(wheels, packages), *_from_npm(from_npm, packages)])
    if packages:
        listed = json.dumps(packages, indent=1, sort_keys=True)
        entries["licenses/packages.json"] = listed.encode()
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
    return {word.rpartition(":")[2]: words[0] for words in _lines(path) for word in words[1:]}


def _lines(path: Path) -> list[list[str]]:
    """The words of each line of a lock that is no comment."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [words for words in lines if words and not words[0].startswith("#")]


def _by_hash(folder: Path) -> dict[str, Path]:
    files = [*folder.glob("*.whl"), *folder.glob("*.tgz")]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}


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


@dataclass(frozen=True)
class NpmPackage:
    """A line of the lock. wanted: the name in our file of each file in the package's."""

    requirement: str
    file: Path
    wanted: dict[str, str]

    @property
    def name(self) -> str:
        """As `licenses` lists it: no slashes."""
        return self.requirement.rpartition("@")[0].lstrip("@").replace("/", "_").replace("-", "_")


def fetch_from_npm(root: Path, lock: str = DASHBOARD_LOCK) -> list[NpmPackage]:
    """The packages of a lock, each with the SHA-256 that it names; fetched if need be."""
    lines = _lines(root / lock)
    folder = root / NPM_PACKAGES
    digests = [words[1].removeprefix("sha256:") for words in lines]
    if set(digests) - set(_by_hash(folder)):
        _npm_pack(root, lock, [words[0] for words in lines])
    found = _by_hash(folder)
    lacking = [words[0] for words, d in zip(lines, digests, strict=True) if d not in found]
    if lacking:
        raise CannotBuild(f"npm fetched other files than {lock} names: {', '.join(lacking)}")
    return [
        NpmPackage(words[0], found[digest], dict(_pair(word) for word in words[2:]))
        for words, digest in zip(lines, digests, strict=True)
    ]


def _pair(word: str) -> tuple[str, str]:
    inside, _, name = word.partition("=")
    return f"package/{inside}", name


def _npm_pack(root: Path, lock: str, requirements: list[str]) -> None:
    folder = root / NPM_PACKAGES
    folder.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"Fetching the packages of {lock} into {folder} ...\n")
    argv = ["npm", "pack", "--silent", f"--pack-destination={folder}", *requirements]
    try:
        done = subprocess.run(argv, check=False, stdout=sys.stderr, cwd=folder).returncode
    except OSError:
        done = 127
    if done:
        raise CannotBuild(
            f"npm could not fetch the packages of {lock}. It needs a package registry that"
            f" npm is set up for, once; or copy the folder {NPM_PACKAGES} from a machine that has built"
            " before; or build without the web page: --without-dashboard."
        )


def _from_npm(locked: list[NpmPackage], packages: Packages) -> Iterator[tuple[str, bytes]]:
    """What the dashboard imports, and the licences; packages gets the list's entries."""
    for package in locked:
        with tarfile.open(package.file) as archive:
            for inside, name in package.wanted.items():
                yield f"{VENDOR}/{name}", _member(archive, inside)
            facts = json.loads(_member(archive, "package/package.json"))
            place = f"licenses/{package.name}/LICENSE"
            yield place, _member(archive, "package/LICENSE")
        packages[package.name] = {
            "version": facts["version"],
            "licence": facts["license"],
            "texts": [place],
        }


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()


def _vendored(wheels: list[Path], packages: Packages) -> Iterator[tuple[str, bytes]]:
    """What is in the wheels: the modules, and each one's licences as licenses/PACKAGE/NAME; packages
    gets the list's entries. Several wheels of one package differ in their extension only."""
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
    if wheels:
        yield "certifi.py", CERTIFI.encode()


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
