"""The shared directory, as a runner looks at it: right, wrong, gone, or silent."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from hakuriver.runner.shared import SharedDir, shared_dir_problem
from tests.support.wait import wait_until


def marked(folder: Path, cluster: str) -> Path:
    (folder / ".hakuriver.json").write_text(json.dumps({"cluster": cluster}))
    return folder


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"cluster": "ours"}', ""),
        ('{"cluster": "theirs"}', "belongs to another cluster, theirs"),
        ("{}", "is damaged"),
        ('{"cluster": ', "is damaged"),
        ("[]", "is damaged"),
        (None, "is not mounted"),
    ],
)
def test_the_marker_tells_whose_it_is(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / ".hakuriver.json").write_text(text)
    found = shared_dir_problem(tmp_path, "ours")
    assert (says in found) if says else found == ""


def test_one_that_nothing_can_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an error of its disk: every task would fail for want of its output."""
    real = list(os.statvfs(marked(tmp_path, "ours")))
    real[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(real))
    assert "is mounted read-only" in shared_dir_problem(tmp_path, "ours")


def test_nothing_is_wrong_before_it_is_known_whose_it_should_be(tmp_path: Path) -> None:
    assert SharedDir(tmp_path).problem() == ""


def test_every_question_is_answered_as_of_now(tmp_path: Path) -> None:
    shared = SharedDir(tmp_path, patience=30)
    shared.cluster = "ours"
    for _ in range(3):
        assert "not mounted" in shared.problem()
        marked(tmp_path, "ours")
        assert shared.problem() == ""
        (tmp_path / ".hakuriver.json").unlink()


def test_a_directory_that_does_not_answer_holds_nobody_and_heals_by_itself(tmp_path: Path) -> None:
    """Reading a pipe without a writer blocks as a network mount does whose server is gone."""
    marker = tmp_path / ".hakuriver.json"
    os.mkfifo(marker)
    shared = SharedDir(tmp_path, patience=0.05)
    shared.cluster = "ours"
    before = threading.active_count()
    try:
        assert "does not answer" in shared.problem()
        asking = [threading.Thread(target=shared.problem) for _ in range(20)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(30)
        assert not any(thread.is_alive() for thread in asking)
        assert threading.active_count() <= before + 1
        assert "does not answer" in shared.glance()
        marker.rename(tmp_path / "pipe")
        marked(tmp_path, "ours")
    finally:
        # What still reads the pipe is answered.
        with open(tmp_path / "pipe", "w") as pipe:
            pipe.write("{}")
    wait_until(lambda: shared.problem() == "", message="it is well again")


def test_who_cannot_wait_hears_the_last_answer_until_it_is_too_old(tmp_path: Path) -> None:
    """A heartbeat that waits for a slow server would be a node that is offline."""
    clock = [0.0]
    shared = SharedDir(marked(tmp_path, "ours"), patience=60, monotonic=lambda: clock[0])
    shared.cluster = "ours"
    assert shared.problem() == ""
    marker = tmp_path / ".hakuriver.json"
    marker.unlink()
    os.mkfifo(marker)
    try:
        assert shared.glance() == ""

        def later() -> bool:
            clock[0] += 61.0
            return "does not answer" in shared.glance()

        wait_until(later)
    finally:
        marker.rename(tmp_path / "pipe")
        marked(tmp_path, "theirs")
        with open(tmp_path / "pipe", "w") as pipe:
            pipe.write("{}")
    wait_until(lambda: "theirs" in shared.glance(), message="it answers again")
