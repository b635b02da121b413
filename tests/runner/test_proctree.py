"""Whose a process is, told from a /proc that is made up: the moments in between cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.runner.drivers import proctree
from hakuriver.runner.drivers.proctree import Mark, Process, at_rest, members, parse_stat

MARK = Mark(7, (b"HAKURIVER_TASK_ID=1", b"HAKURIVER_ATTEMPT=1"))
OURS = b"PATH=/bin\0HAKURIVER_TASK_ID=1\0HAKURIVER_ATTEMPT=1\0"
KERNEL = 0x00200000


class FakeProc:
    """A /proc whose clock is the number of looks: what a process shows may change with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looks = 0
        self.changes: dict[int, list[tuple[int, bytes]]] = {}

    def add(self, pid: int, environ: bytes, *, session: int = 99, flags: int = 0) -> None:
        place = self.folder / str(pid)
        place.mkdir()
        place.joinpath("environ").write_bytes(environ)
        numbers = f"17 {pid} {session} 0 0 {flags} {'0 ' * 12} 500"
        place.joinpath("stat").write_text(f"{pid} (a) b) S {numbers} 0\n")

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        for pid, changes in self.changes.items():
            for look, environ in changes:
                if look == self.looks:
                    (self.folder / str(pid) / "environ").write_bytes(environ)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    made = FakeProc(tmp_path)
    monkeypatch.setattr(proctree, "PROC", str(tmp_path))
    monkeypatch.setattr("hakuriver.runner.drivers.proctree.time.sleep", made.sleep)
    return made


def found() -> list[int]:
    return [each.pid for each in members(MARK)]


def test_a_member_is_known_by_session_or_environment(proc: FakeProc) -> None:
    proc.add(20, b"PATH=/bin\0", session=7)
    proc.add(21, OURS)
    proc.add(22, OURS.replace(b"TASK_ID=1", b"TASK_ID=11"))
    proc.add(23, b"X" + OURS[10:])
    assert sorted(found()) == [20, 21]
    assert proc.looks == 0


def test_one_in_the_middle_of_an_execve_is_looked_at_again(proc: FakeProc) -> None:
    proc.add(30, b"")
    proc.add(31, b"")
    proc.changes = {30: [(3, OURS)], 31: [(2, b"OTHER=1\0")]}
    assert found() == [30]
    assert proc.looks == 3, "and no longer than need be"


def test_one_that_never_has_an_environment_is_given_up(proc: FakeProc) -> None:
    proc.add(40, b"")
    assert found() == []
    assert 10 < proc.looks < 100


def test_threads_of_the_kernel_cost_no_time(proc: FakeProc) -> None:
    proc.add(2, b"", session=0, flags=KERNEL)
    assert found() == []
    assert proc.looks == 0


def test_a_name_with_anything_in_it_is_read(proc: FakeProc) -> None:
    proc.add(50, OURS, session=3)
    text = (proc.folder / "50" / "stat").read_bytes()
    each = parse_stat(text)
    assert each is not None
    assert each == Process(50, 3, "S", 500, parent=17)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({10: ("T", 1), 11: ("T", 10)}, True),
        ({10: ("D", 1), 11: ("T", 10)}, True),
        ({10: ("T", 1), 11: ("D", 10)}, False),
        ({10: ("D", 1), 11: ("T", 1)}, False),
        ({10: ("D", 1), 11: ("D", 10), 12: ("T", 11)}, False),
        ({10: ("S", 1), 11: ("T", 10)}, False),
        ({10: ("D", 1), 11: ("S", 10)}, False),
    ],
)
def test_at_rest_is_what_is_stopped_or_waits_for_a_stopped_child(
    states: dict[int, tuple[str, int]], expected: bool
) -> None:
    found = [Process(pid, 7, state, 1, parent) for pid, (state, parent) in states.items()]
    assert at_rest(found) is expected
