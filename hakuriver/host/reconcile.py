"""What a runner's message means for the tasks that the host knows: pure decisions.

Every message may be lost, repeated, late or overtaken; the rules here make that harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hakuriver.model.errors import Conflict
from hakuriver.model.messages import Attempt, Heartbeat, Held, Report, Seq
from hakuriver.model.task import (
    Cancelled,
    Ended,
    Forgotten,
    IllegalTransition,
    Observed,
    RefusedByNode,
    Requeued,
    State,
    Status,
    Task,
    Undelivered,
    Unreachable,
    Vanished,
    Wish,
    advance,
    explain_exit,
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do about one report. task is None if it changes nothing; kill: it is stale there."""

    task: Task | None = None
    acknowledge: bool = True
    kill: bool = False
    complaint: str = ""


def judge_report(
    report: Report, task: Task | None, *, node: str, incarnation: int, offset: float, now: float
) -> Judgement:
    """offset is what must be added to the runner's times to have the host's."""
    if task is None:
        return Judgement(complaint=f"{node} reports on task {report.task}, which is not known here")
    if report.attempt > task.attempt:
        return Judgement(
            complaint=f"{node} reports attempt {report.attempt} of task {task.id}, "
            f"here it is at {task.attempt}: is the database an older copy?"
        )
    going_on = isinstance(report.fact, Observed)
    # With no node it waits, or was killed while it did: an order that never arrived was taken back,
    # and its kill had overtaken it.
    if report.attempt < task.attempt or task.node is None:
        return Judgement(kill=going_on)
    if task.node != node:
        return Judgement(
            acknowledge=False,
            complaint=f"{node} reports on task {task.id}, which belongs to {task.node}",
        )
    if report.n <= task.report_n:
        return Judgement()
    if task.status.final:
        return Judgement(_fill(task, report), kill=going_on)
    try:
        return Judgement(_apply(task, report, incarnation=incarnation, offset=offset, now=now))
    except IllegalTransition as error:
        return Judgement(complaint=f"{node} reports on task {task.id}: {error}")


def _fill(task: Task, report: Report) -> Task | None:
    """A final status never moves; what is empty may be filled (a forgotten task's exit code)."""
    if not isinstance(report.fact, Ended):
        return None
    result = report.fact.result
    return replace(
        task,
        report_n=report.n,
        exit_code=result.exit_code if task.exit_code is None else task.exit_code,
        peak_memory=task.peak_memory or result.peak_memory,
        cpu_seconds=task.cpu_seconds or result.cpu_seconds,
    )


def _apply(task: Task, report: Report, *, incarnation: int, offset: float, now: float) -> Task:
    fact = report.fact
    status = advance(task.status, fact)
    if isinstance(fact, RefusedByNode) and not fact.for_good:
        return back_to_pending(task, message=fact.reason, next_attempt=True, now=now)
    started = None if report.started_at is None else min(report.started_at + offset, now)
    ended = None if report.ended_at is None else min(report.ended_at + offset, now)
    task = replace(
        task,
        status=status,
        report_n=report.n,
        incarnation=incarnation,
        message=report.note,
        # A runner's clock may be wrong by any amount, what it says of spans is right.
        started_at=started if task.started_at is None or status.final else task.started_at,
        driver=report.driver or task.driver,
        unit_name=report.unit_name or task.unit_name,
        image=report.image or task.image,
        image_version=report.image_version or task.image_version,
        wish=None if report.wish_n >= task.wish_n or status.final else task.wish,
    )
    match fact:
        case Ended(result):
            return replace(
                task,
                completed_at=ended if ended is not None else now,
                exit_code=result.exit_code,
                message=explain_exit(result),
                peak_memory=result.peak_memory,
                cpu_seconds=result.cpu_seconds,
            )
        case RefusedByNode(reason=reason):
            return replace(task, completed_at=now, message=reason)
        case _:
            return task


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Tasks as a heartbeat leaves them, attempts that the node must kill, and remarks."""

    tasks: tuple[Task, ...]
    kill: frozenset[Attempt]
    complaints: tuple[str, ...]


def reconcile(
    heartbeat: Heartbeat,
    tasks: Mapping[int, Task],
    seqs: Mapping[int, Seq],
    *,
    last_id: int = 0,
    now: float,
) -> Reconciled:
    """Compare what a runner holds with what the host believes.

    tasks: those that are on this node and those that the runner lists. seqs: of the tasks on
    this node, the number of the order that brought them there. last_id: the highest number that this
    database has given out; up to it, a task that is not there was over, and pruned.
    """
    changed: list[Task] = []
    kill: set[Attempt] = set()
    complaints: list[str] = []
    for entry in heartbeat.held:
        task = tasks.get(entry.task)
        if task is None and entry.task <= last_id:
            kill |= set() if entry.state is None else {entry.key}
        elif task is None or entry.attempt > task.attempt:
            complaints.append(
                f"{heartbeat.node} holds attempt {entry.attempt} of task {entry.task}, unknown here"
            )
        elif entry.state is not None and _stale(entry, task, heartbeat.node):
            kill.add(entry.key)
        elif entry.state is not None:
            changed += _seen(task, entry.state, entry.n)
    held = {entry.key for entry in heartbeat.held}
    for task_id, seq in seqs.items():
        task = tasks[task_id]
        # What an earlier incarnation has reported was in its ledger, whatever that has seen since.
        seen = seq <= heartbeat.orders_seen or 0 < task.incarnation < heartbeat.incarnation
        if seen and (task.id, task.attempt) not in held:
            changed += _missing(task, heartbeat, now)
    return Reconciled(tuple(changed), frozenset(kill), tuple(complaints))


def _stale(entry: Held, task: Task, node: str) -> bool:
    """Going on there although it is over here: an older attempt, forgotten, or given away.

    A list that was made before the end was reported has an older number: not stale, just late.
    """
    if entry.attempt < task.attempt or task.node != node:
        return True
    return task.status.final and entry.n >= task.report_n


def _seen(task: Task, state: State, n: int) -> list[Task]:
    if task.status.final or n < task.report_n:
        return []
    status = advance(task.status, Observed(state))
    return [replace(task, status=status, message="")] if status is not task.status else []


def _missing(task: Task, heartbeat: Heartbeat, now: float) -> list[Task]:
    """A new incarnation has searched its machine; an old one that forgets is beyond judging."""
    if task.incarnation and heartbeat.incarnation != task.incarnation:
        return [vanished(task, now)]
    return [unreachable(task)] if task.status is not Status.LOST else []


def vanished(task: Task, now: float) -> Task:
    return replace(
        task,
        status=advance(task.status, Vanished()),
        completed_at=now,
        wish=None,
        message=f"{task.node} came back without it; how far it got is unknown",
    )


def unreachable(task: Task) -> Task:
    return replace(
        task,
        status=advance(task.status, Unreachable()),
        message=f"{task.node} does not answer; the task may still be running there",
    )


def back_to_pending(task: Task, *, message: str, next_attempt: bool, now: float) -> Task:
    """To be placed again, or killed if that was asked for meanwhile.

    The attempt stays only if no node has ever heard of it.
    """
    fact = RefusedByNode(message, for_good=False) if next_attempt else Undelivered()
    again = _anew(replace(task, status=advance(task.status, fact)), message, next_attempt)
    return cancelled(again, now) if task.wish is Wish.KILL else again


def requeued(task: Task) -> Task:
    return _anew(replace(task, status=advance(task.status, Requeued())), "", True)


def _anew(task: Task, message: str, next_attempt: bool) -> Task:
    return replace(
        task,
        attempt=task.attempt + 1 if next_attempt else task.attempt,
        message=message,
        node=None,
        exit_code=None,
        assigned_at=None,
        started_at=None,
        completed_at=None,
        wish=None,
        report_n=0,
        incarnation=0,
        driver=None,
        unit_name=None,
        image=None,
        image_version=None,
        peak_memory=None,
        cpu_seconds=None,
        logs_pruned=False,
    )


def forgotten(task: Task, by: str, now: float) -> Task:
    return replace(
        task,
        status=advance(task.status, Forgotten()),
        completed_at=now,
        wish=None,
        message=f"forgotten by {by or 'somebody'}; it may still be running on {task.node}",
    )


def wished(task: Task, wish: Wish, now: float) -> Task:
    """As it is once somebody has asked for this: a waiting one is killed at once. Raises Conflict."""
    if task.status.final:
        raise Conflict(f"task {task.id} is over: {task.status.value}")
    if task.status is Status.PENDING:
        if wish is not Wish.KILL:
            raise Conflict(f"task {task.id} has not started, it cannot be {wish.value}d")
        return cancelled(task, now)
    if task.wish is Wish.KILL and wish is not Wish.KILL:
        raise Conflict(f"task {task.id} is being killed")
    return replace(task, wish=wish, wish_n=task.wish_n + 1)


def cancelled(task: Task, now: float) -> Task:
    return replace(
        task,
        status=advance(task.status, Cancelled()),
        completed_at=now,
        wish=None,
        message="killed before it started",
    )
