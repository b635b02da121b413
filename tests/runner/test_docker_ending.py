"""What becomes of a task whose container ended before its keeper had begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.model.messages import RunOrder
from hakuriver.runner.drivers import Assignment
from hakuriver.runner.drivers.docker_ending import ENGINE_STOPPED, OUTSIDE, ending_of
from hakuriver.runner.record import read_started


def assignment(folder: Path, attempt: int = 1) -> Assignment:
    order = RunOrder(seq=(1, 1), task=7, attempt=attempt, argv=("true",), container="box")
    record = folder / f"7.{attempt}.1"
    record.mkdir()
    return Assignment(order, record, folder / "7.out", folder / "7.err")


@pytest.mark.parametrize(
    ("code", "problem", "attempt", "again"),
    [
        (2, "", 1, True),  # the engine's own helper fell over
        (2, "", 3, False),  # an image whose /bin/sh always does that
        (127, "", 1, False),
        (137, ENGINE_STOPPED, 9, True),
        (137, OUTSIDE, 1, False),
    ],
)
def test_it_goes_back_to_the_queue_unless_it_would_always_end_so(
    tmp_path: Path, code: int, problem: str, attempt: int, again: bool
) -> None:
    given = assignment(tmp_path, attempt)
    ending = ending_of(given, code, problem)
    assert ending.never_ran
    assert ending.again is again
    started = read_started(given.record)
    assert (started is not None and started.by_runner) is again, "nothing can begin it any more"
