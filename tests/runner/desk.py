"""A runner without threads, processes and a host: what is queued is done when the test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hakuriver.model.messages import (
    Attempt,
    Orders,
    OrdersAnswer,
    Report,
    RunOrder,
    Seq,
    WishOrder,
)
from hakuriver.model.task import Wish
from hakuriver.runner.agent import Agent
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.recovery import Recovery
from hakuriver.runner.work import Hands, Place, Work, Worker
from tests.support.fake_driver import FakeDriver, Machine, nothing

CLUSTER, NODE = "c0ffee", "n1"


def order(task: int = 7, attempt: int = 1, seq: Seq = (1, 1), **changes: Any) -> RunOrder:
    return replace(RunOrder(seq, task, attempt, ("work",)), **changes)


def wish(
    kind: Wish = Wish.KILL, n: int = 1, task: int = 7, attempt: int = 1, seq: Seq = (1, 1)
) -> WishOrder:
    return WishOrder(seq, task, attempt, kind, n)


@dataclass(slots=True)
class Desk:
    """hook is called wherever a driver could be interrupted; failing() makes the ledger's disk full."""

    folder: Path
    now: float = 1000.0
    unfit: str = ""
    hook: Callable[[str], None] = nothing
    machine: Machine = field(init=False)
    ledger: Ledger = field(init=False)
    jobs: Jobs = field(init=False)
    worker: Worker = field(init=False)
    agent: Agent = field(init=False)
    driver: FakeDriver = field(init=False)
    starts: deque[Work] = field(default_factory=deque)
    verbs: deque[Work] = field(default_factory=deque)
    timers: list[tuple[float, Work]] = field(default_factory=list)
    woken: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "task_outputs").mkdir()
        (self.folder / "task_errors").mkdir()
        self.machine = Machine(lambda: self.now)
        self.open()

    def open(self) -> None:
        self.starts, self.verbs, self.timers, self.woken = deque(), deque(), [], []
        self.ledger = Ledger(self.folder, clock=lambda: self.now)
        if self.ledger.cluster is None:
            self.ledger.bind(CLUSTER)
        self.jobs = Jobs(self.ledger, self.woken.append)
        hands = Hands(
            start={"node": self.starts.append, "docker": self.starts.append},
            verbs=self.verbs.append,
            after=lambda seconds, work: self.timers.append((self.now + seconds, work)),
        )
        boot = f"boot {self.machine.boot}"
        place = Place(CLUSTER, NODE, self.folder, self.folder / "records", boot)
        self.worker = Worker(
            jobs=self.jobs,
            place=place,
            hands=hands,
            unfit=lambda: self.unfit,
            clock=lambda: self.now,
        )
        self.agent = Agent(ledger=self.ledger, jobs=self.jobs, worker=self.worker, hands=hands)
        self.driver = FakeDriver(
            self.machine, lambda ends: self.worker.ended(ends), lambda name: self.hook(name)
        )
        self.worker.drivers = {"node": self.driver}
        Recovery(self.jobs, self.worker, hands).recover()

    def restart(self) -> None:
        """As after a kill -9: queues and memory are gone. Commits do not need the close."""
        self.hook = nothing
        self.ledger.close()
        self.open()

    def accept(self, *orders: RunOrder, wishes: tuple[WishOrder, ...] = ()) -> OrdersAnswer:
        return self.agent.accept(Orders(CLUSTER, NODE, orders, wishes))

    def work(self) -> None:
        """All that can be done now, keepers included; commands go on."""
        while True:
            if self.starts:
                self.starts.popleft()()
            elif self.verbs:
                self.verbs.popleft()()
            elif self.driver.news():
                self.driver.tell()
            elif fresh := [k for k in self.machine.alive() if not (k.claimed or k.stopped)]:
                self.machine.claim(fresh[0])
            else:
                return

    def wait(self, seconds: float) -> None:
        """Time passes, and what was put off is done."""
        self.now += seconds
        due = [work for at, work in self.timers if at <= self.now]
        self.timers = [(at, work) for at, work in self.timers if at > self.now]
        for work in due:
            work()
        self.work()

    def finish(self, code: int = 0, task: int = 7, attempt: int = 1) -> None:
        self.machine.end(self.machine.find((task, attempt)), code)
        self.work()

    def reports(self) -> dict[Attempt, Report]:
        return {report.key: report for report in self.jobs.reports(1000)}

    def acknowledge(self) -> None:
        self.jobs.acknowledged((r.task, r.attempt, r.n) for r in self.jobs.reports(1000))

    def times_run(self, task: int = 7, attempt: int = 1) -> int:
        return self.machine.executions[task, attempt]
