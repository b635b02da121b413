"""SQLite: one writer with group commit, many readers.

What is written is on disk (synchronous=FULL) before write() returns. Writers that arrive while a
commit is under way share the next one, so a burst costs one fsync per group, not per request.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from hakuriver.host.rows import Tx
from hakuriver.host.schema import migrate
from hakuriver.model.errors import Unavailable, UsageError
from hakuriver.system.private import make_private

T = TypeVar("T")
log = logging.getLogger(__name__)

_READERS = 8
_OF_THE_DISK = (sqlite3.OperationalError, sqlite3.InternalError, sqlite3.DatabaseError)
"""Exactly these; a DatabaseError that is no other one says that the file is damaged."""


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Tx], T]) -> None:
        self.work = work
        self.done = False
        self.value: T | None = None
        self.error: BaseException | None = None

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


class Store:
    """The host's state. on_change is called with the ids of changed tasks after each commit."""

    def __init__(
        self, path: Path, on_change: Callable[[set[int]], None] = lambda ids: None
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._trouble = ""
        self._waiting: list[_Job[Any]] = []
        self._waiting_lock = threading.Lock()
        self._writing = threading.Lock()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with contextlib.ExitStack() as opened:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                make_private(path)
                self._writer = self._connect(lambda connection: migrate(connection, str(path)))
                opened.callback(self._writer.close)
                for _ in range(_READERS):
                    reader = self._connect()
                    opened.callback(reader.close)
                    self._readers.put(reader)
                row = self._writer.execute("SELECT MAX(revision) FROM tasks").fetchone()
            except (OSError, sqlite3.Error) as error:
                raise UsageError(
                    f"cannot open the database {path}: {error}",
                    "Check database.db_file in the config.",
                ) from None
            opened.pop_all()  # All is well: they stay open.
        self._revision = int(row[0] or 0)

    def _connect(
        self, prepare: Callable[[sqlite3.Connection], None] = lambda connection: None
    ) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            timeout=30,
            cached_statements=256,
        )
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run work in a transaction and return its result once it is on disk.

        An exception from work undoes what it did and is raised here; other writers of the same
        group are not touched. Raises Unavailable if the disk does not take it.
        """
        job = _Job(work)
        with self._waiting_lock:
            self._waiting.append(job)
        with self._writing:
            # Whoever gets here first commits for all that wait; the others find it done.
            if not job.done:
                self._commit_group()
        return job.result()

    def _commit_group(self) -> None:
        with self._waiting_lock:
            group, self._waiting = self._waiting, []
        changed: set[int] = set()
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for job in group:
                self._run(job, changed)
            self._writer.execute("COMMIT")
            self._tell("")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            self._tell(str(error))
            for job in group:
                job.error = Unavailable(
                    f"the host cannot write its database: {error}",
                    "Is its disk full? Nothing was changed.",
                )
            changed.clear()
        finally:
            for job in group:
                job.done = True
        if changed:
            self._on_change(changed)

    def _tell(self, trouble: str) -> None:
        """Once when it begins and once when it is over: on a full disk every message meets it."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.error("cannot write to %s: %s", self._path, trouble)
        else:
            log.info("%s can be written to again", self._path)

    def _run(self, job: _Job[Any], changed: set[int]) -> None:
        tx = Tx(self._writer, self._next_revision)
        self._writer.execute("SAVEPOINT job")
        try:
            job.value = job.work(tx)
        except BaseException as error:
            if type(error) in _OF_THE_DISK:
                raise  # Not the job's: nobody in this group can go on.
            # Handed to the caller of write(), who is another thread or this one.
            self._writer.execute("ROLLBACK TO job")
            job.error = error
        else:
            changed |= tx.changed
        self._writer.execute("RELEASE job")

    def _next_revision(self) -> int:
        self._revision += 1
        return self._revision

    @property
    def revision(self) -> int:
        """Number of the newest change to any task."""
        return self._revision

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent view of what has been committed. Raises Unavailable if it cannot be read."""
        connection = self._readers.get()
        try:
            connection.execute("BEGIN")
            yield Tx(connection, None)
        except sqlite3.DatabaseError as error:
            raise Unavailable(
                f"the host cannot read its database {self._path}: {error}",
                "It may be damaged. With the host stopped, put a backup in its place.",
            ) from None
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._readers.put(connection)

    def close(self) -> None:
        with self._writing:
            self._writer.close()
        while not self._readers.empty():
            self._readers.get().close()
