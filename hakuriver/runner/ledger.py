"""What a runner must remember whatever happens to it: one SQLite file in its state folder.

An order or a wish is on disk before the host is answered, a result before its container or
folder is removed. One transaction takes a whole message, so a burst costs one fsync.
An attempt stays as a tombstone after its end was acknowledged, until the host says that no order
that low can arrive any more; then the number below which all are refused stands in for it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hakuriver.model.errors import Conflict, Unavailable, UsageError
from hakuriver.model.messages import Attempt, Report, RunOrder, Seq, WishOrder
from hakuriver.model.task import Wish
from hakuriver.runner.record import file_clock
from hakuriver.system.private import make_private

_SCHEMA = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE attempts (
        task INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        n INTEGER NOT NULL,
        run_order TEXT,
        boot TEXT NOT NULL,
        record INTEGER NOT NULL DEFAULT 1,
        wish TEXT,
        wish_n INTEGER NOT NULL DEFAULT 0,
        wish_at REAL,
        report TEXT,
        acknowledged INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (task, attempt)
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt whose end has not been acknowledged.

    order is None for a tombstone of an order that never came. record numbers the record folders:
    a start that may have gone wrong half-way is never tried again in the same one. report is the
    final one, None while the attempt goes on.
    """

    key: Attempt
    order: RunOrder | None
    boot: str
    record: int = 1
    wish: Wish | None = None
    wish_n: int = 0
    wish_at: float | None = None
    report: Report | None = None


class Ledger:
    """Thread-safe. Opening it begins a new incarnation, with a number above all earlier ones."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = file_clock) -> None:
        self._path = folder / "ledger.db"
        self._lock = threading.Lock()
        self._clock = clock
        self._acknowledged: list[Attempt] = []
        try:
            make_private(self._path)
            self._sql = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"cannot open the ledger {self._path}: {error}") from None
        self.instance = self._meta("instance") or uuid.uuid4().hex
        # The clock keeps the number rising even if somebody empties the folder.
        self.incarnation = max(int(self._meta("incarnation") or 0) + 1, int(clock()))
        with self._transaction():
            self._set_meta("instance", self.instance)
            self._set_meta("incarnation", str(self.incarnation))
        self.orders_seen: Seq = self._meta_seq("orders_seen")
        self.closed_below: Seq = self._meta_seq("closed_below")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=30
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(_SCHEMA):
            raise UsageError(f"{self._path} was written by a newer HakuRiver")
        for number in range(version, len(_SCHEMA)):
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            )

    def bind(self, cluster: str) -> None:
        """Belong to this cluster from now on.

        Raises Conflict while attempts of another one are here: their results are owed to that one.
        """
        known = self._meta("cluster")
        if known == cluster:
            return
        if known is not None and self.entries():
            raise Conflict(
                f"this runner still holds tasks of cluster {known}, the host belongs to {cluster}",
                "Connect it to its own host, or give it another paths.runner_state_dir.",
            )
        with self._transaction():
            self._sql.execute("DELETE FROM attempts")
            self._set_meta("cluster", cluster)
            self._set_meta("orders_seen", "0 0")
            self._set_meta("closed_below", "0 0")
        self.orders_seen = self.closed_below = (0, 0)

    @property
    def cluster(self) -> str | None:
        return self._meta("cluster")

    def known(self, key: Attempt) -> bool:
        """Whether the attempt is here, going on, ended or as a tombstone."""
        with self._lock:
            row = self._sql.execute(
                "SELECT 1 FROM attempts WHERE task = ? AND attempt = ?", key
            ).fetchone()
        return row is not None

    def entries(self) -> list[Entry]:
        """All that is not acknowledged, in the order in which it came."""
        with self._lock:
            rows = self._sql.execute(
                "SELECT task, attempt, run_order, boot, record, wish, wish_n, wish_at, report"
                " FROM attempts WHERE NOT acknowledged ORDER BY epoch, n, task"
            ).fetchall()
        return [_entry(row) for row in rows]

    def take(
        self,
        orders: Iterable[RunOrder],
        wishes: Iterable[WishOrder],
        tombstones: Iterable[tuple[WishOrder, Report]],
        *,
        boot: str,
    ) -> None:
        """All of a message, on disk before this returns. Raises Unavailable if it cannot be."""
        orders = list(orders)
        seen = max([self.orders_seen, *(order.seq for order in orders)])
        with self._transaction():
            for order in orders:
                self._insert(order.key, order.seq, order, boot)
            for wish, report in tombstones:
                self._insert(wish.key, wish.seq, None, boot)
                self._set_report(report)
            for wish in wishes:
                self._set_wish(wish.key, wish.wish, wish.n)
            if seen != self.orders_seen:
                self._set_meta("orders_seen", f"{seen[0]} {seen[1]}")
        self.orders_seen = seen

    def wish(self, key: Attempt, wish: Wish, n: int) -> None:
        with self._transaction():
            self._set_wish(key, wish, n)

    def next_record(self, key: Attempt, boot: str) -> None:
        """Begin with a new record folder; what may still use the old one has lost."""
        with self._transaction():
            self._sql.execute(
                "UPDATE attempts SET record = record + 1, boot = ? WHERE task = ? AND attempt = ?",
                (boot, *key),
            )

    def finish(self, reports: Iterable[Report]) -> None:
        """Final reports, on disk before this returns."""
        with self._transaction():
            for report in reports:
                self._set_report(report)

    def acknowledge(self, keys: Iterable[Attempt]) -> None:
        """Written with the next transaction: at worst a report is sent, and acknowledged, twice."""
        with self._lock:
            self._acknowledged += keys

    def close_below(self, seq: Seq) -> None:
        """No order below seq can arrive any more: refuse them all, forget their tombstones."""
        if seq <= self.closed_below:
            return
        self.closed_below = seq
        with self._transaction():
            self._set_meta("closed_below", f"{seq[0]} {seq[1]}")
            self._sql.execute(
                "DELETE FROM attempts WHERE acknowledged AND (epoch, n) < (?, ?)", seq
            )

    def close(self) -> None:
        with self._transaction():
            pass  # Takes the acknowledgements along that wait for one.
        with self._lock:
            self._sql.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Raises Unavailable if it cannot be put on disk; then nothing has changed."""
        with self._lock:
            waiting, self._acknowledged = self._acknowledged, []
            try:
                self._sql.execute("BEGIN IMMEDIATE")
                self._sql.executemany(
                    "UPDATE attempts SET acknowledged = 1 WHERE task = ? AND attempt = ?", waiting
                )
                yield
                self._sql.execute("COMMIT")
            except BaseException as error:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                self._acknowledged = waiting + self._acknowledged
                if isinstance(error, sqlite3.Error):
                    raise Unavailable(
                        f"cannot write {self._path}: {error}", "Is the node's disk full?"
                    ) from None
                raise

    def _insert(self, key: Attempt, seq: Seq, order: RunOrder | None, boot: str) -> None:
        document = None if order is None else json.dumps(order.to_json())
        self._sql.execute(
            "INSERT INTO attempts (task, attempt, epoch, n, run_order, boot) VALUES (?,?,?,?,?,?)",
            (*key, *seq, document, boot),
        )

    def _set_wish(self, key: Attempt, wish: Wish, n: int) -> None:
        # Of several kills the first may have been obeyed already: it dates the signal.
        self._sql.execute(
            "UPDATE attempts SET wish_at = CASE WHEN wish = 'kill' THEN wish_at ELSE ? END,"
            " wish = ?, wish_n = ? WHERE task = ? AND attempt = ?",
            (self._clock(), wish.value, n, *key),
        )

    def _set_report(self, report: Report) -> None:
        self._sql.execute(
            "UPDATE attempts SET report = ? WHERE task = ? AND attempt = ?",
            (json.dumps(report.to_json()), *report.key),
        )

    def _meta(self, key: str) -> str | None:
        with self._lock:
            row = self._sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _set_meta(self, key: str, value: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _meta_seq(self, key: str) -> Seq:
        epoch, n = (self._meta(key) or "0 0").split()
        return int(epoch), int(n)


def _entry(row: tuple[object, ...]) -> Entry:
    task, attempt, order, boot, record, wish, wish_n, wish_at, report = row
    return Entry(
        key=(int(str(task)), int(str(attempt))),
        order=None if order is None else RunOrder.from_json(json.loads(str(order))),
        boot=str(boot),
        record=int(str(record)),
        wish=None if wish is None else Wish(str(wish)),
        wish_n=int(str(wish_n)),
        wish_at=None if wish_at is None else float(str(wish_at)),
        report=None if report is None else Report.from_json(json.loads(str(report))),
    )
