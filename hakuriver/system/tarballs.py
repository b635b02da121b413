"""The folder of tarballs as every machine of the cluster sees it, and who is reading them.

Whoever reads a tarball holds a lease, a file in .loading that it touches now and then. Whoever
removes one hides it first (.withdrawn-…) and deletes it once no lease is left: either the reader
finds it gone before it has begun, or the one who deletes sees the lease.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from hakuriver.model.errors import Refused
from hakuriver.model.tarball import Version, image_of, manifest_from_json, parse_name
from hakuriver.system.archive import read_archive

LEASES = ".loading"
LEASE_SECONDS = 600.0
"""Not touched for so long, a lease belongs to somebody who is dead."""
WITHDRAWN = ".withdrawn-"
_MANIFEST_MAX = 1 << 20

Stamp = tuple[int, int, int]


class Tarballs:
    """Reads the folder; thread-safe. What was read once is read again only if the file changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Stamp, Version | str]] = {}

    def versions(self, environment: str | None = None) -> list[Version]:
        """All that can be used (of one environment), newest first. Raises OSError."""
        return [found for found in self._look(environment) if isinstance(found, Version)]

    def newest(self, environment: str) -> Version | None:
        """Raises Refused if there are tarballs and none can be used; OSError."""
        found = self._look(environment)
        for each in found:
            if isinstance(each, Version):
                return each
        if found:
            raise Refused(str(found[0]))
        return None

    def problems(self) -> list[str]:
        """What is wrong with the others, one line each. Raises OSError."""
        return [found for found in self._look(None) if isinstance(found, str)]

    def _look(self, environment: str | None) -> list[Version | str]:
        times: dict[tuple[str, int], set[str]] = {}
        for name in os.listdir(self.folder):
            parsed = parse_name(name)
            if parsed is not None and environment in (None, parsed[0]):
                times.setdefault(parsed[:2], set()).add(parsed[2])
        newest_first = sorted(times, key=lambda key: (key[0], -key[1]))
        found = [
            self._read(*key, bare="json" not in times[key])
            for key in newest_first
            if "tar" in times[key]
        ]
        return [each for each in found if each is not None]

    def _read(self, environment: str, time: int, *, bare: bool) -> Version | str | None:
        """A version, what is wrong with it, or None if it has just been removed."""
        tarball = self.folder / f"{environment}-{time}.tar"
        path = tarball if bare else tarball.with_suffix(".json")
        try:
            stamp = _stamp(path)
            if not path.is_file():
                # A pipe would hold up whoever opens it.
                return f"{path.name} is no file"
            with self._lock:
                known = self._known.get(path.name)
            if known is not None and known[0] == stamp:
                return known[1]
            found = _read_bare(tarball, environment, time) if bare else _read_manifest(path)
        except FileNotFoundError:
            return None
        with self._lock:
            self._known[path.name] = (stamp, found)
        return found

    @contextlib.contextmanager
    def lease(self, version: Version, holder: str) -> Iterator[Lease]:
        """Held while its tarball is read; whoever gets FileNotFoundError then looks again."""
        lease = Lease(self.folder / LEASES, f"{version.tarball}.{holder}")
        try:
            yield lease
        finally:
            lease.release()

    def leased(self, tarball: str) -> list[str]:
        """Who reads it right now."""
        folder = self.folder / LEASES
        holders = []
        # On NFS a listing may be remembered for a minute; a change that is our own makes it fresh.
        probe = folder / f".probe-{os.getpid()}"
        try:
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink(missing_ok=True)
            for path in folder.iterdir():
                name = path.name.removeprefix(f"{tarball}.")
                if name != path.name and now - path.stat().st_mtime < LEASE_SECONDS:
                    holders.append(name)
        except FileNotFoundError:
            return holders
        return sorted(holders)

    def drop_leases(self, node: str, *, but: Collection[str], older_than: float) -> None:
        """Those that a runner which was killed has left, so not of the tarballs that are read now."""
        with contextlib.suppress(OSError):
            for path in (self.folder / LEASES).iterdir():
                tarball = path.name.removesuffix(f".{node}")
                if not tarball.endswith(".tar") or tarball in but:
                    continue
                if time.time() - path.stat().st_mtime > older_than:
                    path.unlink(missing_ok=True)


class Lease:
    """renew() at least every LEASE_SECONDS. Raises OSError."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / name
        self._path.touch()

    def renew(self) -> None:
        self._path.touch()

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _stamp(path: Path) -> Stamp:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _read_manifest(path: Path) -> Version | str:
    parsed = parse_name(path.name)
    assert parsed is not None
    try:
        with open(path, "rb") as file:
            content = file.read(_MANIFEST_MAX)
        return manifest_from_json(json.loads(content), *parsed[:2])
    except Refused as error:
        return f"{path.name}: {error.detail}"
    except (ValueError, RecursionError):
        return f"{path.name} is damaged: it is not JSON"


def _read_bare(path: Path, environment: str, time: int) -> Version | str:
    try:
        archive = read_archive(path)
    except Refused as error:
        return error.detail
    if archive.tags != (image_of(environment),):
        names = ", ".join(archive.tags) or "without a name"
        return f"{path.name} holds the image {names[:200]}, not {image_of(environment)}"
    return Version(environment, time, archive.image_id, archive.size)
