"""One attempt on this node, and how its end becomes a report: data and pure functions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from enum import Enum

from hakuriver.model.messages import Attempt, Held, Report, RunOrder
from hakuriver.model.task import Ended, Observed, RefusedByNode, Result, State, Wish
from hakuriver.runner.drivers import Assignment, Ending


class Phase(Enum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


_STATES = {
    Phase.QUEUED: State.STARTING,
    Phase.STARTING: State.STARTING,
    Phase.RUNNING: State.RUNNING,
    Phase.PAUSED: State.PAUSED,
}


@dataclass(slots=True)
class Job:
    """Changed only under the agent's lock; verbs hold `lock` meanwhile, so that they take turns.

    n is the number of the newest report. kind is "docker" or "node" (without a container), driver
    the name of what runs it. signal_at is when a kill was last begun. final is the
    report of the end, which is in the ledger by then.
    """

    key: Attempt
    order: RunOrder | None
    n: int
    record: int = 1
    phase: Phase = Phase.QUEUED
    wish: Wish | None = None
    wish_n: int = 0
    wish_done: int = 0
    signal_at: float | None = None
    started_at: float | None = None
    final: Report | None = None
    kind: str = ""
    driver: str = ""
    unit_name: str | None = None
    image: str | None = None
    image_version: int | None = None
    image_path: str = ""
    note: str = ""
    tries: int = 0
    assignment: Assignment | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def ended(self) -> bool:
        """It is over, though what became of it may still be on its way to the disk."""
        return self.phase is Phase.ENDED

    @property
    def wish_open(self) -> bool:
        return self.wish is not None and self.wish_n > self.wish_done

    def held(self) -> Held:
        state = _STATES.get(self.phase)
        return Held(self.key[0], self.key[1], state, self.n)

    def report(self) -> Report:
        """What there is to say now."""
        if self.final is not None:
            return self.final
        return self._report(Observed(_STATES[self.phase]))

    def report_end(self, ending: Ending, n: int) -> Report:
        """The final report; job and ledger take it afterwards."""
        started = self.assignment.started() if self.assignment else None
        if started is not None and not started.by_runner:
            self.started_at = started.at
        fact = fact_of(ending, signal_at=self.signal_at)
        return replace(self._report(fact), n=n, ended_at=ending.ended_at, note="")

    def _report(self, fact: Observed | Ended | RefusedByNode) -> Report:
        return Report(
            task=self.key[0],
            attempt=self.key[1],
            n=self.n,
            fact=fact,
            started_at=self.started_at,
            driver=self.driver or None,
            unit_name=self.unit_name,
            image=self.image,
            image_version=self.image_version,
            note=self.note,
            wish_n=self.wish_done,
        )


_UNABLE = {
    "workdir": "the shared directory's shared_data cannot be entered on this node",
    "stdout": "the log for stdout cannot be opened by the task's user",
    "stderr": "the log for stderr cannot be opened by the task's user",
    "env": "the shell there cannot set one of the environment variables; see stderr",
}


def fact_of(ending: Ending, *, signal_at: float | None) -> Ended | RefusedByNode:
    """A kill counts only if it was begun before the command ended by itself."""
    killed = signal_at is not None and signal_at <= ending.ended_at
    record = ending.record
    if ending.never_ran or (record is not None and record.unable):
        if killed:
            return Ended(Result(None, kill_sent=True))
        reason = ending.never_ran or _UNABLE[record.unable if record else ""]
        return RefusedByNode(reason, for_good=not ending.again)
    if record is None:
        problem = ending.problem
        if killed:
            # Without a code of its own it may have run for hours: not "killed before it started".
            problem = f"killed on request; {problem}" if ending.exit_code is None else ""
        return Ended(Result(ending.exit_code, kill_sent=killed, problem=problem))
    return Ended(
        Result(
            record.exit_code,
            kill_sent=killed,
            oom=bool(record.oom_kills),
            problem=ending.problem,
            peak_memory=record.peak_memory,
            cpu_seconds=record.cpu_seconds,
        )
    )
