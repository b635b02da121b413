"""One life of a host: the real cluster, fleet and store, stepped by the simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hakuriver.host.cluster import Cluster, Defaults
from hakuriver.host.fleet import Fleet, Timing
from hakuriver.host.identity import open_identity
from hakuriver.host.registry import Registry, Unsent
from hakuriver.host.rows import Tx
from hakuriver.host.store import Store
from hakuriver.model.errors import HakuRiverError, Unavailable, Unreachable
from hakuriver.model.messages import Heartbeat, Orders, OrdersAnswer, Reports
from hakuriver.model.node_messages import node_from_json
from tests.simulation.network import Call, Network, Program

T = TypeVar("T")
INTERVAL, SILENCE = 5.0, 20.0
_RETRY = 1.0


class Weather:
    """What can go wrong inside a program; the simulation decides when it does."""

    def now(self) -> float:
        raise NotImplementedError

    def point(self, program: Program, name: str) -> None:
        """Here others may come first, or the program may die."""
        raise NotImplementedError

    def disk_full(self, name: str) -> bool:
        raise NotImplementedError


class _Store(Store):
    """A store with a point before and after each commit."""

    def __init__(
        self,
        path: Path,
        on_change: Callable[[set[int]], None],
        weather: Weather,
        program: Program,
    ) -> None:
        super().__init__(path, on_change)
        self._weather = weather
        self._program = program

    def write(self, work: Callable[[Tx], T]) -> T:
        self._weather.point(self._program, "before commit")
        if self._weather.disk_full(self._program.name):
            raise Unavailable("the host's disk is full")
        result = super().write(work)
        self._weather.point(self._program, "after commit")
        return result


@dataclass(slots=True)
class Line:
    """As a thread of dispatch.py sends to one node: one message at a time."""

    woken: bool = False
    retry_at: float | None = None
    busy: bool = False

    def ready(self, now: float) -> bool:
        due = self.woken if self.retry_at is None else now >= self.retry_at
        return due and not self.busy


class Host:
    def __init__(
        self,
        folder: Path,
        weather: Weather,
        network: Network,
        on_change: Callable[[Host, set[int]], None],
    ) -> None:
        self.name = "host"
        self.alive = True
        self._weather = weather
        self._network = network
        self.lines: dict[str, Line] = {}
        self.placing, self.scanning = False, False
        self.room, self.place_at, self.scan_at = True, 0.0, 0.0
        self.store = _Store(folder / "cluster.db", lambda ids: on_change(self, ids), weather, self)
        self._shared = folder / "shared"

    def start(self) -> None:
        """As main.py does it. Raises HakuRiverError."""
        with self.store.read() as tx:
            last_cluster, last_epoch = tx.meta("cluster"), int(tx.meta("epoch") or 0)
            last_id, nodes = tx.last_task_id(), tx.nodes()
        ids = open_identity(
            self._shared, last_cluster=last_cluster, last_epoch=last_epoch, last_id=last_id
        )

        def remember(tx: Tx) -> None:
            tx.set_meta("cluster", ids.identity.cluster)
            tx.set_meta("epoch", str(ids.identity.epoch))

        self.store.write(remember)
        self.registry = Registry(nodes)
        unsent = Unsent()
        self.fleet = Fleet(
            store=self.store,
            registry=self.registry,
            unsent=unsent,
            identity=ids.identity,
            timing=Timing(INTERVAL, SILENCE),
            on_orders=self._wake,
            on_room=self._room,
            clock=self._weather.now,
            monotonic=self._weather.now,
        )
        self.cluster = Cluster(
            store=self.store,
            registry=self.registry,
            unsent=unsent,
            ids=ids,
            defaults=Defaults(container=None),
            on_orders=self._wake,
            on_room=self._room,
            clock=self._weather.now,
        )

    def die(self) -> None:
        self.alive = False

    def close(self) -> None:
        self.store.close()

    def _wake(self, node: str) -> None:
        self.lines.setdefault(node, Line()).woken = True

    def _room(self) -> None:
        self.room = True

    def handle(self, route: str, document: Any) -> dict[str, Any]:
        if route == "register":
            return self.fleet.register(node_from_json(document)).to_json()
        if route == "heartbeat":
            return self.fleet.heartbeat(Heartbeat.from_json(document)).to_json()
        return self.fleet.report(Reports.from_json(document)).to_json()

    # Tickers

    def can_place(self) -> bool:
        return not self.placing and (self.room or self._weather.now() >= self.place_at)

    def place(self) -> None:
        self.room, self.place_at, self.placing = False, self._weather.now() + 5.0, True
        try:
            self.cluster.place()
        except Unavailable:
            pass
        finally:
            self.placing = False

    def can_scan(self) -> bool:
        return not self.scanning and self._weather.now() >= self.scan_at

    def scan(self) -> None:
        self.scan_at, self.scanning = self._weather.now() + 5.0, True
        try:
            self.fleet.scan()
        except Unavailable:
            pass
        finally:
            self.scanning = False

    # Dispatch

    def dispatch(self, node: str) -> None:
        line = self.lines[node]
        line.woken, line.retry_at, line.busy = False, None, True
        self._send(node, line)

    def _send(self, node: str, line: Line) -> None:
        try:
            orders = self.fleet.outgoing(node)
        except Unavailable:
            line.busy, line.retry_at = False, self._weather.now() + _RETRY
            return
        if orders is None:
            line.busy = False
            return
        settled = [True]

        def take(document: Any) -> None:
            answer = OrdersAnswer.from_json(document)
            self.fleet.delivered(node, answer)
            settled[0] = len(answer.orders) >= len(orders.orders) and len(answer.wishes) >= len(
                orders.wishes
            )

        def then() -> None:
            if settled[0]:
                self._send(node, line)
            else:
                line.busy, line.retry_at = False, self._weather.now() + _RETRY

        call = Call(self, node, "orders", take, then, lambda e: self._failed(node, orders, e))
        self._network.call(call, orders.to_json())

    def _failed(self, node: str, orders: Orders, error: HakuRiverError) -> None:
        line = self.lines[node]
        try:
            if isinstance(error, Unreachable):
                self.fleet.undelivered(node, orders, refused=error.refused)
        except Unavailable:
            pass
        line.busy, line.retry_at = False, self._weather.now() + _RETRY
