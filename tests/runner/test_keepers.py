"""A runner that is out of descriptors takes no task for ended, and tells every end once it has some."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hakuriver.model.messages import RunOrder
from hakuriver.runner.drivers import Assignment, Ending, keepers, proctree
from hakuriver.runner.drivers.process import ProcessDriver, ProcessSettings
from tests.support.wait import wait_until

NO_MORE = OSError(errno.EMFILE, "Too many open files")


class Bench:
    """failures: how often the ends cannot be taken."""

    def __init__(self, folder: Path) -> None:
        for name in ("task_outputs", "task_errors", "shared_data"):
            (folder / name).mkdir()
        self.folder = folder
        self.ends: list[Ending] = []
        self.failures = 0
        cluster = os.urandom(4).hex()
        settings = ProcessSettings(cluster, "bench", folder / "shared_data", folder, grace=1)
        self.driver = ProcessDriver(settings, self.told)

    def told(self, ends: list[Ending]) -> None:
        if self.failures:
            self.failures -= 1
            raise NO_MORE
        self.ends += ends

    def start(self, *argv: str) -> Assignment:
        folder = self.folder
        out, err = folder / "task_outputs" / "1.out", folder / "task_errors" / "1.err"
        run = Assignment(RunOrder((1, 1), 1, 1, argv), folder / "records" / "1.1.1", out, err)
        self.driver.prepare(run)
        self.driver.start(run)
        return run

    def end(self) -> Ending:
        wait_until(lambda: self.ends)
        (ending,) = self.ends
        return ending


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.driver.stop()


def test_an_end_that_cannot_be_read_or_told_yet_is_told_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = keepers.ending_of, [NO_MORE, NO_MORE]

    def sometimes(*given: Any) -> Ending:
        if failed:
            raise failed.pop()
        return real(*given)

    monkeypatch.setattr(keepers, "ending_of", sometimes)
    bench.failures = 1
    bench.start("sh", "-c", "exit 3")
    ending = bench.end()
    assert (failed, bench.failures) == ([], 0)
    assert ending.record is not None
    assert ending.record.exit_code == 3


def test_what_runs_is_not_taken_for_ended_because_nothing_can_be_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*given: Any, **more: Any) -> int:
        raise NO_MORE

    # Without a descriptor for it, a keeper is found out about by looking at /proc.
    monkeypatch.setattr(os, "pidfd_open", none_left)
    run = bench.start("sleep", "60")
    wait_until(lambda: (started := run.started()) is not None and started.pid is not None)
    with monkeypatch.context() as patched:
        looks: list[str] = []

        def out_of_them(path: str) -> bytes:
            looks.append(path)
            raise NO_MORE

        patched.setattr(proctree, "_read_all", out_of_them)
        wait_until(lambda: len(looks) > 2)
        with pytest.raises(OSError, match="Too many open files"):
            bench.driver.kill(run, hard=False)
    assert bench.ends == []
    assert bench.driver.kill(run, hard=False)
    ending = bench.end()
    assert ending.record is not None
    assert ending.record.exit_code == 143
