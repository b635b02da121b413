"""The database: old ones open, newer ones are refused, and every query has an index."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakuriver.host import schema
from hakuriver.host.listing import SORTS, Filter, Page
from hakuriver.host.placement import place
from hakuriver.host.registry import Registry
from hakuriver.host.rows import Tx
from hakuriver.host.schema import MIGRATIONS, migrate
from hakuriver.host.store import Store
from hakuriver.model.errors import HakuRiverError, UsageError
from hakuriver.model.node import Capacity, NodeInfo
from hakuriver.model.task import FINAL, ON_NODE, Status, Task, TaskSpec, Wish

OLD = Path(__file__).resolve().parent.parent / "data" / "cluster-v1.db"


def connect(path: Path | str = ":memory:") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def shape(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name"
    )
    return [(row[0], row[1]) for row in rows]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of what HakuRiver wrote with schema version 1, see tests/data/make_old_database.py."""
    return Path(shutil.copy(OLD, tmp_path / "cluster.db"))


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = connect()
    yield connection
    connection.close()


# Migrations


def test_an_empty_file_becomes_a_database_of_this_version(connection: sqlite3.Connection) -> None:
    migrate(connection, "cluster.db")
    assert version(connection) == len(MIGRATIONS)
    before = shape(connection)
    migrate(connection, "cluster.db")
    assert shape(connection) == before


def test_an_old_database_comes_to_the_same_shape_as_a_new_one(
    old: Path, connection: sqlite3.Connection
) -> None:
    migrated = connect(old)
    assert version(migrated) == 1
    migrate(migrated, str(old))
    migrate(connection, "new")
    assert shape(migrated) == shape(connection)
    assert migrated.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert migrated.execute("PRAGMA foreign_key_check").fetchall() == []
    migrated.close()


def test_a_released_migration_is_never_changed(old: Path, connection: sqlite3.Connection) -> None:
    connection.executescript(MIGRATIONS[0])
    released = connect(old)
    assert shape(connection) == shape(released)
    released.close()


def test_a_newer_database_is_refused_and_left_alone(old: Path) -> None:
    connection = connect(old)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = old.read_bytes()
    with pytest.raises(UsageError, match="newer HakuRiver") as refused:
        Store(old)
    assert refused.value.hint
    assert old.read_bytes()[100:] == before[100:]


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        schema,
        "MIGRATIONS",
        (*MIGRATIONS, "CREATE TABLE half (a); INSERT INTO nowhere VALUES (1);"),
    )
    connection = connect(old)
    with pytest.raises(HakuRiverError, match="cannot bring"):
        migrate(connection, str(old))
    connection.close()
    connection = connect(old)
    assert version(connection) == len(MIGRATIONS)
    assert "half" not in dict(shape(connection))
    connection.close()


# The old database in use


def test_every_task_of_an_old_database_is_listed(old: Path) -> None:
    store = Store(old)
    with store.read() as tx:
        tasks = tx.tasks(Filter())
        assert [task.id for task in tasks] == list(range(2 * len(Status), 0, -1))
        assert {task.status for task in tasks} == set(Status)
        for task in tasks:
            assert task.spec.argv == ("echo", "\udcff", "a b")
            assert task.spec.env == (("A", "é\udc80"),)
            assert (task.completed_at is not None) == (task.status in FINAL)
            assert (task.node == "node1") == (task.status is not Status.PENDING)
        assert tx.task(9) is not None
        assert [seq for _, seq in tx.wishes("node1")] != []
        assert all(task.wish is Wish.KILL for task, _ in tx.wishes("node1"))
        assert len(tx.open_orders("node1")) == 2
        assert tx.submission("key") == ("hash", '{"task_ids": ["1"]}')
        assert (tx.meta("cluster"), tx.meta("epoch")) == ("0123456789abcdef", "3")
    store.close()


def test_the_tasks_of_an_old_database_can_be_placed(old: Path) -> None:
    store = Store(old)
    with store.read() as tx:
        nodes = tx.nodes()
        assert {(info.name, reason) for info, reason in nodes} == {
            ("node1", None), ("node2", "moving house"),
        }  # fmt: skip
        registry = Registry(nodes)
        for info, _ in nodes:
            registry.register(info, now=0.0)
        reserved = tx.reserved()
        assert reserved["node1"].tasks == 2 * len(ON_NODE)
        assert reserved["node1"].numa_cores == {0: 2000}
        # node2 is drained, so both go to node1, the one that was targeted and the one that was not.
        waiting = list(tx.waiting(["node1"]))
        placements = place(waiting, registry.places(reserved))
        assert {(each.task, each.node) for each in placements} == {(1, "node1"), (2, "node1")}
    for each in placements:
        store.write(lambda tx, each=each: tx.assign(each.task, each.node, (4, tx.next_order(each.node)), 1.0))  # fmt: skip
    with store.read() as tx:
        assert [order.order.task for order in tx.open_orders("node1")][-2:] == [1, 2]
    store.close()


def test_an_old_database_takes_new_tasks(old: Path) -> None:
    store = Store(old)
    with store.read() as tx:
        assert tx.last_task_id() == 2 * len(Status)
    store.write(lambda tx: tx.add_tasks([Task(500, 500, TaskSpec(("x",)), Status.PENDING, 1.0)]))
    with store.read() as tx:
        assert tx.last_task_id() == 500
    store.close()


# Queries


class Recorder:
    """A connection that remembers what it was asked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def execute(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        values = tuple(values)
        self.asked.append((sql, values))
        return self.connection.execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Iterable[Any]]) -> sqlite3.Cursor:
        listed = [tuple(row) for row in rows]
        self.asked += [(sql, row) for row in listed[:1]]
        return self.connection.executemany(sql, listed)


def scans(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> set[str]:
    """Tables that are read from end to end."""
    steps = plan(connection, sql, values)
    return {step.split()[1] for step in steps if step.startswith("SCAN ")}


def plan(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> list[str]:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
    # SQLite before 3.36 writes SCAN TABLE tasks.
    return [row[3].replace(" TABLE ", " ") for row in rows]


def everything(tx: Tx) -> None:
    """Every query there is, but for the listing of tasks and what counts them all."""
    info = NodeInfo("n1", "u", "i", 1, "b", "1", 1, Capacity(8, 1 << 40, 9), "process")
    tx.save_node(info, 1.0)
    tx.save_node(info, 2.0)
    tx.drain("n1", "x")
    tx.nodes()
    for number in (1, 2, 3):
        tx.add_tasks([Task(number, number, TaskSpec(("true",)), Status.PENDING, 1.0)])
    list(tx.waiting(["n1", "n2"]))
    list(tx.waiting([]))
    for number in (1, 2):
        tx.assign(number, "n1", (1, tx.next_order("n1")), 1.0)
    task = tx.task(1)
    assert task is not None
    tx.update_task(task)
    tx.reserved()
    tx.open_orders("n1")
    tx.count_try("n1", [(1, 1)])
    tx.count_refusal("n1", [(1, 1)])
    tx.wishes("n1")
    tx.live("n1")
    tx.orders_closed_below("n1", 1)
    tx.close_order(1)
    tx.close_order(2)
    tx.orders_closed_below("n1", 1)
    tx.save_submission("k", "h", "{}", 1.0)
    tx.submission("k")
    tx.forget_submissions(2.0)
    tx.set_meta("a", "b")
    tx.meta("a")
    tx.last_task_id()
    tx.batch(1)
    tx.first_of_batch(1, Status.FAILED)
    tx.first_waiting(3)
    tx.last_failures(3)
    for with_logs in (False, True):
        tx.ended(9e9, with_logs=with_logs, after=(0.0, 0), limit=10)
    tx.mark_logs_pruned([task])
    tx.forget_tasks([task])
    tx.wanting("n1")
    tx.remove_node("n1", 3.0)


def test_no_query_reads_a_whole_table_of_tasks_or_orders(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")
    recorder = Recorder(connection)
    everything(Tx(recorder, iter(range(1, 100)).__next__))  # type: ignore[arg-type]
    public = [name for name in vars(Tx) if not name.startswith("_")]
    called = everything.__code__.co_names
    assert set(public) - {"tasks", "changed", *COUNTING} <= set(called), (
        "a query that is not looked at here"
    )
    for sql, values in recorder.asked:
        found = scans(connection, sql, values)
        # All live tasks are wanted there, or the last that failed, and the partial index holds no others.
        if "INDEXED BY tasks_live" in sql or "INDEXED BY tasks_failed" in sql:
            found -= {"tasks"}
        assert not found & {"tasks", "orders", "submissions", "o", "t"}, sql


COUNTING = {"tasks_page", "batches_page", "by_status", "in_environments"}


def test_what_counts_all_tasks_reads_an_index_and_not_the_table(
    connection: sqlite3.Connection,
) -> None:
    migrate(connection, "x")
    recorder = Recorder(connection)
    tx = Tx(recorder, None)  # type: ignore[arg-type]
    tx.by_status()
    tx.in_environments()
    for sort in SORTS:
        for falling in (False, True):
            tx.tasks_page(Filter(), Page(1, 50), sort=sort, falling=falling)
    tx.batches_page(Filter(), Page(1, 50))
    for sql, values in recorder.asked:
        for step in plan(connection, sql, values):
            assert not step.startswith("SCAN tasks") or "INDEX" in step, sql


ONE, MORE = (Status.RUNNING,), (Status.COMPLETED, Status.FAILED)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(node="n"), Filter(batch=1), Filter(user="u"), Filter(after=5), Filter(ids=(1, 2)),
        Filter(statuses=ONE), Filter(statuses=MORE), Filter(statuses=MORE, after=5), Filter(node="n", statuses=ONE),
        Filter(node="n", after=5), Filter(user="u", statuses=MORE, after=5), Filter(batch=1, user="u", node="n", statuses=ONE),
        Filter(text="x", node="n"), Filter(text="x", batch=3), Filter(ids=(1,), statuses=ONE),
    ],
)  # fmt: skip
def test_every_filter_has_an_index(connection: sqlite3.Connection, wanted: Filter) -> None:
    migrate(connection, "x")
    recorder = Recorder(connection)
    Tx(recorder, None).tasks(wanted)  # type: ignore[arg-type]
    (asked,) = recorder.asked
    # The words of one command line are no table.
    assert scans(connection, *asked) <= {"json_each"}


@pytest.mark.parametrize("wanted", [Filter(), Filter(text="x")])
def test_the_newest_tasks_are_found_in_the_order_of_the_table(
    connection: sqlite3.Connection, wanted: Filter
) -> None:
    migrate(connection, "x")
    recorder = Recorder(connection)
    Tx(recorder, None).tasks(wanted)  # type: ignore[arg-type]
    (asked,) = recorder.asked
    steps = plan(connection, *asked)
    of_tables = [step for step in steps if "json_each" not in step and "SUBQUERY" not in step]
    assert of_tables == ["SCAN tasks"], "backwards by primary key, until the page is full"
