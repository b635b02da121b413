"""The cluster's identity in its shared directory: <shared_dir>/.hakuriver.json.

It outlives the database: a new or restored one never gives out an id or an epoch again, so no
log file is ever reused and no order is taken for an older one.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hakuriver.model.errors import Unavailable, UsageError

FILE_NAME = ".hakuriver.json"
BLOCK = 100
"""As many ids at most are skipped when the host is killed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """next_id is above every id that may have been given out."""

    cluster: str
    epoch: int
    next_id: int


def read_identity(shared_dir: Path) -> Identity | None:
    """None if there is none. Raises UsageError if it cannot be read."""
    path = shared_dir / FILE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Identity(str(document["cluster"]), int(document["epoch"]), int(document["next_id"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise UsageError(
            f"cannot read {path}: {why}", "It holds the cluster's identity; restore it."
        ) from None


def write_identity(shared_dir: Path, identity: Identity) -> None:
    """On disk, whole, before this returns. Raises Unavailable."""
    path = shared_dir / FILE_NAME
    temporary = path.with_name(f"{FILE_NAME}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(asdict(identity), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(shared_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(
            f"cannot write {path}: {error.strerror}",
            "Is the shared directory mounted and writable?",
        ) from None


class NoneLeft(Exception):
    """So many ids are not covered by the file: reserve() them, outside the transaction."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} ids are not reserved")
        self.count = count


class Ids:
    """Gives out task ids; the file is advanced a block at a time.

    Never within a transaction: a dead file server may hold whoever touches the file for ever, and all
    others would wait for the transaction.
    """

    def __init__(self, shared_dir: Path, identity: Identity, next_id: int) -> None:
        self._shared_dir = shared_dir
        self.identity = identity
        self._next = next_id
        self._moving = threading.Lock()

    def take(self, count: int = 1) -> range:
        """The next ids. Raises NoneLeft.

        Called by one thread at a time: within the writing transaction.
        """
        if self._next + count > self.identity.next_id:
            raise NoneLeft(count)
        self._next += count
        return range(self._next - count, self._next)

    def reserve(self, count: int) -> None:
        """Cover so many by the file; others may take them first. Raises Unavailable if it cannot be
        written."""
        with self._moving:
            if self._next + count > self.identity.next_id:
                self._move(self._next + max(count, BLOCK))

    def close(self) -> None:
        """Give back what is left of the block. Without it, after a kill -9, those ids are skipped.

        Raises Unavailable.
        """
        with self._moving:
            if self._next < self.identity.next_id:
                self._move(self._next)

    def _move(self, next_id: int) -> None:
        """Only in the file that is there: below a mount that went away lies an empty folder, which a
        runner here would take for the right one, were there a file in it."""
        try:
            found = read_identity(self._shared_dir)
        except UsageError as error:
            raise Unavailable(error.detail, error.hint) from None
        if found is None or found.cluster != self.identity.cluster:
            what = "is not mounted" if found is None else "belongs to another cluster"
            raise Unavailable(
                f"the shared directory {self._shared_dir} {what}",
                f"If {FILE_NAME} in it was deleted: restart the host, which makes it again.",
            )
        moved = replace(self.identity, next_id=next_id)
        write_identity(self._shared_dir, moved)
        self.identity = moved


def open_identity(
    shared_dir: Path, *, last_cluster: str | None, last_epoch: int, last_id: int
) -> Ids:
    """Start a new epoch. The arguments are what the database remembers of the last one.

    Raises UsageError if the directory belongs to another cluster than the database.
    """
    found = read_identity(shared_dir)
    if found is None:
        identity = Identity(last_cluster or secrets.token_hex(8), last_epoch + 1, last_id + 1)
        next_id = last_id + 1
    elif last_cluster not in (None, found.cluster):
        raise UsageError(
            f"{shared_dir} belongs to another cluster than the database does",
            "Point paths.shared_dir or database.db_file at the right place.",
        )
    else:
        # Never from the database alone: it may be a copy from an hour ago, of this very epoch.
        next_id = max(found.next_id, last_id + 1)
        identity = Identity(found.cluster, max(found.epoch, last_epoch) + 1, next_id)
    write_identity(shared_dir, identity)
    return Ids(shared_dir, identity, next_id)
