"""What a runner's message means: lost, repeated, late or overtaken, it never changes the outcome."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.host.reconcile import (
    Judgement,
    back_to_pending,
    cancelled,
    forgotten,
    judge_report,
    reconcile,
    requeued,
    unreachable,
    vanished,
)
from hakuriver.model.messages import Fact, Heartbeat, Held, Report, Seq
from hakuriver.model.task import (
    FINAL,
    ON_NODE,
    Ended,
    IllegalTransition,
    Observed,
    RefusedByNode,
    Result,
    State,
    Status,
    Task,
    TaskSpec,
    Wish,
)

NOW = 1000.0
RUNNING, PAUSED = Observed(State.RUNNING), Observed(State.PAUSED)


def task(status: Status = Status.ASSIGNING, **changes: object) -> Task:
    known = Task(7, 7, TaskSpec(("true",)), status, 1.0, node="n1", assigned_at=2.0)
    return replace(known, **changes)  # type: ignore[arg-type]


def report(fact: Fact, n: int = 1, **changes: object) -> Report:
    return replace(Report(7, 1, n, fact), **changes)  # type: ignore[arg-type]


def judge(given: Report, known: Task | None, **changes: object) -> Judgement:
    context = {"node": "n1", "incarnation": 5, "offset": 0.0, "now": NOW, **changes}
    return judge_report(given, known, **context)  # type: ignore[arg-type]


def applied(given: Report, known: Task, **changes: object) -> Task:
    after = judge(given, known, **changes).task
    assert after is not None
    return after


# Reports


def test_a_report_on_an_unknown_task_is_acknowledged_and_complained_about() -> None:
    found = judge(report(RUNNING), None)
    assert found.acknowledge
    assert "not known" in found.complaint


def test_a_report_of_an_attempt_to_come_is_acknowledged_and_complained_about() -> None:
    found = judge(report(RUNNING, attempt=2), task())
    assert found.acknowledge
    assert found.task is None
    assert "older copy" in found.complaint


@pytest.mark.parametrize(("fact", "kill"), [(RUNNING, True), (Ended(Result(0)), False)])
def test_an_older_attempt_is_answered_with_a_kill_if_it_goes_on(fact: Fact, kill: bool) -> None:
    found = judge(report(fact, attempt=1), task(attempt=2))
    assert found == Judgement(kill=kill)


@pytest.mark.parametrize("status", [Status.PENDING, Status.KILLED])
def test_a_task_without_a_node_runs_nowhere(status: Status) -> None:
    """A kill that overtook its order is reported by a node that the task was taken back from."""
    known = task(status, node=None)
    assert judge(report(RUNNING), known) == Judgement(kill=True)
    assert judge(report(Ended(Result(None, kill_sent=True))), known) == Judgement()


def test_nobody_reports_on_the_tasks_of_others() -> None:
    found = judge(report(Ended(Result(0))), task(node="n2"))
    assert not found.acknowledge
    assert found.task is None
    assert "belongs to n2" in found.complaint


@pytest.mark.parametrize("n", [3, 4])
def test_what_is_not_newer_is_acknowledged_and_dropped(n: int) -> None:
    known = task(Status.RUNNING, report_n=4)
    assert judge(report(Ended(Result(0)), n), known) == Judgement()


def test_an_end_fills_in_everything_at_once() -> None:
    given = report(
        Ended(Result(3, peak_memory=99, cpu_seconds=1.5)), 4,
        started_at=100.0, ended_at=160.0, driver="docker", unit_name="u", image="i", note="x",
    )  # fmt: skip
    after = applied(
        given, task(Status.RUNNING, wish=Wish.PAUSE, wish_n=2, started_at=90.0), offset=10.0
    )
    assert after.status is Status.FAILED
    assert (after.exit_code, after.message) == (3, "exit code 3")
    assert (after.started_at, after.completed_at) == (110.0, 170.0), "by the host's clock"
    assert (after.driver, after.unit_name, after.image) == ("docker", "u", "i")
    assert (after.peak_memory, after.cpu_seconds) == (99, 1.5)
    assert (after.report_n, after.incarnation, after.wish) == (4, 5, None)


@pytest.mark.parametrize("skew", [-10_000.0, 0.0, 10_000.0])
def test_a_runners_wrong_clock_never_puts_an_end_into_the_future(skew: float) -> None:
    given = report(Ended(Result(0)), started_at=500 + skew, ended_at=990 + skew)
    after = applied(given, task(), offset=-skew)
    assert (after.started_at, after.completed_at) == (500.0, 990.0)
    after = applied(report(Ended(Result(0)), ended_at=5000.0), task())
    assert after.completed_at == NOW


def test_an_end_without_a_time_ends_now() -> None:
    assert applied(report(Ended(Result(0))), task()).completed_at == NOW


def test_a_wish_is_confirmed_by_its_number() -> None:
    known = task(Status.RUNNING, wish=Wish.PAUSE, wish_n=3)
    assert applied(report(PAUSED, wish_n=2), known).wish is Wish.PAUSE
    assert applied(report(PAUSED, wish_n=3), known).wish is None


def test_a_refusal_for_good_fails_with_the_nodes_reason() -> None:
    after = applied(report(RefusedByNode("no such image", for_good=True)), task())
    assert (after.status, after.message, after.completed_at) == (
        Status.FAILED, "no such image", NOW,
    )  # fmt: skip


@pytest.mark.parametrize("status", sorted(ON_NODE))
def test_a_refusal_for_now_makes_a_new_attempt(status: Status) -> None:
    after = applied(report(RefusedByNode("full", for_good=False)), task(status, report_n=0))
    assert (after.status, after.attempt, after.node, after.message) == (
        Status.PENDING, 2, None, "full",
    )  # fmt: skip
    assert (after.report_n, after.incarnation) == (0, 0)


def test_a_refusal_of_a_task_that_was_to_be_killed_kills_it() -> None:
    known = task(wish=Wish.KILL, wish_n=1)
    after = applied(report(RefusedByNode("full", for_good=False)), known)
    assert (after.status, after.completed_at, after.wish) == (Status.KILLED, NOW, None)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_status_never_moves_and_what_goes_on_is_killed(status: Status) -> None:
    known = task(status, exit_code=0)
    assert judge(report(RUNNING), known) == Judgement(kill=True)
    after = applied(report(Ended(Result(9, kill_sent=True))), known)
    assert (after.status, after.exit_code) == (status, 0)


def test_a_forgotten_task_may_still_learn_its_exit_code() -> None:
    known = forgotten(task(Status.LOST), "me", NOW)
    after = applied(report(Ended(Result(4, peak_memory=5, cpu_seconds=6.0))), known)
    assert (after.status, after.message) == (Status.FAILED, known.message)
    assert (after.exit_code, after.peak_memory, after.cpu_seconds) == (4, 5, 6.0)


facts = st.sampled_from([Observed(State.STARTING), RUNNING, PAUSED])
ends = st.sampled_from(
    [Ended(Result(0)), Ended(Result(5)), Ended(Result(143, kill_sent=True)), RefusedByNode("no", True)]
)  # fmt: skip


@given(st.lists(facts, max_size=4), ends, st.randoms(use_true_random=False))
def test_reports_in_any_order_and_number_come_to_the_same(
    before: list[Fact], end: Fact, rng: random.Random
) -> None:
    reports = [report(fact, n, ended_at=9.0) for n, fact in enumerate([*before, end], 1)]
    in_order = task()
    for each in reports:
        in_order = judge(each, in_order).task or in_order
    shuffled = reports * 3
    rng.shuffle(shuffled)
    known = task()
    for each in shuffled:
        found = judge(each, known)
        assert found.acknowledge
        known = found.task or known
    assert replace(known, started_at=None) == replace(in_order, started_at=None)
    assert known.status.final


@given(st.lists(st.tuples(facts, st.integers(1, 5)), max_size=10))
def test_the_newest_observation_wins(given: list[tuple[Observed, int]]) -> None:
    known = task()
    newest: tuple[int, Observed] = (0, Observed(State.STARTING))
    for fact, n in given:
        known = judge(report(fact, n), known).task or known
        if n > newest[0]:
            newest = (n, fact)
    wanted = {"starting": "assigning"}.get(newest[1].state.value, newest[1].state.value)
    assert known.status.value == wanted


# Heartbeats


def beat(*held: Held, seen: Seq = (1, 9), incarnation: int = 5) -> Heartbeat:
    return Heartbeat("n1", incarnation, 1, seen, held)


def looked(given: Heartbeat, known: Task, seq: Seq | None = (1, 1)) -> Task | None:
    """What becomes of one task."""
    found = reconcile(given, {known.id: known}, {} if seq is None else {known.id: seq}, now=NOW)
    assert len(found.tasks) <= 1
    return found.tasks[0] if found.tasks else None


def kills(given: Heartbeat, known: Task) -> bool:
    return bool(reconcile(given, {known.id: known}, {}, now=NOW).kill)


HELD = Held(7, 1, State.RUNNING, 3)


def test_a_task_that_is_there_is_not_lost() -> None:
    after = looked(beat(HELD), unreachable(task(Status.RUNNING, report_n=3)))
    assert after is not None
    assert (after.status, after.message) == (Status.RUNNING, "")


def test_a_list_says_nothing_new_of_what_is_known() -> None:
    assert looked(beat(HELD), task(Status.RUNNING, report_n=3)) is None


def test_an_older_list_than_the_last_report_is_not_believed() -> None:
    assert looked(beat(HELD), task(Status.PAUSED, report_n=4)) is None
    assert not kills(beat(HELD), task(Status.COMPLETED, report_n=4))


def test_what_has_ended_there_is_not_missing() -> None:
    assert looked(beat(Held(7, 1, None, 3)), task(Status.RUNNING)) is None


@pytest.mark.parametrize(
    "known",
    [
        task(attempt=2),
        task(node="n2"),
        task(Status.PENDING, node=None),
        task(Status.FAILED, report_n=3),
        task(Status.KILLED, node=None),
    ],
    ids=["an older attempt", "given to another", "taken back", "forgotten", "cancelled"],
)
def test_what_goes_on_although_it_is_over_is_killed(known: Task) -> None:
    assert kills(beat(HELD), known)
    assert not kills(beat(Held(7, 1, None, 3)), known), "it has ended already"


def test_an_attempt_that_nobody_knows_is_complained_about_and_left_alone() -> None:
    found = reconcile(beat(HELD), {}, {}, now=NOW)
    assert not found.kill
    assert len(found.complaints) == 1
    assert reconcile(beat(Held(7, 2, State.RUNNING, 3)), {7: task()}, {}, now=NOW).complaints


def test_absence_says_nothing_of_orders_that_the_list_has_not_seen() -> None:
    assert looked(beat(seen=(1, 4)), task(Status.ASSIGNING), (1, 5)) is None
    assert looked(beat(seen=(1, 99)), task(Status.ASSIGNING), (2, 1)) is None


def test_what_the_same_incarnation_no_longer_lists_is_lost() -> None:
    after = looked(beat(), task(Status.RUNNING, incarnation=5))
    assert after is not None
    assert after.status is Status.LOST
    assert looked(beat(), task(Status.LOST, incarnation=5)) is None


@pytest.mark.parametrize("status", sorted(ON_NODE))
def test_what_a_new_incarnation_does_not_list_has_failed(status: Status) -> None:
    after = looked(beat(incarnation=6), task(status, incarnation=5))
    assert after is not None
    assert after.status is Status.FAILED
    assert after.message == "n1 came back without it; how far it got is unknown"


def test_what_no_incarnation_was_seen_to_have_is_lost_and_not_failed() -> None:
    after = looked(beat(incarnation=6), task(Status.ASSIGNING, incarnation=0))
    assert after is not None
    assert after.status is Status.LOST


# Acts and rules


def test_a_new_attempt_knows_nothing_of_the_last_one() -> None:
    old = task(
        Status.LOST, report_n=9, incarnation=5, driver="docker", unit_name="u", image="i", started_at=3.0,
        wish=Wish.KILL, wish_n=4, peak_memory=1, cpu_seconds=1.0, exit_code=1, completed_at=1.0,
    )  # fmt: skip
    new = requeued(old)
    assert new == Task(7, 7, old.spec, Status.PENDING, 1.0, attempt=2, wish_n=4)


def test_an_attempt_that_no_node_has_heard_of_stays_the_same() -> None:
    for status in (Status.ASSIGNING, Status.LOST):
        after = back_to_pending(task(status), message="away", next_attempt=False, now=NOW)
        assert (after.status, after.attempt, after.node) == (Status.PENDING, 1, None)
    wished = task(wish=Wish.KILL)
    assert back_to_pending(wished, message="", next_attempt=False, now=NOW).status is Status.KILLED


def test_rules_are_applied_only_where_they_fit() -> None:
    for status in set(Status) - {Status.LOST, Status.FAILED}:
        with pytest.raises(IllegalTransition):
            requeued(task(status))
    for status in set(Status) - {Status.LOST}:
        with pytest.raises(IllegalTransition):
            forgotten(task(status), "me", NOW)
    for status in set(Status) - {Status.PENDING}:
        with pytest.raises(IllegalTransition):
            cancelled(task(status), NOW)
    with pytest.raises(IllegalTransition):
        unreachable(task(Status.PENDING))
    with pytest.raises(IllegalTransition):
        vanished(task(Status.PENDING), NOW)


def test_a_forgotten_task_says_by_whom_and_what_may_be() -> None:
    after = forgotten(task(Status.LOST), "", NOW)
    assert after.message == "forgotten by somebody; it may still be running on n1"
