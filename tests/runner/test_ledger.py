"""What a runner remembers whatever happens to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakuriver.model.errors import Conflict, Unavailable, UsageError
from hakuriver.model.messages import Report
from hakuriver.model.task import Ended, Result, Wish
from hakuriver.runner.ledger import Ledger
from tests.runner.desk import order, wish


def end(task: int = 7, attempt: int = 1, n: int = 5) -> Report:
    return Report(task, attempt, n, Ended(Result(3, problem="\udcff")), ended_at=9.0)


def killed(task: int = 7) -> Report:
    return Report(task, 1, 1, Ended(Result(None, kill_sent=True)), wish_n=1)


class Book:
    """A ledger that is opened again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.ledger = self.open()

    def open(self) -> Ledger:
        return Ledger(self.folder, clock=lambda: self.now)

    def again(self) -> Ledger:
        self.ledger.close()
        self.ledger = self.open()
        return self.ledger


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path)
    book.ledger.bind("c1")
    yield book
    book.ledger.close()


def test_every_opening_is_a_new_incarnation_with_a_higher_number(book: Book) -> None:
    numbers = [book.ledger.incarnation]
    instance = book.ledger.instance
    for now in (1000.0, 500.0, 5000.0, 0.0):
        book.now = now
        numbers.append(book.again().incarnation)
    assert numbers == sorted(set(numbers))
    assert book.ledger.instance == instance


def test_an_emptied_folder_is_another_instance_with_a_higher_number(
    book: Book, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    book.again()
    other = Ledger(tmp_path / "new", clock=lambda: book.now + 100)
    assert other.instance != book.ledger.instance
    assert other.incarnation > book.ledger.incarnation
    assert other.cluster is None
    other.close()


def test_orders_are_remembered_as_they_were_in_the_order_of_their_numbers(book: Book) -> None:
    full = order(
        9, seq=(1, 1), argv=("a", "\udcff", ""), env=(("A", "\udc80"),), cores=0.5, memory=7,
        container="base", privileged=True, mounts=("/a:/b",), numa=1,
    )  # fmt: skip
    book.ledger.take([order(8, seq=(1, 2)), full], [], [], boot="b1")
    entries = book.again().entries()
    assert [entry.order for entry in entries] == [full, order(8, seq=(1, 2))]
    assert [(entry.boot, entry.record, entry.wish, entry.report) for entry in entries] == [
        ("b1", 1, None, None)
    ] * 2
    assert book.ledger.orders_seen == (1, 2)


def test_a_message_is_taken_whole_or_not_at_all(book: Book) -> None:
    book.ledger.take([order(1, seq=(1, 1))], [], [], boot="b")
    with pytest.raises(Unavailable):
        book.ledger.take([order(2, seq=(1, 2)), order(1, seq=(1, 3))], [wish(task=1)], [], boot="b")
    assert book.ledger.orders_seen == (1, 1)
    (entry,) = book.again().entries()
    assert (entry.key, entry.wish) == ((1, 1), None)
    assert not book.ledger.known((2, 1))


def test_a_wish_is_remembered_with_the_time_of_the_first_kill(book: Book) -> None:
    book.ledger.take([order()], [wish(Wish.PAUSE, 1)], [], boot="b")
    book.now = 1010.0
    book.ledger.wish((7, 1), Wish.KILL, 2)
    book.now = 1020.0
    book.ledger.take([], [wish(Wish.KILL, 3)], [], boot="b")
    (entry,) = book.again().entries()
    assert (entry.wish, entry.wish_n) == (Wish.KILL, 3)
    assert entry.wish_at == 1010.0, "the command may have died of the first one"


def test_an_end_is_remembered_until_it_is_acknowledged(book: Book) -> None:
    book.ledger.take([order()], [], [], boot="b")
    book.ledger.finish([end()])
    (entry,) = book.again().entries()
    assert entry.report == end()
    book.ledger.acknowledge([(7, 1)])
    assert book.again().entries() == []


def test_an_acknowledged_attempt_stays_known_until_its_order_cannot_arrive_any_more(
    book: Book,
) -> None:
    book.ledger.take([order(7, seq=(1, 5))], [], [], boot="b")
    book.ledger.finish([end()])
    book.ledger.acknowledge([(7, 1)])
    for closed in ((1, 3), (1, 5)):
        book.ledger.close_below(closed)
        assert book.again().known((7, 1))
    book.ledger.close_below((1, 6))
    assert not book.again().known((7, 1))
    assert book.ledger.closed_below == (1, 6)


def test_what_is_not_acknowledged_outlives_the_closing_of_its_order(book: Book) -> None:
    book.ledger.take([order(7, seq=(1, 5))], [], [], boot="b")
    book.ledger.close_below((9, 9))
    assert [entry.key for entry in book.again().entries()] == [(7, 1)]


def test_the_closed_number_never_sinks(book: Book) -> None:
    book.ledger.close_below((2, 3))
    book.ledger.close_below((1, 99))
    assert book.ledger.closed_below == (2, 3)
    assert book.again().closed_below == (2, 3)


def test_a_tombstone_is_known_and_has_no_order(book: Book) -> None:
    book.ledger.take([], [], [(wish(), killed())], boot="b")
    (entry,) = book.again().entries()
    assert (entry.key, entry.order, entry.report) == ((7, 1), None, killed())
    assert book.ledger.known((7, 1))
    assert not book.ledger.known((7, 2))


def test_a_new_record_folder_goes_with_the_boot_that_it_is_for(book: Book) -> None:
    book.ledger.take([order()], [], [], boot="b1")
    book.ledger.next_record((7, 1), "b2")
    (entry,) = book.again().entries()
    assert (entry.record, entry.boot) == (2, "b2")


def test_a_runner_with_tasks_of_one_cluster_does_not_go_over_to_another(book: Book) -> None:
    book.ledger.take([order()], [], [], boot="b")
    book.ledger.bind("c1")
    with pytest.raises(Conflict, match="still holds tasks of cluster c1"):
        book.ledger.bind("c2")
    book.ledger.finish([end()])
    with pytest.raises(Conflict):
        book.ledger.bind("c2")


def test_a_runner_without_tasks_may_go_over_and_forgets_everything(book: Book) -> None:
    book.ledger.take([order()], [], [], boot="b")
    book.ledger.close_below((1, 1))
    book.ledger.finish([end()])
    book.ledger.acknowledge([(7, 1)])
    book.again().bind("c2")
    assert book.again().cluster == "c2"
    assert not book.ledger.known((7, 1))
    assert book.ledger.orders_seen == book.ledger.closed_below == (0, 0)


def test_a_full_disk_is_said_and_nothing_has_changed(book: Book, tmp_path: Path) -> None:
    book.ledger.take([order(1)], [], [], boot="b")
    with FullDisk(tmp_path):
        for change in (
            lambda: book.ledger.take([order(2, seq=(1, 2))], [], [], boot="b"),
            lambda: book.ledger.finish([end(1)]),
            lambda: book.ledger.wish((1, 1), Wish.KILL, 1),
        ):
            with pytest.raises(Unavailable, match=r"ledger\.db"):
                change()
    assert book.ledger.orders_seen == (1, 1)
    book.ledger.take([order(2, seq=(1, 2))], [], [], boot="b")
    entries = book.again().entries()
    assert [(entry.key, entry.wish, entry.report) for entry in entries] == [
        ((1, 1), None, None), ((2, 1), None, None),
    ]  # fmt: skip


class FullDisk:
    """A disk that takes nothing: triggers stand in for it, since root may write everything."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.db"

    def _do(self, *statements: str) -> None:
        connection = sqlite3.connect(self._path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def __enter__(self) -> None:
        fail = "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        self._do(
            f"CREATE TRIGGER no_insert BEFORE INSERT ON attempts {fail}",
            f"CREATE TRIGGER no_update BEFORE UPDATE ON attempts {fail}",
        )

    def __exit__(self, *error: object) -> None:
        self._do("DROP TRIGGER no_insert", "DROP TRIGGER no_update")


def test_a_ledger_of_a_newer_version_is_refused(book: Book, tmp_path: Path) -> None:
    book.ledger.close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match="newer HakuRiver"):
        book.open()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    book.ledger = book.open()


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(os.urandom(8192))
    with pytest.raises(UsageError, match=r"cannot open the ledger .*ledger\.db"):
        Ledger(tmp_path)


def test_only_its_owner_reads_what_tasks_were_given(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.bind("c1")
    modes = {each.name: each.stat().st_mode & 0o077 for each in tmp_path.iterdir()}
    ledger.close()
    assert modes == {"ledger.db": 0, "ledger.db-wal": 0, "ledger.db-shm": 0}
