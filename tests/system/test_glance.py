"""Nobody waits for a file server that does not answer, and what it said before goes on to hold."""

from __future__ import annotations

import threading
import time

import pytest

from hakuriver.system.glance import Glance
from tests.support.wait import wait_until

NOTHING: list[str] = []


class Folder:
    """answers: while it is clear, looking takes for ever."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.names = ["a"]
        self.looks = 0
        self.error: OSError | None = None

    def look(self) -> list[str]:
        self.looks += 1
        assert self.answers.wait(60)
        if self.error is not None:
            raise self.error
        return list(self.names)


@pytest.fixture
def folder() -> Folder:
    return Folder()


def test_what_is_there_is_seen_at_once_and_looked_at_again_when_it_is_old(folder: Folder) -> None:
    glance = Glance("folder", folder.look, NOTHING, age=3600)
    assert glance.get() == glance.get() == ["a"]
    assert folder.looks == 1
    folder.names = ["b"]
    glance.again()
    assert glance.get() == ["b"]
    old = Glance("folder", folder.look, NOTHING, age=0)
    assert old.get() == ["b"]
    folder.names = ["c"]
    assert old.get() == ["c"]


def test_a_dead_file_server_holds_nobody_for_long_and_only_once(folder: Folder) -> None:
    glance = Glance("folder", folder.look, NOTHING, age=0, patience=0.3)
    assert glance.get() == ["a"]
    folder.answers.clear()
    folder.names = ["b"]
    assert glance.get() == ["a"], "as it was"
    began = time.monotonic()
    for _ in range(100):
        assert glance.get() == ["a"]
    assert time.monotonic() - began < 5
    assert folder.looks == 2
    folder.answers.set()
    wait_until(lambda: glance.get() == ["b"])


def test_what_cannot_be_read_is_what_it_was(folder: Folder) -> None:
    glance = Glance("folder", folder.look, NOTHING, age=0)
    assert glance.get() == ["a"]
    folder.error = OSError(5, "Input/output error")
    assert glance.get() == ["a"]
    folder.error, folder.names = None, ["b"]
    assert glance.get() == ["b"]
