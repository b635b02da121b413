"""A host without network and threads, and a clock that the test winds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hakuriver.host.cluster import Cluster, Defaults
from hakuriver.host.fleet import Fleet, Timing
from hakuriver.host.identity import open_identity
from hakuriver.host.listing import Filter
from hakuriver.host.placement import NO_SUPPLY, Supply
from hakuriver.host.registry import Registry, Unsent
from hakuriver.host.rows import OpenOrder
from hakuriver.host.store import Store
from hakuriver.model.messages import (
    Fact,
    Heartbeat,
    Held,
    Orders,
    OrdersAnswer,
    Report,
    Reports,
    ReportsAnswer,
)
from hakuriver.model.node import Capacity, Engine, NodeInfo, NumaNode
from hakuriver.model.submission import read_submission
from hakuriver.model.task import Ended, Observed, Result, State, Status, Task

INTERVAL, SILENCE = 5.0, 20.0
RUNNING = Observed(State.RUNNING)


def node(name: str = "n1", **changes: Any) -> NodeInfo:
    info = NodeInfo(
        name, f"http://{name}:8001", f"instance of {name}", 1, "boot", "1.0", 1,
        Capacity(4, 8 << 30, 16, {0: NumaNode((0, 1), 4 << 30)}), "process",
        Engine("28", False), {"base": "sha256:1"},
    )  # fmt: skip
    return replace(info, **changes)


@dataclass(slots=True)
class Office:
    """beats counts heartbeats per node; told are the nodes that something has to be sent to.

    on_change is called with the ids of changed tasks after each commit.
    """

    folder: Path
    defaults: Defaults = field(default_factory=lambda: Defaults(container=None))
    supply: Supply = NO_SUPPLY
    why_missing: str = ""
    now: float = 1000.0
    told: list[str] = field(default_factory=list)
    rooms: int = 0
    beats: dict[str, int] = field(default_factory=dict)
    on_change: Callable[[set[int]], None] = lambda ids: None
    store: Store = field(init=False)
    registry: Registry = field(init=False)
    cluster: Cluster = field(init=False)
    fleet: Fleet = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder / "cluster.db", lambda ids: self.on_change(ids))
        with self.store.read() as tx:
            last = tx.meta("cluster"), int(tx.meta("epoch") or 0), tx.last_task_id()
            self.registry = Registry(tx.nodes())
        ids = open_identity(self.folder, last_cluster=last[0], last_epoch=last[1], last_id=last[2])
        self.store.write(lambda tx: tx.set_meta("cluster", ids.identity.cluster))
        self.store.write(lambda tx: tx.set_meta("epoch", str(ids.identity.epoch)))
        unsent = Unsent()
        self.fleet = Fleet(
            store=self.store, registry=self.registry, unsent=unsent, identity=ids.identity,
            timing=Timing(INTERVAL, SILENCE), on_orders=self.told.append, on_room=self._room,
            clock=lambda: self.now, monotonic=lambda: self.now,
        )  # fmt: skip
        self.cluster = Cluster(
            store=self.store, registry=self.registry, unsent=unsent, ids=ids, defaults=self.defaults,
            supply=lambda: self.supply, why_missing=lambda: self.why_missing,
            on_orders=self.told.append, on_room=self._room, clock=lambda: self.now,
        )  # fmt: skip

    def _room(self) -> None:
        self.rooms += 1

    def restart(self) -> None:
        """As after a kill -9: what is not on disk is gone."""
        self.store.close()
        self.open()

    # What users do

    def submit(self, *, key: str = "", **fields: Any) -> dict[str, Any]:
        command = {} if "sweep" in fields else {"command": "true"}
        body = {**command, "container_name": "NULL", **fields}
        return self.cluster.submit(read_submission(body), key=key, body=body)

    def one(self, **fields: Any) -> int:
        (task_id,) = self.submit(**fields)["task_ids"]
        return int(task_id)

    def task(self, task_id: int) -> Task:
        return self.cluster.task(task_id)

    def all(self) -> list[Task]:
        return self.cluster.tasks(Filter(limit=1000))

    # What a node does

    def join(self, name: str = "n1", **changes: Any) -> None:
        self.fleet.register(node(name, **changes))
        self.beats[name] = 0

    def beat(self, name: str = "n1", *held: Held, incarnation: int = 1, seen: Any = (0, 0)) -> Any:
        self.beats[name] = self.beats.get(name, 0) + 1
        return self.fleet.heartbeat(
            Heartbeat(name, incarnation, self.beats[name], seen, held, environments={"base": "sha256:1"},
                      engine=Engine("28", False))
        )  # fmt: skip

    def send(self, name: str = "n1") -> Orders | None:
        """What arrives at the node, and is taken on."""
        orders = self.fleet.outgoing(name)
        if orders is not None:
            answer = OrdersAnswer(
                frozenset(order.seq for order in orders.orders),
                frozenset((wish.task, wish.attempt, wish.n) for wish in orders.wishes),
            )
            self.fleet.delivered(name, answer)
        return orders

    def report(
        self, task_id: int, fact: Fact, n: int, name: str = "n1", **more: Any
    ) -> ReportsAnswer:
        given = replace(Report(task_id, self.attempt(task_id), n, fact), **more)
        return self.fleet.report(Reports(name, 1, self.now, (given,)))

    def attempt(self, task_id: int) -> int:
        return self.task(task_id).attempt

    def orders(self, name: str = "n1") -> list[OpenOrder]:
        with self.store.read() as tx:
            return tx.open_orders(name)

    # Tasks that got somewhere

    def assigned(self, name: str = "n1", **fields: Any) -> int:
        """Given to the node, which has not heard of it."""
        task_id = self.one(targets=[name], **fields)
        self.cluster.place()
        assert self.task(task_id).status is Status.ASSIGNING
        return task_id

    def running(self, name: str = "n1", **fields: Any) -> int:
        task_id = self.assigned(name, **fields)
        self.send(name)
        self.report(task_id, RUNNING, 1, name)
        assert self.task(task_id).status is Status.RUNNING
        return task_id

    def lost(self, name: str = "n1") -> int:
        task_id = self.running(name)
        self.silence()
        assert self.task(task_id).status is Status.LOST
        return task_id

    def ended(self, code: int = 0) -> int:
        task_id = self.running()
        self.report(task_id, Ended(Result(code)), 9)
        return task_id

    def silence(self) -> None:
        """Nobody says anything for long enough."""
        self.now += SILENCE + 1
        self.fleet.scan()
