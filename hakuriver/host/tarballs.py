"""Publishing tarballs in the shared directory, and taking them away again.

A tarball gets its name when it is whole and on disk, its manifest after that. One that is taken away
is hidden at once and deleted when no node reads it any more.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hakuriver.model.errors import Conflict, NotFound, Unavailable
from hakuriver.model.tarball import Version, manifest_to_json, superseded
from hakuriver.system.tarballs import LEASES, WITHDRAWN, Tarballs

log = logging.getLogger(__name__)

_PART = ".part-"


class Publisher:
    """For one thread at a time per environment; keep is how many versions of each stay."""

    def __init__(self, folder: Path, *, keep: int, clock: Callable[[], float] = time.time) -> None:
        self.tarballs = Tarballs(folder)
        self._folder = folder
        self._keep = keep
        self._clock = clock

    def prepare(self) -> None:
        """At the host's start: make the folder, and remove what an earlier life left half-made.

        Raises OSError.
        """
        self._folder.mkdir(exist_ok=True)
        leases = self._folder / LEASES
        leases.mkdir(exist_ok=True)
        # Runners of other users make their leases there.
        leases.chmod(0o1777)
        for path in self._folder.glob(f"{_PART}*"):
            path.unlink(missing_ok=True)
        self.delete_withdrawn()

    def next_time(self, environment: str) -> int:
        """The UNIXTIME of the next version: above all others, whatever the clock says."""
        newest = max((v.time for v in self.tarballs.versions(environment)), default=0)
        return max(int(self._clock()), newest + 1)

    @contextmanager
    def unfinished(self, environment: str) -> Iterator[IO[bytes]]:
        """A file to write a tarball to; gone again unless it was published."""
        path = self._folder / f"{_PART}{environment}.tar"
        with open(path, "wb") as file:
            try:
                yield file
            finally:
                path.unlink(missing_ok=True)

    def publish(self, file: IO[bytes], version: Version) -> None:
        """Give the finished file its name, then its manifest. Raises OSError, and there is neither."""
        file.flush()
        os.fsync(file.fileno())
        target = self._folder / version.tarball
        os.rename(file.name, target)
        try:
            text = json.dumps(manifest_to_json(version), indent=1) + "\n"
            part = self._folder / f"{_PART}{version.manifest}"
            with open(part, "w", encoding="utf-8") as manifest:
                manifest.write(text)
                manifest.flush()
                os.fsync(manifest.fileno())
            os.rename(part, self._folder / version.manifest)
            _sync_folder(self._folder)
        except OSError:
            target.unlink(missing_ok=True)
            raise
        log.info("published %s, image %s", version.tarball, version.image_id)

    def withdraw_superseded(self) -> list[Version]:
        """All but the newest of each environment; what was withdrawn."""
        gone = superseded(self.tarballs.versions(), self._keep)
        for version in gone:
            self._withdraw(version)
        self.delete_withdrawn()
        return gone

    def delete(self, environment: str, which: int | None) -> list[Version]:
        """One version, or all. Raises NotFound; Conflict if a node is loading one of them."""
        found = [v for v in self.tarballs.versions(environment) if which in (None, v.time)]
        if not found:
            what = f"environment '{environment}' has no tarball"
            raise NotFound(what if which is None else f"{what} of {which}", "See: docker list-tars")
        for version in found:
            readers = self.tarballs.leased(version.tarball)
            if readers:
                raise Conflict(
                    f"{version.tarball} is being loaded by {', '.join(readers)}",
                    "Ask again when that is over.",
                )
        for version in found:
            self._withdraw(version)
        self.delete_withdrawn()
        return found

    def _withdraw(self, version: Version) -> None:
        (self._folder / version.manifest).unlink(missing_ok=True)
        try:
            os.rename(
                self._folder / version.tarball, self._folder / f"{WITHDRAWN}{version.tarball}"
            )
        except FileNotFoundError:
            return
        log.info("withdrew %s", version.tarball)

    def delete_withdrawn(self) -> None:
        """Delete what was withdrawn and is not being read any more. Raises OSError."""
        for path in self._folder.glob(f"{WITHDRAWN}*"):
            tarball = path.name.removeprefix(WITHDRAWN)
            if not self.tarballs.leased(tarball):
                path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def full(folder: Path, error: OSError) -> Unavailable:
    """What to tell when the folder cannot be written."""
    return Unavailable(
        f"cannot write to {folder}: {error.strerror}",
        "Make room there: docker list-tars, docker delete-tar ENV VERSION.",
    )
