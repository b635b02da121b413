"""Reading what a task has written: whole, by its last lines, or as it grows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.host.outputs import CHUNK, Outputs, Piece
from hakuriver.model.errors import HakuRiverError, NotFound
from hakuriver.model.task import Status, Task, TaskSpec
from tests.support.wait import wait_until


@dataclass(slots=True)
class Shelf:
    """One task's output; the task runs until it is told otherwise."""

    folder: Path
    status: Status = Status.RUNNING
    attempt: int = 1
    going: bool = True

    def outputs(self) -> Outputs:
        return Outputs(self.folder, self.task)

    def task(self, task_id: int) -> Task:
        if task_id != 7:
            raise NotFound(f"there is no task {task_id}")
        return replace(Task(7, 7, TaskSpec(("x",)), self.status, 0.0), attempt=self.attempt)

    @property
    def file(self) -> Path:
        return self.folder / self.task(7).output_name("stdout")

    def write(self, data: bytes) -> None:
        self.file.parent.mkdir(exist_ok=True)
        with open(self.file, "ab") as file:
            file.write(data)

    def tail(self, lines: int, limit: int = CHUNK) -> Piece:
        return self.outputs().piece(7, "stdout", offset=None, tail=lines, limit=limit)

    def at(self, offset: int, limit: int = CHUNK) -> Piece:
        return self.outputs().piece(7, "stdout", offset=offset, tail=None, limit=limit)

    def follow(self, offset: int, seconds: float, limit: int = CHUNK) -> Piece:
        return self.outputs().wait_piece(
            7, "stdout", offset=offset, limit=limit, seconds=seconds, going=lambda: self.going
        )


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


# Whole


def test_the_whole_file_is_given_as_it_is_now(shelf: Shelf) -> None:
    data = bytes(range(256)) * 10_000
    shelf.write(data)
    size, chunks = shelf.outputs().whole(7, "stdout")
    shelf.write(b"later")
    assert size == len(data)
    assert b"".join(chunks) == data


def test_a_file_that_is_not_there_yet_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="task 7 has written no stdout yet"):
        shelf.outputs().whole(7, "stdout")
    with pytest.raises(NotFound, match="there is no task 8"):
        shelf.outputs().whole(8, "stdout")


def test_a_file_that_shrinks_meanwhile_ends_early(shelf: Shelf) -> None:
    shelf.write(b"x" * 100)
    size, chunks = shelf.outputs().whole(7, "stdout")
    shelf.file.write_bytes(b"")
    assert size == 100
    assert b"".join(chunks) == b""


def test_the_present_attempt_is_the_one_that_is_read(shelf: Shelf) -> None:
    shelf.write(b"first")
    shelf.attempt = 2
    assert shelf.at(0).body == b""
    shelf.write(b"second")
    assert shelf.at(0).body == b"second"


def test_what_cannot_be_read_is_said_with_its_name(shelf: Shelf) -> None:
    shelf.file.parent.mkdir()
    shelf.file.mkdir()
    with pytest.raises(HakuRiverError, match=r"cannot read .*7\.out"):
        shelf.at(0)


# By offset


def test_pieces_put_together_are_the_file(shelf: Shelf) -> None:
    data = bytes(range(256)) * 7
    shelf.write(data)
    found, offset = b"", 0
    while piece := shelf.at(offset, limit=100).body:
        assert len(piece) <= 100
        found += piece
        offset += len(piece)
    assert found == data


def test_past_the_end_there_is_nothing_and_that_is_no_error(shelf: Shelf) -> None:
    assert shelf.at(5) == Piece(b"", 5, 0, Status.RUNNING)
    shelf.write(b"abc")
    assert shelf.at(3) == Piece(b"", 3, 3, Status.RUNNING)
    assert shelf.at(2**62) == Piece(b"", 2**62, 3, Status.RUNNING)


def test_what_is_final_is_complete(shelf: Shelf) -> None:
    """The status is looked up before the file: an end in between is told with the next piece."""
    shelf.write(b"abc")
    known = shelf.task

    def ends_after_the_look(task_id: int) -> Task:
        task = known(task_id)
        shelf.write(b"def")
        return task

    piece = Outputs(shelf.folder, ends_after_the_look).piece(
        7, "stdout", offset=0, tail=None, limit=CHUNK
    )
    assert (piece.body, piece.final) == (b"abcdef", False)


# By lines


@pytest.mark.parametrize(
    ("data", "lines", "wanted"),
    [
        (b"", 0, b""), (b"", 3, b""),
        (b"a", 0, b""), (b"a", 1, b"a"), (b"a", 2, b"a"),
        (b"a\n", 0, b""), (b"a\n", 1, b"a\n"), (b"a\n", 2, b"a\n"),
        (b"a\nb", 1, b"b"), (b"a\nb", 2, b"a\nb"), (b"a\nb", 3, b"a\nb"),
        (b"a\nb\n", 1, b"b\n"), (b"a\nb\n", 2, b"a\nb\n"), (b"a\nb\nc", 2, b"b\nc"),
        (b"\n\n\n", 1, b"\n"), (b"\n\n\n", 2, b"\n\n"), (b"\n\n\n", 9, b"\n\n\n"),
        (b"a\n\n", 1, b"\n"), (b"a\n\nb", 2, b"\nb"),
        (b"a\r\nb\r\n", 1, b"b\r\n"), (b"\xff\n\xfe", 1, b"\xfe"),
    ],
)  # fmt: skip
def test_the_last_lines_are_found(shelf: Shelf, data: bytes, lines: int, wanted: bytes) -> None:
    shelf.write(data)
    assert shelf.tail(lines) == Piece(wanted, len(data) - len(wanted), len(data), Status.RUNNING)


@given(st.lists(st.sampled_from([b"\n", b"a", b"x" * 70_000]), max_size=12), st.integers(0, 8))
def test_the_last_lines_are_those_that_splitting_finds(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], lines: int
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    data = b"".join(parts)
    shelf.write(data)
    wanted = b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""
    assert shelf.tail(lines, limit=1 << 30).body == wanted


def test_the_last_lines_are_cut_at_the_limit_and_go_on_from_there(shelf: Shelf) -> None:
    shelf.write(b"one\ntwo\nthree\n")
    piece = shelf.tail(2, limit=5)
    assert (piece.body, piece.offset) == (b"two\nt", 4)
    assert shelf.at(piece.offset + len(piece.body)).body == b"hree\n"


def test_no_file_has_no_lines(shelf: Shelf) -> None:
    assert shelf.tail(5) == Piece(b"", 0, 0, Status.RUNNING)


# As it grows


def test_following_answers_at_once_if_there_is_something(shelf: Shelf) -> None:
    shelf.write(b"abc")
    assert shelf.follow(1, 30).body == b"bc"


@pytest.mark.parametrize("reason", ["over", "late", "closing"])
def test_following_ends_without_news_when_there_will_be_none(shelf: Shelf, reason: str) -> None:
    shelf.write(b"abc")
    if reason == "over":
        shelf.status = Status.COMPLETED
    if reason == "closing":
        shelf.going = False
    piece = shelf.follow(3, 0.05 if reason == "late" else 30)
    assert piece.body == b""
    assert piece.final == (reason == "over")


@pytest.mark.parametrize("act", ["writes", "ends", "closes"])
def test_following_wakes_up_when_something_happens(shelf: Shelf, act: str) -> None:
    found: list[Piece] = []
    thread = threading.Thread(target=lambda: found.append(shelf.follow(0, 30)))
    thread.start()
    if act == "writes":
        shelf.write(b"news")
    elif act == "ends":
        shelf.status = Status.FAILED
    else:
        shelf.going = False
    wait_until(lambda: found, timeout=10)
    thread.join(timeout=10)
    assert found[0].body == (b"news" if act == "writes" else b"")
    assert found[0].final == (act == "ends")


def test_following_to_the_end_reads_every_byte_once(shelf: Shelf) -> None:
    data = b"".join(b"line %d\n" % number for number in range(500))

    def write() -> None:
        for start in range(0, len(data), 97):
            shelf.write(data[start : start + 97])
        shelf.status = Status.COMPLETED

    writer = threading.Thread(target=write)
    writer.start()
    found, offset = b"", 0
    while True:
        piece = shelf.follow(offset, 10, limit=50)
        assert piece.offset == offset
        found += piece.body
        offset += len(piece.body)
        if piece.final and offset == piece.size:
            break
    writer.join(timeout=10)
    assert found == data
