"""What host and runner say to each other under /v1, and nothing else.

Each message is a frozen dataclass with to_json and from_json; from_json validates and raises
Refused. A sequence number is (epoch, n): the epoch rises with each start of the host, n per node.
How a node describes itself is in node_messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hakuriver.model.errors import Refused
from hakuriver.model.fields import Fields, is_whole, plain_document
from hakuriver.model.node import Engine, Vitals
from hakuriver.model.node_messages import (
    read_engine,
    read_environments,
    read_node_name,
    read_vitals,
)
from hakuriver.model.task import Ended, Observed, RefusedByNode, Result, State, Wish

Seq = tuple[int, int]
Attempt = tuple[int, int]
"""(task, attempt)"""


def read_pair(value: Any) -> tuple[int, int]:
    match value:
        case [a, b] if is_whole(a) and is_whole(b):
            return a, b
    raise Refused("expected a pair of whole numbers")


@dataclass(frozen=True, slots=True)
class RunOrder:
    """Run this attempt. Output goes to task.output_name() in the shared directory."""

    seq: Seq
    task: int
    attempt: int
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cores: float = 1
    memory: int | None = None
    container: str | None = None
    privileged: bool = False
    mounts: tuple[str, ...] = ()
    numa: int | None = None

    @property
    def key(self) -> Attempt:
        return self.task, self.attempt

    def to_json(self) -> dict[str, Any]:
        return {**plain_document(self), "env": dict(self.env)}

    @staticmethod
    def from_json(document: object) -> RunOrder:
        with Fields(document, "an order") as fields:
            return RunOrder(
                seq=read_pair(fields.each("seq", lambda value: value)),
                task=fields.whole("task", low=1),
                attempt=fields.whole("attempt", low=1),
                argv=fields.texts("argv"),
                env=tuple(fields.texts_by_name("env").items()),
                cores=fields.number("cores"),
                memory=fields.maybe_whole("memory"),
                container=fields.maybe_text("container"),
                privileged=fields.flag("privileged"),
                mounts=fields.texts("mounts"),
                numa=fields.maybe_whole("numa"),
            )


@dataclass(frozen=True, slots=True)
class WishOrder:
    """Kill, pause or resume this attempt; seq is that of its run order, n orders the wishes."""

    seq: Seq
    task: int
    attempt: int
    wish: Wish
    n: int

    @property
    def key(self) -> Attempt:
        return self.task, self.attempt

    def to_json(self) -> dict[str, Any]:
        return plain_document(self)

    @staticmethod
    def from_json(document: object) -> WishOrder:
        with Fields(document, "a wish") as fields:
            return WishOrder(
                seq=read_pair(fields.each("seq", lambda value: value)),
                task=fields.whole("task", low=1),
                attempt=fields.whole("attempt", low=1),
                wish=fields.choice("wish", Wish),
                n=fields.whole("n"),
            )


@dataclass(frozen=True, slots=True)
class Orders:
    """POST /v1/orders of the runner. Answered only when all of it is on the runner's disk."""

    cluster: str
    node: str
    orders: tuple[RunOrder, ...] = ()
    wishes: tuple[WishOrder, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "node": self.node,
            "orders": [order.to_json() for order in self.orders],
            "wishes": [wish.to_json() for wish in self.wishes],
        }

    @staticmethod
    def from_json(document: object) -> Orders:
        with Fields(document) as fields:
            return Orders(
                cluster=fields.text("cluster"),
                node=fields.text("node"),
                orders=fields.each("orders", RunOrder.from_json),
                wishes=fields.each("wishes", WishOrder.from_json),
            )


@dataclass(frozen=True, slots=True)
class OrdersAnswer:
    """What the runner has taken on: sequence numbers of orders, (task, attempt, n) of wishes."""

    orders: frozenset[Seq] = frozenset()
    wishes: frozenset[tuple[int, int, int]] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return {"orders": sorted(self.orders), "wishes": sorted(self.wishes)}

    @staticmethod
    def from_json(document: object) -> OrdersAnswer:
        with Fields(document) as fields:
            return OrdersAnswer(
                orders=frozenset(fields.each("orders", read_pair)),
                wishes=frozenset(fields.each("wishes", _read_triple)),
            )


Fact = Observed | Ended | RefusedByNode


@dataclass(frozen=True, slots=True)
class Report:
    """One fact about one attempt; n rises with each report of an attempt.

    Times are Unix seconds by the runner's clock. wish_n is the newest wish that has been carried
    out. note says what the attempt is waiting for, for people.
    """

    task: int
    attempt: int
    n: int
    fact: Fact
    started_at: float | None = None
    ended_at: float | None = None
    driver: str | None = None
    unit_name: str | None = None
    image: str | None = None
    image_version: int | None = None
    note: str = ""
    wish_n: int = 0

    @property
    def key(self) -> Attempt:
        return self.task, self.attempt

    def to_json(self) -> dict[str, Any]:
        return {**plain_document(self), "fact": _fact_to_json(self.fact)}

    @staticmethod
    def from_json(document: object) -> Report:
        with Fields(document, "a report") as fields:
            fact = fields.maybe("fact", _fact_from_json)
            if fact is None:
                raise Refused("a report lacks its fact")
            return Report(
                task=fields.whole("task", low=1),
                attempt=fields.whole("attempt", low=1),
                n=fields.whole("n", low=1),
                fact=fact,
                started_at=fields.maybe_number("started_at"),
                ended_at=fields.maybe_number("ended_at"),
                driver=fields.maybe_text("driver"),
                unit_name=fields.maybe_text("unit_name"),
                image=fields.maybe_text("image"),
                image_version=fields.maybe_whole("image_version"),
                note=fields.text("note", ""),
                wish_n=fields.whole("wish_n", 0),
            )


def _fact_to_json(fact: Fact) -> dict[str, Any]:
    match fact:
        case Observed(state):
            return {"kind": "observed", "state": state.value}
        case Ended(result):
            return {"kind": "ended", **asdict(result)}
        case RefusedByNode(reason, for_good):
            return {"kind": "refused", "reason": reason, "for_good": for_good}


def _fact_from_json(document: object) -> Fact:
    with Fields(document, "a fact") as fields:
        match fields.text("kind"):
            case "observed":
                return Observed(fields.choice("state", State))
            case "ended":
                return Ended(
                    Result(
                        exit_code=fields.maybe_whole("exit_code"),
                        kill_sent=fields.flag("kill_sent"),
                        oom=fields.flag("oom"),
                        problem=fields.text("problem", ""),
                        peak_memory=fields.maybe_whole("peak_memory"),
                        cpu_seconds=fields.maybe_number("cpu_seconds"),
                    )
                )
            case "refused":
                return RefusedByNode(fields.text("reason"), fields.flag("for_good"))
            case other:
                raise Refused(f"a fact cannot be '{other[:40]}'")


@dataclass(frozen=True, slots=True)
class Reports:
    """POST /v1/reports of the host. clock is the runner's time of sending."""

    node: str
    incarnation: int
    clock: float
    reports: tuple[Report, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "incarnation": self.incarnation,
            "clock": self.clock,
            "reports": [report.to_json() for report in self.reports],
        }

    @staticmethod
    def from_json(document: object) -> Reports:
        with Fields(document) as fields:
            return Reports(
                node=read_node_name(fields),
                incarnation=fields.whole("incarnation"),
                clock=fields.number("clock"),
                reports=fields.each("reports", Report.from_json),
            )


@dataclass(frozen=True, slots=True)
class ReportsAnswer:
    """acknowledged: (task, attempt, n) that need not be sent again; kill: stale attempts."""

    acknowledged: frozenset[tuple[int, int, int]] = frozenset()
    kill: frozenset[Attempt] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return {"acknowledged": sorted(self.acknowledged), "kill": sorted(self.kill)}

    @staticmethod
    def from_json(document: object) -> ReportsAnswer:
        with Fields(document) as fields:
            return ReportsAnswer(
                acknowledged=frozenset(fields.each("acknowledged", _read_triple)),
                kill=frozenset(fields.each("kill", read_pair)),
            )


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that a runner holds; state None means ended and not acknowledged."""

    task: int
    attempt: int
    state: State | None
    n: int

    @property
    def key(self) -> Attempt:
        return self.task, self.attempt


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """POST /v1/heartbeat: all that the runner holds, and how its machine is.

    n rises with each heartbeat of an incarnation. orders_seen is the highest sequence number
    that is reflected in the list: absence says nothing about orders above it.
    """

    node: str
    incarnation: int
    n: int
    orders_seen: Seq
    held: tuple[Held, ...]
    vitals: Vitals = field(default_factory=Vitals)
    engine: Engine | None = None
    environments: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        held = [[h.task, h.attempt, h.state.value if h.state else "ended", h.n] for h in self.held]
        return {**plain_document(self), "held": held, "environments": dict(self.environments)}

    @staticmethod
    def from_json(document: object) -> Heartbeat:
        with Fields(document) as fields:
            return Heartbeat(
                node=read_node_name(fields),
                incarnation=fields.whole("incarnation"),
                n=fields.whole("n"),
                orders_seen=read_pair(fields.each("orders_seen", lambda value: value)),
                held=fields.each("held", _read_held),
                vitals=fields.maybe("vitals", read_vitals) or Vitals(),
                engine=fields.maybe("engine", read_engine),
                environments=read_environments(fields),
                problems=fields.texts("problems"),
            )


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """orders_closed_below: orders with a lower number are over for ever. interval in seconds."""

    orders_closed_below: Seq
    interval: float
    kill: frozenset[Attempt] = frozenset()

    def to_json(self) -> dict[str, Any]:
        return {
            "orders_closed_below": self.orders_closed_below,
            "interval": self.interval,
            "kill": sorted(self.kill),
        }

    @staticmethod
    def from_json(document: object) -> HeartbeatAnswer:
        with Fields(document) as fields:
            return HeartbeatAnswer(
                orders_closed_below=read_pair(fields.each("orders_closed_below", lambda v: v)),
                interval=fields.number("interval"),
                kill=frozenset(fields.each("kill", read_pair)),
            )


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    cluster: str
    interval: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: object) -> RegisterAnswer:
        with Fields(document) as fields:
            return RegisterAnswer(fields.text("cluster"), fields.number("interval"))


def _read_held(value: Any) -> Held:
    match value:
        case [task, attempt, str() as state, n] if all(map(is_whole, (task, attempt, n))):
            if state == "ended":
                return Held(task, attempt, None, n)
            if state in {known.value for known in State}:
                return Held(task, attempt, State(state), n)
    raise Refused("held must be a list of [task, attempt, state, n]")


def _read_triple(value: Any) -> tuple[int, int, int]:
    match value:
        case [a, b, c] if all(map(is_whole, (a, b, c))):
            return a, b, c
    raise Refused("expected three whole numbers")
