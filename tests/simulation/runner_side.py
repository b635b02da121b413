"""One life of a runner: the real ledger, jobs, worker, agent and recovery, stepped by the simulation."""

from __future__ import annotations

import heapq
import itertools
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hakuriver.model.errors import HakuRiverError, NotFound, Unavailable
from hakuriver.model.messages import (
    Attempt,
    Heartbeat,
    HeartbeatAnswer,
    Orders,
    RegisterAnswer,
    Report,
    Reports,
    ReportsAnswer,
    RunOrder,
    Seq,
    WishOrder,
)
from hakuriver.model.node import Capacity, NodeInfo
from hakuriver.model.node_messages import node_to_json
from hakuriver.model.task import Wish
from hakuriver.runner.agent import Agent
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.recovery import Recovery
from hakuriver.runner.work import Hands, Place, Work, Worker
from tests.simulation.host_side import INTERVAL, Weather
from tests.simulation.network import Call, Network, Program
from tests.support.fake_driver import FakeDriver, Machine

_RETRY = 1.0
GRACE = 10.0
CAPACITY = Capacity(cores=2, memory=1 << 30, max_tasks=4)


class _Ledger(Ledger):
    """A ledger with a point before and after each commit that matters."""

    def __init__(
        self, folder: Path, clock: Callable[[], float], weather: Weather, program: Program
    ) -> None:
        self._weather = weather
        self._program = program
        super().__init__(folder, clock=clock)

    def _point(self, name: str, change: Callable[[], None]) -> None:
        self._weather.point(self._program, f"before {name}")
        if self._weather.disk_full(self._program.name):
            raise Unavailable("the runner's disk is full")
        change()
        self._weather.point(self._program, f"after {name}")

    def take(
        self,
        orders: Iterable[RunOrder],
        wishes: Iterable[WishOrder],
        tombstones: Iterable[tuple[WishOrder, Report]],
        *,
        boot: str,
    ) -> None:
        take = super().take
        self._point("locked take", lambda: take(orders, wishes, tombstones, boot=boot))

    def wish(self, key: Attempt, wish: Wish, n: int) -> None:
        change = super().wish
        self._point("locked wish", lambda: change(key, wish, n))

    def next_record(self, key: Attempt, boot: str) -> None:
        change = super().next_record
        self._point("locked next record", lambda: change(key, boot))

    def finish(self, reports: Iterable[Report]) -> None:
        finish = super().finish
        self._point("finish", lambda: finish(reports))

    def close_below(self, seq: Seq) -> None:
        change = super().close_below
        self._point("close below", lambda: change(seq))


@dataclass(slots=True)
class Node:
    """What of a node outlives its runner. lives counts the ledger's copies; skew: its clock's error."""

    name: str
    folder: Path
    machine: Machine
    skew: float
    lives: int = 0
    problem: str = ""

    def ledger_folder(self) -> Path:
        return self.folder / f"ledger-{self.lives}"

    def save_ledger(self) -> None:
        """As the disk is at this moment: what a killed program leaves to the next one."""
        old = self.ledger_folder()
        self.lives += 1
        new = self.ledger_folder()
        new.mkdir(parents=True)
        for name in ("ledger.db", "ledger.db-wal"):
            if (old / name).exists():
                shutil.copy(old / name, new / name)


@dataclass(slots=True)
class Loop:
    """A thread that asks the host one thing at a time."""

    due: float = 0.0
    busy: bool = False
    news: bool = False


@dataclass(slots=True)
class Queues:
    """Pools and timers; nothing in them is done before the simulation says so."""

    starts: deque[Work] = field(default_factory=deque)
    verbs: deque[Work] = field(default_factory=deque)
    timers: list[tuple[float, int, Work]] = field(default_factory=list)
    busy: bool = False


class Runner:
    def __init__(self, node: Node, shared: Path, weather: Weather, network: Network) -> None:
        self.name = node.name
        self.alive = True
        self.node = node
        self.recovering = True
        self._shared = shared
        self._weather = weather
        self._network = network
        self.queues = Queues()
        self.heart, self.reporter = Loop(), Loop()
        self._registered, self._beats = False, 0
        self._count = itertools.count()
        self._agent: Agent | None = None
        self.jobs: Jobs | None = None
        self.driver: FakeDriver | None = None
        self.ledger = _Ledger(node.ledger_folder(), self.clock, weather, self)
        self.incarnation = self.ledger.incarnation

    def clock(self) -> float:
        return self._weather.now() + self.node.skew

    def start(self) -> None:
        if self.ledger.cluster is not None:
            self._begin(self.ledger.cluster)
        self.recovering = False

    def die(self) -> None:
        if self.alive:
            self.alive = False
            self.node.save_ledger()

    def stop(self) -> None:
        """As SIGTERM ends it."""
        self.alive = False
        self.ledger.close()
        self.node.save_ledger()

    def close(self) -> None:
        self.ledger.close()

    def _begin(self, cluster: str) -> None:
        place = Place(
            cluster,
            self.name,
            self._shared,
            self.node.folder / "records",
            f"boot {self.node.machine.boot}",
            GRACE,
        )
        hands = Hands(
            start={"node": self.queues.starts.append},
            verbs=self.queues.verbs.append,
            after=self._after,
        )
        self.jobs = Jobs(self.ledger, self._wake)
        worker = Worker(
            jobs=self.jobs,
            place=place,
            hands=hands,
            unfit=lambda: self.node.problem,
            clock=self.clock,
        )
        agent = Agent(ledger=self.ledger, jobs=self.jobs, worker=worker, hands=hands)
        self.driver = FakeDriver(
            self.node.machine, worker.ended, lambda name: self._weather.point(self, name)
        )
        worker.drivers = {"node": self.driver}
        Recovery(self.jobs, worker, hands).recover()
        self._agent = agent

    def _after(self, seconds: float, work: Work) -> None:
        due = self._weather.now() + seconds
        heapq.heappush(self.queues.timers, (due, next(self._count), work))

    def _wake(self, final: bool) -> None:
        self.reporter.news = True

    def handle(self, route: str, document: Any) -> dict[str, Any]:
        orders = Orders.from_json(document)
        if self._agent is None:
            raise Unavailable(f"runner {self.name} is not registered yet")
        return self._agent.accept(orders).to_json()

    # Pools

    def can_do(self, queue: deque[Work]) -> bool:
        return bool(queue) and not self.queues.busy

    def do(self, queue: deque[Work]) -> None:
        self.queues.busy = True
        try:
            queue.popleft()()
        finally:
            self.queues.busy = False

    def timer_due(self) -> bool:
        timers = self.queues.timers
        return bool(timers) and timers[0][0] <= self._weather.now()

    def fire(self) -> None:
        self.queues.verbs.append(heapq.heappop(self.queues.timers)[2])

    # Heart

    def can_beat(self) -> bool:
        return not self.heart.busy and self._weather.now() >= self.heart.due

    def beat(self) -> None:
        self.heart.busy = True
        if self._registered:
            self._beats += 1
            call = self._call("heartbeat", self._answered, self._beaten, self._unheard)
            self._network.call(call, self._heartbeat().to_json())
        else:
            call = self._call("register", self._welcomed, self._introduced, self._unheard)
            self._network.call(call, node_to_json(self._describe()))

    def _call(
        self,
        route: str,
        take: Callable[[Any], None],
        then: Callable[[], None],
        fail: Callable[[HakuRiverError], None],
    ) -> Call:
        return Call(self, "host", route, take, then, fail)

    def _describe(self) -> NodeInfo:
        return NodeInfo(
            name=self.name,
            url=f"http://{self.name}",
            instance=self.ledger.instance,
            incarnation=self.incarnation,
            boot=f"boot {self.node.machine.boot}",
            version="1",
            protocol=1,
            capacity=CAPACITY,
            driver="process",
            problems=self._problems(),
        )

    def _problems(self) -> tuple[str, ...]:
        return (self.node.problem,) if self.node.problem else ()

    def _heartbeat(self) -> Heartbeat:
        seen = self.ledger.orders_seen
        held = self.jobs.held() if self.jobs else []
        return Heartbeat(
            node=self.name,
            incarnation=self.incarnation,
            n=self._beats,
            orders_seen=seen,
            held=tuple(held),
            problems=self._problems(),
        )

    def _welcomed(self, document: Any) -> None:
        answer = RegisterAnswer.from_json(document)
        if self.ledger.cluster != answer.cluster:
            self.ledger.bind(answer.cluster)
            self._begin(answer.cluster)

    def _introduced(self) -> None:
        self._registered = True
        self.heart.busy, self.heart.due = False, self._weather.now()

    def _answered(self, document: Any) -> None:
        answer = HeartbeatAnswer.from_json(document)
        try:
            self.ledger.close_below(answer.orders_closed_below)
            if self._agent is not None:
                self._agent.kill_stale(answer.kill)
        except Unavailable:
            pass

    def _beaten(self) -> None:
        self.heart.busy, self.heart.due = False, self._weather.now() + INTERVAL

    def _unheard(self, error: HakuRiverError) -> None:
        if isinstance(error, NotFound):
            self._registered = False
        self.heart.busy, self.heart.due = False, self._weather.now() + _RETRY

    # Reports

    def can_report(self) -> bool:
        return self.reporter.news and not self.reporter.busy and self._due_report()

    def _due_report(self) -> bool:
        return self._weather.now() >= self.reporter.due

    def report(self) -> None:
        self.reporter.news, self.reporter.busy = False, True
        self._send_reports()

    def _send_reports(self) -> None:
        assert self.jobs is not None
        reports = self.jobs.reports(500)
        if not reports:
            self.reporter.busy = False
            return
        complete = [True]
        failures: list[HakuRiverError] = []

        def take(document: Any) -> None:
            answer = ReportsAnswer.from_json(document)
            assert self.jobs is not None
            assert self._agent is not None
            self.jobs.acknowledged(answer.acknowledged)
            complete[0] = len(answer.acknowledged) >= len(reports)
            try:
                self._agent.kill_stale(answer.kill)
            except Unavailable as error:
                failures.append(error)

        def then() -> None:
            if failures:
                self._unreported(failures[0])
            elif complete[0]:
                self._send_reports()
            else:
                self.reporter.busy = False

        message = Reports(self.name, self.incarnation, max(self.clock(), 0), tuple(reports))
        call = self._call("reports", take, then, self._unreported)
        self._network.call(call, message.to_json())

    def _unreported(self, error: HakuRiverError) -> None:
        self.reporter.busy, self.reporter.news = False, True
        self.reporter.due = self._weather.now() + _RETRY
