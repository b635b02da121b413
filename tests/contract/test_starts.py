"""A start happens once, or certainly not at all; what was thrown away is found again."""

from __future__ import annotations

import errno
import os
import shutil
import time

import pytest

from hakuriver.model.task import RefusedByNode, Status
from hakuriver.runner.drivers import CannotStart, CannotStartNow, KilledBeforeStart
from hakuriver.runner.drivers.docker import DockerDriver
from hakuriver.runner.record import claim
from hakuriver.system.command import Completed
from tests.contract.bench import Bench, kill9
from tests.support.images import Images
from tests.support.wait import wait_until

LOOP = "while :; do sleep 0.05; done"


def test_a_kill_before_the_start_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(KilledBeforeStart):
        bench.run("touch", "ran", killed=lambda: True)
    assert not (bench.places.shared_data / "ran").exists()
    run = bench.prepared("true")
    assert not bench.endings((run.key[0] - 1, 1))


def test_an_attempt_that_was_claimed_never_runs(bench: Bench) -> None:
    run = bench.prepared("touch", "ran")
    assert claim(run.assignment.record)
    bench.driver.start(run.assignment)
    fact = run.fact()
    assert not (bench.places.shared_data / "ran").exists()
    if bench.kind.name == "docker":
        assert isinstance(fact, RefusedByNode)


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EAGAIN, CannotStartNow), (errno.ENOMEM, CannotStartNow), (errno.E2BIG, CannotStart)],
)
def test_a_machine_that_lacks_something_says_so_and_nothing_is_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    run = bench.prepared("touch", "ran")

    def lacks(*given: object, **more: object) -> int:
        raise OSError(number, os.strerror(number))

    words = f"Error response from daemon: {'no space left on device' if error is CannotStartNow else 'no'}"
    monkeypatch.setattr(os, "posix_spawn", lacks)
    if isinstance(bench.driver, DockerDriver):
        failed = Completed(1, b"", words.encode())
        monkeypatch.setattr(bench.driver._docker, "run", lambda *given, **more: failed)
    with pytest.raises(error):
        bench.driver.start(run.assignment)
    monkeypatch.undo()
    assert run.assignment.started() is None
    bench.driver.discard(run.assignment)
    assert not run.assignment.record.exists()


def test_a_shared_folder_that_is_away_is_told(bench: Bench) -> None:
    run = bench.prepared("true")
    shutil.rmtree(bench.places.shared_data)
    try:
        bench.driver.start(run.assignment)
        fact = run.fact()
        assert isinstance(fact, RefusedByNode)
        reason = fact.reason
    except CannotStart as error:
        reason = str(error)
    assert "shared_data" in reason


def test_a_log_that_cannot_be_made_is_told(bench: Bench) -> None:
    """The runner makes a log for another user, the keeper makes its own: either may find out."""
    shutil.rmtree(bench.places.home / "shared" / "task_errors")
    try:
        fact = bench.run("true").fact()
        assert isinstance(fact, RefusedByNode), fact
        reason = fact.reason
    except CannotStart as error:
        reason = str(error)
    assert "task_errors" in reason or "stderr" in reason


def test_no_start_and_no_end_is_told_twice(bench: Bench) -> None:
    runs = [bench.sh(f"exit {number}") for number in range(10)]
    assert [run.result().exit_code for run in runs] == list(range(10))
    bench.replace_driver()
    assert all(len(bench.endings(run.key)) == 1 for run in runs)


def test_what_is_over_can_be_discarded(bench: Bench) -> None:
    run = bench.run("true")
    run.end()
    bench.driver.discard(run.assignment)
    bench.driver.discard(run.assignment)
    assert not run.assignment.record.exists()
    assert run.assignment.stdout.exists()


def test_a_new_driver_finds_what_the_old_one_started(bench: Bench) -> None:
    run = bench.sh("echo before; while [ ! -e go ]; do sleep 0.05; done; echo after; exit 9")
    run.wait_out(b"before")
    assert bench.replace_driver(run) == {run.key}
    assert run.ended() is None
    (bench.places.shared_data / "go").touch()
    assert (run.result().exit_code, run.out) == (9, b"before\nafter\n")


def test_an_end_that_nobody_saw_is_found(bench: Bench) -> None:
    run = bench.sh("while [ ! -e go ]; do sleep 0.02; done; echo done; exit 9")
    wait_until(run.assignment.started)

    def away() -> None:
        (bench.places.shared_data / "go").touch()
        wait_until(run.assignment.exit, message="it ends unseen")

    bench.replace_driver(run, away=away)
    assert (run.result().exit_code, run.out) == (9, b"done\n")


def test_a_new_driver_kills_what_the_old_one_started(bench: Bench) -> None:
    run = bench.sh(f"trap 'echo bye; exit 7' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    bench.replace_driver(run)
    wait_until(run.kill, message="the new driver knows whom to signal")
    result = run.result()
    assert (result.status, result.exit_code, run.out) == (Status.KILLED, 7, b"ready\nbye\n")


def test_a_new_driver_knows_at_once_what_is_paused(bench: Bench) -> None:
    run = bench.sh(f"trap 'exit 7' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    assert run.pause()
    bench.replace_driver(run)
    assert run.paused()
    assert run.resume()
    assert not run.paused()
    run.kill()
    assert run.result().exit_code == 7


def test_a_keeper_that_was_killed_while_nobody_looked(bench: Bench) -> None:
    run = bench.sh(f"setsid sleep 600 & echo ready; {LOOP}")
    run.wait_out(b"ready")
    keeper = bench.kind.keeper(run)
    bench.replace_driver(run, away=lambda: kill9(keeper))
    result = run.result()
    assert result.status is Status.FAILED
    assert "the supervising process was killed" in result.problem
    assert not run.processes()


def test_what_nobody_knows_is_killed_at_recovery(bench: Bench) -> None:
    run = bench.sh(f"echo ready; {LOOP}")
    run.wait_out(b"ready")
    bench.replace_driver()
    wait_until(lambda: not run.processes(), message="the stranger is gone")
    assert run.ended() is None


def test_an_end_has_the_time_of_its_record(bench: Bench) -> None:
    run = bench.sh("exit 0")
    wait_until(run.assignment.exit)
    before = time.time()
    assert run.end().ended_at <= before


@pytest.mark.docker
@pytest.mark.parametrize("kind", ["docker"], indirect=True)
def test_an_image_without_a_shell_is_told(bench: Bench, docker_images: Images) -> None:
    run = bench.run("/bin/true", container=docker_images.shellless)
    fact = run.fact()
    image = docker_images.image(docker_images.shellless)
    assert fact == RefusedByNode(f"image {image} has no /bin/sh that can be run", for_good=True)


@pytest.mark.docker
@pytest.mark.parametrize("kind", ["docker"], indirect=True)
def test_an_image_that_is_not_there_is_told(bench: Bench) -> None:
    with pytest.raises(CannotStart, match=r"the image of environment 'nowhere' is not on bench"):
        bench.run("true", container="nowhere")
