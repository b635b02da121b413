"""A runner that was killed at any point goes on where it was, and starts nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hakuriver.model.task import Ended, RefusedByNode, Result, State, Status, Wish
from hakuriver.runner.record import claim
from tests.runner.desk import Desk, order, wish
from tests.support.fake_driver import TERM


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.ledger.close()


class Killed(BaseException):
    """The runner was killed with SIGKILL."""


def die_at(desk: Desk, place: str) -> None:
    """Work until the runner comes by this place for the first time, and is killed there."""

    def hook(name: str) -> None:
        if name == place:
            raise Killed

    desk.hook = hook
    with pytest.raises(Killed):
        desk.work()
    desk.restart()


def result(desk: Desk) -> Result:
    fact = desk.reports()[7, 1].fact
    assert isinstance(fact, Ended)
    return fact.result


@pytest.mark.parametrize(
    "place", ["before prepare", "after prepare", "before start", "after start"]
)
def test_a_start_that_was_cut_off_anywhere_runs_the_command_once(desk: Desk, place: str) -> None:
    desk.accept(order())
    die_at(desk, place)
    desk.work()
    assert desk.times_run() == 1
    desk.finish(5)
    assert result(desk) == Result(5)


@pytest.mark.parametrize(
    "place", ["before prepare", "after prepare", "before start", "after start"]
)
def test_a_start_that_is_cut_off_again_and_again_runs_the_command_once(
    desk: Desk, place: str
) -> None:
    desk.accept(order())
    for _ in range(3):
        if desk.starts:
            die_at(desk, place)
    desk.work()
    assert desk.times_run() == 1


def test_a_keeper_that_had_claimed_its_attempt_goes_on(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    keeper = desk.machine.find((7, 1))
    desk.restart()
    desk.work()
    assert desk.machine.running() == [keeper]
    (held,) = desk.jobs.held()
    assert held.state is State.RUNNING
    report = desk.reports()[7, 1]
    assert (report.unit_name, report.started_at) == (f"pid {keeper.pid}", 1000.0)


def test_a_keeper_that_had_not_claimed_its_attempt_never_will(desk: Desk) -> None:
    desk.accept(order())
    desk.starts.popleft()()
    (slow,) = desk.machine.alive()
    desk.restart()
    desk.machine.claim(slow)
    assert slow.over
    assert not slow.claimed
    desk.work()
    assert desk.times_run() == 1


def test_a_claim_that_was_cut_off_is_the_runners_again(desk: Desk) -> None:
    """Killed between its claim and the new number of the record folder in the ledger."""
    desk.accept(order())
    die_at(desk, "after prepare")
    desk.starts.clear()
    record = desk.folder / "records" / "7.1.1"
    assert not claim(record), "the restarted runner has it"
    desk.restart()
    desk.work()
    assert desk.times_run() == 1


def test_what_ended_while_the_runner_was_away_is_told(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.machine.end(desk.machine.find((7, 1)), 3)
    desk.now += 100
    desk.restart()
    desk.work()
    assert result(desk) == Result(3)
    assert desk.reports()[7, 1].ended_at == 1000.0


def test_a_kill_of_what_ended_while_the_runner_was_away_does_not_change_how(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.machine.end(desk.machine.find((7, 1)), 0)
    desk.now += 100
    desk.restart()
    desk.accept(wishes=(wish(),))
    while desk.verbs:
        desk.verbs.popleft()()
    desk.work()
    assert result(desk) == Result(0), "not killed before it started"


def test_an_end_that_was_told_is_told_again_and_cleaned_up_after(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.machine.end(desk.machine.find((7, 1)), 3)
    desk.driver.tell()
    first = desk.reports()[7, 1]
    assert (desk.folder / "records" / "7.1.1").exists()
    desk.restart()
    desk.work()
    assert desk.reports()[7, 1] == first, "with the same number"
    assert not (desk.folder / "records" / "7.1.1").exists()
    desk.acknowledge()
    desk.restart()
    assert desk.reports() == {}


@pytest.mark.parametrize("place", ["before kill", "after kill"])
def test_a_kill_that_was_cut_off_is_carried_out(desk: Desk, place: str) -> None:
    desk.accept(order())
    desk.work()
    desk.accept(wishes=(wish(),))
    desk.now += 1
    die_at(desk, place)
    desk.work()
    assert result(desk) == Result(TERM, kill_sent=True)


def test_a_second_kill_does_not_date_the_first_one_anew(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.accept(wishes=(wish(n=1),))
    while desk.verbs:
        desk.verbs.popleft()()
    assert not desk.machine.running()
    desk.now += 60
    desk.accept(wishes=(wish(n=2),))
    desk.restart()
    desk.work()
    assert result(desk) == Result(TERM, kill_sent=True)


@pytest.mark.parametrize("kind", [Wish.PAUSE, Wish.RESUME])
@pytest.mark.parametrize("place", ["before pause", "after pause"])
def test_a_pause_that_was_cut_off_is_carried_out_and_confirmed(
    desk: Desk, kind: Wish, place: str
) -> None:
    desk.accept(order())
    desk.work()
    desk.accept(wishes=(wish(kind, 3),))
    die_at(desk, place)
    desk.work()
    (held,) = desk.jobs.held()
    assert held.state is (State.PAUSED if kind is Wish.PAUSE else State.RUNNING)
    assert desk.reports()[7, 1].wish_n == 3


def test_a_reboot_ends_what_ran_and_starts_what_had_not(desk: Desk) -> None:
    desk.accept(order(7))
    desk.work()
    desk.accept(order(8, seq=(1, 2)))
    desk.machine.reboot()
    desk.restart()
    desk.work()
    assert result(desk).status is Status.FAILED
    assert result(desk).problem == "the node restarted; how far it got is unknown"
    assert desk.times_run(8) == 1


def test_what_had_ended_before_a_reboot_ended_as_it_did(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.machine.end(desk.machine.find((7, 1)), 4)
    desk.machine.reboot()
    desk.restart()
    desk.work()
    assert result(desk) == Result(4)


@pytest.mark.parametrize("place", ["before prepare", "after prepare"])
def test_a_task_that_was_started_after_a_reboot_survives_the_next_restart(
    desk: Desk, place: str
) -> None:
    desk.accept(order())
    die_at(desk, place)
    desk.machine.reboot()
    desk.restart()
    desk.work()
    assert desk.times_run() == 1
    desk.restart()
    desk.work()
    (held,) = desk.jobs.held()
    assert held.state is State.RUNNING, "it was accepted under another boot than it runs in"


def test_what_belongs_to_no_task_is_killed(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    stranger = desk.machine.spawn(desk.driver.watched[7, 1].assignment)
    stranger.claimed = True
    stranger.assignment = desk.worker.assignment(desk.worker.job(order(99)))
    desk.restart()
    assert stranger.over
    assert len(desk.machine.running()) == 1


def test_a_refusal_for_now_after_a_restart_is_about_what_never_ran(desk: Desk) -> None:
    desk.accept(order())
    die_at(desk, "after start")
    desk.unfit = "the shared directory is not mounted"
    desk.work()
    assert isinstance(desk.reports()[7, 1].fact, RefusedByNode)
    assert desk.times_run() == 0


def test_a_claim_that_was_cut_off_before_its_name_was_written_is_the_runners(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.accept(order())
    die_at_write(desk, monkeypatch)
    started = desk.folder / "records" / "7.1.1" / "started"
    assert started.read_bytes() == b""
    desk.restart()
    desk.work()
    assert desk.times_run() == 1


def die_at_write(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is cut off, and then the claim of the runner that finds it."""

    def hook(name: str) -> None:
        if name == "after prepare":
            raise Killed

    def write(descriptor: int, data: bytes) -> int:
        raise Killed

    desk.hook = hook
    with pytest.raises(Killed):
        desk.work()
    with monkeypatch.context() as patch:
        patch.setattr("hakuriver.runner.record.os.write", write)
        with pytest.raises(Killed):
            desk.restart()


def test_a_keeper_that_has_not_written_its_pid_yet_has_the_claim(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    (desk.folder / "records" / "7.1.1" / "started").write_bytes(b"")
    desk.restart()
    desk.work()
    assert desk.times_run() == 1
    assert result(desk).status is Status.FAILED
