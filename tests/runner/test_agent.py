"""A runner takes on every order once, carries out every wish, and says nothing before it is on disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakuriver.model.errors import Conflict, Unavailable
from hakuriver.model.messages import Orders, Report
from hakuriver.model.task import Ended, Observed, RefusedByNode, Result, State, Status, Wish
from tests.runner.desk import CLUSTER, Desk, order, wish
from tests.support.fake_driver import CANNOT, DEAF, TERM

SECOND = order(8, seq=(1, 2))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.ledger.close()


def end(desk: Desk, task: int = 7) -> Result:
    """How a task ended, as it will be reported."""
    fact = desk.reports()[task, 1].fact
    assert isinstance(fact, Ended)
    return fact.result


def state(desk: Desk, task: int = 7) -> State | None:
    """As the next heartbeat tells it."""
    (held,) = [held for held in desk.jobs.held() if held.task == task]
    return held.state


# Orders


def test_an_order_is_on_disk_before_it_is_answered_and_runs_once(desk: Desk) -> None:
    answer = desk.accept(order(), SECOND)
    assert answer.orders == {(1, 1), (1, 2)}
    assert [entry.key for entry in desk.ledger.entries()] == [(7, 1), (8, 1)]
    assert desk.ledger.orders_seen == (1, 2)
    desk.work()
    assert desk.times_run(7) == desk.times_run(8) == 1
    assert state(desk) is State.RUNNING


@pytest.mark.parametrize("moment", ["queued", "running", "ended", "acknowledged", "restarted"])
def test_a_known_order_is_accepted_again_and_not_started_again(desk: Desk, moment: str) -> None:
    desk.accept(order())
    if moment != "queued":
        desk.work()
    if moment in ("ended", "acknowledged"):
        desk.finish()
    if moment == "acknowledged":
        desk.acknowledge()
        assert desk.jobs.held() == []
    if moment == "restarted":
        desk.restart()
    assert desk.accept(order(), order(seq=(1, 9))).orders == {(1, 1), (1, 9)}
    desk.work()
    assert desk.times_run() == 1


def test_an_order_below_the_closed_number_is_accepted_and_never_run(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.finish()
    desk.acknowledge()
    desk.ledger.close_below((2, 1))
    assert not desk.ledger.known((7, 1)), "the tombstone is gone"
    for _ in range(2):
        assert desk.accept(order(), order(99, seq=(1, 7))).orders == {(1, 1), (1, 7)}
        desk.work()
        desk.restart()
    assert desk.times_run() == 1
    assert desk.times_run(99) == 0


def test_another_attempt_is_another_order(desk: Desk) -> None:
    desk.accept(order())
    desk.accept(order(attempt=2, seq=(1, 2)))
    desk.work()
    assert desk.times_run(7, 1) == desk.times_run(7, 2) == 1


def test_orders_of_another_cluster_or_node_are_refused(desk: Desk) -> None:
    for message in (Orders("other", "n1", (order(),)), Orders(CLUSTER, "n2", (order(),))):
        with pytest.raises(Conflict):
            desk.agent.accept(message)
    assert desk.ledger.entries() == []


def test_what_cannot_be_written_is_not_answered_and_not_run(desk: Desk) -> None:
    take = desk.ledger.take

    def full(*args: object, **more: object) -> None:
        raise Unavailable("the disk is full")

    desk.ledger.take = full  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        desk.accept(order(), wishes=(wish(task=9, seq=(1, 9)),))
    desk.work()
    assert desk.jobs.held() == []
    desk.ledger.take = take  # type: ignore[method-assign]
    desk.accept(order())
    desk.work()
    assert desk.times_run() == 1


def test_an_order_that_cannot_be_carried_out_is_refused_for_good(desk: Desk) -> None:
    desk.accept(order(argv=(CANNOT,)), order(8, seq=(1, 2), container="base"))
    desk.work()
    assert desk.reports()[7, 1].fact == RefusedByNode("it cannot be started here", for_good=True)
    assert desk.reports()[8, 1].fact == RefusedByNode("n1 takes no containers", for_good=True)


@pytest.mark.parametrize("for_long", [False, True])
def test_a_runner_that_lacks_something_starts_it_later_or_gives_it_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, for_long: bool
) -> None:
    """Were it refused for good, the node without room would fail all that waits in the queue."""

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", full)
        desk.accept(order())
        desk.work()
        assert "No space left" in desk.reports()[7, 1].note
        for _ in range(10 if for_long else 0):
            desk.wait(2)
    desk.wait(2)
    fact = desk.reports()[7, 1].fact
    if for_long:
        assert isinstance(fact, RefusedByNode)
        assert not fact.for_good
    assert desk.times_run() == (0 if for_long else 1)


def test_an_unfit_runner_sends_the_task_elsewhere_without_running_it(desk: Desk) -> None:
    desk.unfit = "the shared directory is not mounted"
    desk.accept(order())
    desk.work()
    fact = desk.reports()[7, 1].fact
    assert fact == RefusedByNode("the shared directory is not mounted", for_good=False)
    desk.unfit = ""
    desk.restart()
    desk.work()
    assert desk.times_run() == 0, "it was given back, and stays given back"


# Kills


def test_a_kill_that_overtakes_its_order_is_a_tombstone(desk: Desk) -> None:
    answer = desk.accept(wishes=(wish(),))
    assert answer.wishes == {(7, 1, 1)}
    assert end(desk) == Result(None, kill_sent=True)
    desk.restart()
    assert end(desk) == Result(None, kill_sent=True)
    assert desk.accept(order()).orders == {(1, 1)}
    desk.work()
    desk.acknowledge()
    desk.restart()
    desk.accept(order())
    desk.work()
    assert desk.times_run() == 0


def test_a_kill_in_the_same_message_as_its_order_runs_nothing(desk: Desk) -> None:
    desk.accept(order(), wishes=(wish(),))
    desk.work()
    assert end(desk) == Result(None, kill_sent=True)
    assert desk.times_run() == 0


def test_a_kill_of_a_queued_task_runs_nothing(desk: Desk) -> None:
    desk.accept(order())
    desk.accept(wishes=(wish(),))
    desk.verbs.popleft()()
    desk.work()
    assert (desk.times_run(), end(desk).status) == (0, Status.KILLED)


@pytest.mark.parametrize("place", ["before prepare", "after prepare"])
def test_a_kill_during_the_start_is_seen_before_the_point_of_no_return(
    desk: Desk, place: str
) -> None:
    desk.hook = once(place, lambda: desk.accept(wishes=(wish(),)))
    desk.accept(order())
    desk.work()
    assert (desk.times_run(), end(desk)) == (0, Result(None, kill_sent=True))


@pytest.mark.parametrize("place", ["before start", "after start"])
def test_a_kill_that_comes_too_late_for_the_start_is_carried_out_after_it(
    desk: Desk, place: str
) -> None:
    desk.hook = once(place, lambda: desk.accept(wishes=(wish(),)))
    desk.accept(order())
    desk.work()
    desk.wait(10)
    assert end(desk).status is Status.KILLED


def once(place: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A hook that acts at the first time that this place is come by."""
    left = [act]

    def hook(name: str) -> None:
        if name == place and left:
            left.pop()()

    return hook


def test_a_kill_ends_the_command_and_keeps_its_exit_code(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.accept(wishes=(wish(),))
    assert desk.machine.running() != []
    desk.work()
    assert end(desk) == Result(TERM, kill_sent=True)


def test_what_ignores_the_signal_is_killed_after_the_grace_period(desk: Desk) -> None:
    desk.accept(order(argv=(DEAF,)))
    desk.work()
    desk.accept(wishes=(wish(),))
    desk.work()
    desk.wait(9)
    assert state(desk) is State.RUNNING
    desk.wait(1)
    result = end(desk)
    assert result.status is Status.KILLED
    assert result.exit_code is None
    assert result.problem.startswith("killed on request"), "it did run"


def test_a_task_that_ended_by_itself_is_not_called_killed(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.machine.end(desk.machine.find((7, 1)), 3)
    desk.now += 5
    desk.accept(wishes=(wish(),))
    desk.work()
    assert end(desk) == Result(3)


def test_a_paused_task_can_be_killed(desk: Desk) -> None:
    desk.accept(order(), wishes=(wish(Wish.PAUSE, 1),))
    desk.work()
    assert state(desk) is State.PAUSED
    desk.accept(wishes=(wish(Wish.KILL, 2),))
    desk.work()
    desk.wait(10)
    assert end(desk).status is Status.KILLED


def test_a_kill_is_on_disk_before_the_driver_is_told(desk: Desk) -> None:
    seen: list[Wish | None] = []
    desk.accept(order())
    desk.work()
    desk.hook = lambda name: seen.extend(entry.wish for entry in desk.ledger.entries())
    desk.accept(wishes=(wish(),))
    desk.work()
    assert set(seen) == {Wish.KILL}


def test_attempts_that_the_host_has_given_up_are_killed_once(desk: Desk) -> None:
    desk.accept(order(), SECOND)
    desk.work()
    for _ in range(2):
        desk.agent.kill_stale([(7, 1), (99, 1)])
        desk.work()
    assert end(desk).status is Status.KILLED
    assert state(desk, 8) is State.RUNNING


# Pause and resume


def test_a_pause_that_overtakes_its_order_is_not_taken_on(desk: Desk) -> None:
    for kind in (Wish.PAUSE, Wish.RESUME):
        assert desk.accept(wishes=(wish(kind),)).wishes == frozenset()
    assert desk.ledger.entries() == []
    desk.accept(order())
    assert desk.accept(wishes=(wish(Wish.PAUSE),)).wishes == {(7, 1, 1)}
    desk.work()
    assert state(desk) is State.PAUSED


def test_a_wish_for_what_is_over_is_taken_and_changes_nothing(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.finish(3)
    for kind in Wish:
        assert desk.accept(wishes=(wish(kind, 5),)).wishes == {(7, 1, 5)}
    desk.work()
    assert end(desk) == Result(3)
    desk.acknowledge()
    desk.ledger.close_below((2, 1))
    assert desk.accept(wishes=(wish(Wish.KILL, 6),)).wishes == {(7, 1, 6)}
    assert desk.jobs.held() == []


def test_a_confirmed_wish_is_told_with_its_number(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    for n, kind, wanted in ((1, Wish.PAUSE, State.PAUSED), (2, Wish.RESUME, State.RUNNING)):
        desk.accept(wishes=(wish(kind, n),))
        desk.work()
        report = desk.reports()[7, 1]
        assert (report.fact, report.wish_n) == (Observed(wanted), n)


def test_an_older_wish_that_comes_late_changes_nothing(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    desk.accept(wishes=(wish(Wish.RESUME, 4),))
    desk.accept(wishes=(wish(Wish.PAUSE, 3),))
    desk.work()
    assert state(desk) is State.RUNNING


# Reports


def test_numbers_rise_with_every_report_of_every_incarnation(desk: Desk) -> None:
    numbers: list[int] = []
    desk.accept(order())
    for turn in range(3):
        desk.work()
        numbers.append(desk.reports()[7, 1].n)
        desk.accept(wishes=(wish(Wish.PAUSE if turn % 2 else Wish.RESUME, turn + 1),))
        desk.work()
        numbers.append(desk.reports()[7, 1].n)
        desk.restart()
    desk.work()
    desk.finish()
    numbers.append(desk.reports()[7, 1].n)
    assert numbers == sorted(numbers)
    assert len(set(numbers)) >= 6
    assert numbers[-1] < 2**53


def test_only_what_was_said_last_is_acknowledged(desk: Desk) -> None:
    desk.accept(order())
    desk.work()
    (early,) = desk.jobs.reports(10)
    desk.finish(3)
    desk.jobs.acknowledged([(7, 1, early.n)])
    assert end(desk) == Result(3)
    desk.acknowledge()
    assert desk.jobs.reports(10) == []
    assert desk.jobs.held() == []


def test_an_end_is_in_the_ledger_before_it_is_reported(desk: Desk) -> None:
    finish = desk.ledger.finish
    reported: list[Report] = []

    def watched(reports: object) -> None:
        reported.extend(desk.jobs.reports(10))
        finish(reports)  # type: ignore[arg-type]

    desk.accept(order())
    desk.work()
    desk.acknowledge()
    desk.ledger.finish = watched  # type: ignore[method-assign]
    desk.finish(3)
    assert not [report for report in reported if isinstance(report.fact, Ended)]
    assert desk.ledger.entries()[0].report == desk.reports()[7, 1]


def test_an_end_waits_for_room_on_the_disk_and_its_record_stays_until_then(desk: Desk) -> None:
    finish = desk.ledger.finish

    def full(reports: object) -> None:
        raise Unavailable("the disk is full")

    desk.accept(order())
    desk.work()
    desk.ledger.finish = full  # type: ignore[method-assign]
    desk.finish(3)
    desk.wait(1)
    assert (desk.folder / "records" / "7.1.1" / "exit").exists()
    assert all(isinstance(report.fact, Observed) for report in desk.jobs.reports(10))
    desk.ledger.finish = finish  # type: ignore[method-assign]
    desk.wait(1)
    assert end(desk) == Result(3)
    assert not (desk.folder / "records" / "7.1.1").exists()
