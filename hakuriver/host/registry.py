"""The nodes as they are right now: who answers, how busy, how fit. Kept in memory only.

What has to survive a restart of the host (names, capacities, drains) is in the database; this
table is filled from there and then lives from heartbeats.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hakuriver import PROTOCOL
from hakuriver.host.placement import Place, Reserved
from hakuriver.model.messages import Heartbeat, Seq
from hakuriver.model.node import Capacity, NodeInfo, Vitals


@dataclass(frozen=True, slots=True)
class NodeState:
    """A registered node. seen_at is monotonic, heartbeat_at Unix seconds; None: not since start."""

    info: NodeInfo
    drained: str | None = None
    online: bool = False
    seen_at: float | None = None
    heartbeat_at: float | None = None
    heartbeat_n: int = 0
    orders_seen: Seq = (0, 0)
    vitals: Vitals = field(default_factory=Vitals)

    @property
    def unfit(self) -> str:
        """Why no task can be given to it now; "" if one can."""
        if not self.online:
            return "offline"
        if self.drained is not None:
            return f"drained: {self.drained}" if self.drained else "drained"
        return "; ".join(self.info.problems)


class Registry:
    """Thread-safe; every method leaves the table consistent."""

    def __init__(self, nodes: Iterable[tuple[NodeInfo, str | None]] = ()) -> None:
        self._lock = threading.Lock()
        self._nodes = {info.name: NodeState(info, drained) for info, drained in nodes}

    def all(self) -> list[NodeState]:
        with self._lock:
            return [self._nodes[name] for name in sorted(self._nodes)]

    def get(self, name: str) -> NodeState | None:
        with self._lock:
            return self._nodes.get(name)

    def register(self, info: NodeInfo, *, now: float) -> None:
        with self._lock:
            known = self._nodes.get(info.name)
            drained = known.drained if known else None
            self._nodes[info.name] = NodeState(info, drained, online=True, seen_at=now)

    def misfit(self, name: str, url: str, version: str, protocol: str, problem: str) -> bool:
        """Note that a runner cannot be talked to; whether that is news."""
        with self._lock:
            known = self._nodes.get(name)
            if known is not None and known.info.problems == (problem,):
                return False
            number = int(protocol) if protocol.isascii() and protocol.isdigit() else 0
            if known is None:
                nothing = Capacity(0, 0, 0)
                info = NodeInfo(name, url, "", 0, "", version, number, nothing, "")
                known = NodeState(info)
            info = replace(known.info, version=version, protocol=number, problems=(problem,))
            self._nodes[name] = replace(known, info=info)
            return True

    def heartbeat(self, beat: Heartbeat, *, now: float, wall: float) -> NodeState | None:
        """The state before this heartbeat; None if the node has to register first.

        A heartbeat that was overtaken by a newer one changes nothing but the time.
        """
        with self._lock:
            known = self._nodes.get(beat.node)
            if known is None or known.info.incarnation != beat.incarnation:
                return None
            if known.info.protocol != PROTOCOL:
                return None
            info = replace(
                known.info,
                engine=beat.engine,
                environments=beat.environments,
                problems=beat.problems,
            )
            newer = beat.n > known.heartbeat_n
            self._nodes[beat.node] = replace(
                known,
                info=info if newer else known.info,
                online=True,
                seen_at=now,
                heartbeat_at=wall,
                heartbeat_n=max(beat.n, known.heartbeat_n),
                orders_seen=max(beat.orders_seen, known.orders_seen),
                vitals=beat.vitals,
            )
            return known

    def drain(self, name: str, reason: str | None) -> None:
        with self._lock:
            if name in self._nodes:
                self._nodes[name] = replace(self._nodes[name], drained=reason)

    def refuse(self, name: str, reason: str) -> None:
        """It has just sent a task back: nothing is given to it until it says more of itself.

        Otherwise the same task would come and go until the next heartbeat.
        """
        with self._lock:
            if name in self._nodes and reason not in self._nodes[name].info.problems:
                node = self._nodes[name]
                info = replace(node.info, problems=(*node.info.problems, reason))
                self._nodes[name] = replace(node, info=info)

    def remove(self, name: str) -> None:
        """Should it have been heard of meanwhile, it has to register first."""
        with self._lock:
            self._nodes.pop(name, None)

    def silent_since(self, deadline: float) -> list[str]:
        """Mark the nodes that were not heard of after the deadline as offline, and name them.

        Nodes that were never heard of since the start are named too: they may hold tasks.
        """
        with self._lock:
            silent = [
                name
                for name, node in self._nodes.items()
                if node.seen_at is None or node.seen_at < deadline
            ]
            for name in silent:
                self._nodes[name] = replace(self._nodes[name], online=False)
            return silent

    def places(self, reserved: Mapping[str, Reserved]) -> list[Place]:
        """The nodes as placement sees them."""
        return [
            Place(
                name=node.info.name,
                capacity=node.info.capacity,
                reserved=reserved.get(node.info.name, Reserved()),
                unfit=node.unfit,
                driver=node.info.driver,
                has_engine=node.info.engine is not None,
                environments=frozenset(node.info.environments),
            )
            for node in self.all()
        ]


class Unsent:
    """Orders that this process has written and not yet sent.

    They are written with their first try counted, which saves a transaction per message: what is
    in here was certainly not sent, whatever the database says. Taking one out decides, once, who
    may act on that: who sends it, or who takes it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: set[tuple[str, Seq]] = set()

    def add(self, node: str, seq: Seq) -> None:
        """Before the transaction that writes the order is committed, never after."""
        with self._lock:
            self._orders.add((node, seq))

    def take(self, node: str, seq: Seq) -> bool:
        with self._lock:
            if (node, seq) in self._orders:
                self._orders.remove((node, seq))
                return True
            return False
