"""The logs of an attempt are opened to everybody: so they have to be logs, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hakuriver.model.messages import RunOrder
from hakuriver.runner.drivers import Assignment, CannotStart
from hakuriver.runner.drivers.files import make_files


@pytest.fixture
def attempt(tmp_path: Path) -> Assignment:
    order = RunOrder((1, 1), 7, 1, ("true",))
    return Assignment(order, tmp_path / "records" / "7.1", tmp_path / "7.out", tmp_path / "7.err")


def test_logs_are_for_everybody_to_write(attempt: Assignment) -> None:
    make_files(attempt)
    for path in (attempt.stdout, attempt.stderr):
        assert path.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link", "pipe", "folder"])
def test_whatever_else_has_the_name_is_left_alone(
    attempt: Assignment, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("xyzzy")
    secret.chmod(0o600)
    if kind == "pipe":
        os.mkfifo(attempt.stdout)
    elif kind == "folder":
        attempt.stdout.mkdir()
    elif kind == "hard link":
        attempt.stdout.hardlink_to(secret)
    else:
        attempt.stdout.symlink_to(secret if kind == "link" else tmp_path / "nothing")
    with pytest.raises(CannotStart, match=r"7\.out"):
        make_files(attempt)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() == "xyzzy"
    assert not (tmp_path / "nothing").exists()
