"""One writer with group commit: what write() returned from is on disk, and nobody undoes another's work."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakuriver.host.listing import Filter
from hakuriver.host.rows import Tx
from hakuriver.host.store import Store
from hakuriver.model.errors import Unavailable, UsageError
from hakuriver.model.task import Status, Task, TaskSpec
from tests.support.wait import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with_changes: list[set[int]] = []
    store = Store(tmp_path / "cluster.db", with_changes.append)
    yield store
    store.close()


def add(number: int) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        tx.add_tasks([Task(number, number, TaskSpec(("true",)), Status.PENDING, 1.0)])
        return number

    return work


def ids(store: Store) -> list[int]:
    with store.read() as tx:
        return [task.id for task in tx.tasks(Filter(limit=10_000))]


def elsewhere(path: Path) -> list[int]:
    """As another process finds the file."""
    with sqlite3.connect(path / "cluster.db") as connection:
        rows = connection.execute("SELECT task_id FROM tasks ORDER BY task_id").fetchall()
    connection.close()
    return [row[0] for row in rows]


def in_threads(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_what_was_written_is_there_for_everybody(store: Store, tmp_path: Path) -> None:
    assert store.write(add(3)) == 3
    assert ids(store) == [3]
    assert elsewhere(tmp_path) == [3]


def test_an_error_undoes_its_own_work_and_nothing_else(store: Store) -> None:
    def fail(tx: Tx) -> None:
        add(2)(tx)
        raise ValueError("my own fault")

    store.write(add(1))
    with pytest.raises(ValueError, match="my own fault"):
        store.write(fail)
    store.write(add(3))
    assert ids(store) == [3, 1]


def test_an_error_of_one_in_a_group_does_not_touch_the_others(store: Store) -> None:
    """The first holds the writer until all others wait, so that they share the next commit."""
    begun, go_on = threading.Event(), threading.Event()
    errors: dict[int, BaseException] = {}
    waiting = [0]

    def slow(tx: Tx) -> None:
        begun.set()
        assert go_on.wait(20)

    def one(number: int) -> None:
        waiting[0] += 1
        try:
            store.write(faulty(number) if number % 3 == 0 else add(number))
        except (ValueError, sqlite3.IntegrityError) as error:
            errors[number] = error

    def faulty(number: int) -> Callable[[Tx], int]:
        def work(tx: Tx) -> int:
            add(number)(tx)
            if number % 2:
                raise ValueError(str(number))
            return add(number)(tx)  # The same id again: the database objects.

        return work

    first = threading.Thread(target=lambda: store.write(slow))
    first.start()
    assert begun.wait(20)
    others = [threading.Thread(target=one, args=(number,)) for number in range(1, 31)]
    for thread in others:
        thread.start()
    wait_until(lambda: waiting[0] == 30)
    go_on.set()
    for thread in [first, *others]:
        thread.join(timeout=30)
    assert sorted(errors) == [number for number in range(1, 31) if number % 3 == 0]
    assert sorted(ids(store)) == [number for number in range(1, 31) if number % 3]


def test_many_threads_get_each_their_own_answer(store: Store) -> None:
    answers: dict[int, int] = {}

    def one(number: int) -> None:
        answers[number] = store.write(add(number))

    in_threads([lambda number=number: one(number) for number in range(1, 101)])
    assert answers == {number: number for number in range(1, 101)}
    assert sorted(ids(store)) == list(range(1, 101))
    with store.read() as tx:
        revisions = [task.revision for task in tx.tasks(Filter(limit=1000))]
    assert len(set(revisions)) == 100, "every change has a number of its own"
    assert max(revisions) <= store.revision


def test_changes_are_told_after_the_commit_and_only_if_there_were_any(tmp_path: Path) -> None:
    told: list[tuple[set[int], list[int]]] = []
    store = Store(tmp_path / "cluster.db", lambda ids: told.append((ids, elsewhere(tmp_path))))
    store.write(add(1))
    store.write(lambda tx: tx.set_meta("a", "b"))
    with pytest.raises(ZeroDivisionError):
        store.write(lambda tx: add(2)(tx) / 0)
    store.close()
    assert told == [({1}, [1])]


def test_a_reader_sees_one_moment(store: Store) -> None:
    store.write(add(1))
    with store.read() as tx:
        assert len(tx.tasks(Filter())) == 1
        store.write(add(2))
        assert len(tx.tasks(Filter())) == 1
    assert ids(store) == [2, 1]


def test_more_readers_than_connections_wait_for_their_turn(store: Store) -> None:
    store.write(add(1))
    seen: list[int] = []
    gate = threading.Barrier(20)

    def one() -> None:
        gate.wait(20)
        for _ in range(20):
            seen.extend(ids(store))

    in_threads([one] * 20)
    assert seen == [1] * 400


def test_a_full_disk_is_said_and_nothing_is_changed(store: Store, tmp_path: Path) -> None:
    store.write(add(1))

    def fill(tx: Tx) -> None:
        tx.set_meta("big", "x" * 10_000_000)

    limit_pages(store, 40)
    with pytest.raises(Unavailable, match="full"):
        store.write(fill)
    with pytest.raises(Unavailable, match="full"):
        store.write(lambda tx: (add(2)(tx), fill(tx)))
    assert ids(store) == elsewhere(tmp_path) == [1]
    store.write(add(3))
    limit_pages(store, 1_000_000)
    store.write(fill)
    assert ids(store) == [3, 1]


def limit_pages(store: Store, pages: int) -> None:
    """As if the disk had room for so many pages (of 4 KiB); the pragma is of the connection."""
    store.write(lambda tx: tx._sql.execute(f"PRAGMA max_page_count = {pages}").fetchone())


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.db").write_bytes(b"not a database at all, but longer than a header" * 100)
    with pytest.raises(UsageError, match=r"cluster\.db"):
        Store(tmp_path / "cluster.db")


def test_a_database_without_its_tables_is_named(tmp_path: Path) -> None:
    Store(tmp_path / "cluster.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "cluster.db")) as connection:
        connection.execute("DROP TABLE tasks")
    with pytest.raises(UsageError, match=r"cannot open the database .*cluster\.db: no such table"):
        Store(tmp_path / "cluster.db")


def test_a_database_that_is_damaged_while_it_is_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    Store(path).close()
    page = 4096
    with open(path, "r+b") as file:  # all but the first page, which tells what is in the others
        file.seek(page)
        file.write(b"\xee" * (path.stat().st_size - page))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] > 0
    with pytest.raises(UsageError, match=r"cannot open the database .*cluster\.db: .*malformed"):
        Store(path)


def test_what_a_damaged_file_does_to_a_reader_and_a_writer_is_told(store: Store) -> None:
    def malformed(tx: Tx) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with (
        pytest.raises(Unavailable, match=r"cannot read its database .*cluster\.db: .*malformed"),
        store.read() as tx,
    ):
        malformed(tx)
    with pytest.raises(Unavailable, match=r"cannot write its database: .*malformed"):
        store.write(malformed)
    store.write(add(1))
    assert ids(store) == [1]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot open the database"):
        Store(tmp_path / "file" / "cluster.db")


def test_revisions_go_on_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "cluster.db")
    store.write(add(1))
    store.write(add(2))
    last = store.revision
    store.close()
    store = Store(tmp_path / "cluster.db")
    assert store.revision == last
    store.write(add(3))
    assert store.revision > last
    store.close()


def test_only_its_owner_reads_what_tasks_were_given(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    path.touch(0o644)
    store = Store(path)
    store.write(add(1))
    modes = {each.name: each.stat().st_mode & 0o077 for each in tmp_path.iterdir()}
    store.close()
    assert modes == {"cluster.db": 0, "cluster.db-wal": 0, "cluster.db-shm": 0}
