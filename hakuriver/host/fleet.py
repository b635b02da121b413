"""What runners say, what they are told, and what it means when they are silent.

One transaction per message; no network call happens here. Decisions are made in reconcile.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hakuriver import PROTOCOL, __version__
from hakuriver.host.changes import log_changes
from hakuriver.host.identity import Identity
from hakuriver.host.reconcile import (
    back_to_pending,
    forgotten,
    judge_report,
    reconcile,
    unreachable,
    vanished,
)
from hakuriver.host.registry import NodeState, Registry, Unsent
from hakuriver.host.rows import Tx
from hakuriver.host.store import Store
from hakuriver.model.errors import Conflict, NotFound
from hakuriver.model.messages import (
    Attempt,
    Heartbeat,
    HeartbeatAnswer,
    Orders,
    OrdersAnswer,
    RegisterAnswer,
    Reports,
    ReportsAnswer,
    RunOrder,
    Seq,
    WishOrder,
)
from hakuriver.model.node import NodeInfo
from hakuriver.model.target import NODE_NAME
from hakuriver.model.task import Status, Task
from hakuriver.model.units import counted
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

_MESSAGE_BYTES = 4 << 20
_REMEMBERED = 1000
_NAMED = 10

Changes = list[tuple[Task, Task]]
"""Tasks as they were and as they are."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: between heartbeats, and without one until a node counts as offline."""

    interval: float
    silence: float


class Fleet:
    """on_orders gets the name of a node that something has to be sent to; on_room is called when
    a waiting task may find room."""

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        unsent: Unsent,
        identity: Identity,
        timing: Timing,
        on_orders: Callable[[str], None] = lambda node: None,
        on_room: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._registry = registry
        self._unsent = unsent
        self._identity = identity
        self._timing = timing
        self._on_orders = on_orders
        self._on_room = on_room
        self._clock = clock
        self._monotonic = monotonic
        self._started_at = monotonic()
        # Taken on by a runner; told again after a restart of ours, which is harmless.
        self._accepted: dict[str, OrdersAnswer] = {}
        # Nodes come and go one at a time: database and registry have to agree on who is there.
        self._coming_and_going = threading.RLock()

    # What runners are told

    def outgoing(self, node: str) -> Orders | None:
        """All that the node has not taken on yet, or None. Counts the try before it is made."""
        state = self._registry.get(node)
        if state is None or not state.online:
            return None
        told = self._accepted.setdefault(node, OrdersAnswer())
        with self._store.read() as tx:
            orders = [open_.order for open_ in tx.open_orders(node, but=told.orders)]
            wishes = [
                WishOrder(seq, task.id, task.attempt, task.wish, task.wish_n)
                for task, seq in tx.wishes(node)
                if task.wish and (task.id, task.attempt, task.wish_n) not in told.wishes
            ]
        fitting = _fitting(orders)
        sendable = {order.seq for order in fitting if self._unsent.take(node, order.seq)}
        again = [order.seq for order in fitting if order.seq not in sendable]
        if again:
            # Only what is still open: an order that was taken back meanwhile, because it was never
            # sent, may be with another node already.
            sendable |= self._store.write(lambda tx: tx.count_try(node, again))
        fitting = [order for order in fitting if order.seq in sendable]
        if not fitting and not wishes:
            return None
        return Orders(self._identity.cluster, node, tuple(fitting), tuple(wishes))

    def delivered(self, node: str, answer: OrdersAnswer) -> None:
        told = self._accepted.get(node, OrdersAnswer())
        orders, wishes = told.orders | answer.orders, told.wishes | answer.wishes
        if len(orders) + len(wishes) > _REMEMBERED:
            # Forgets what is over.
            with self._store.read() as tx:
                orders &= {open_.order.seq for open_ in tx.open_orders(node)}
                wishes &= {(task.id, task.attempt, task.wish_n) for task, _ in tx.wishes(node)}
        self._accepted[node] = OrdersAnswer(orders, wishes)

    def undelivered(self, node: str, orders: Orders, *, refused: bool) -> None:
        """A send failed. refused: the node's machine refused the connection."""
        if refused and orders.orders:
            seqs = [order.seq for order in orders.orders]
            self._store.write(lambda tx: tx.count_refusal(node, seqs))

    # What runners say

    def register(self, info: NodeInfo) -> RegisterAnswer:
        """Raises Conflict if another runner of that name is at work."""
        for other in self._registry.all():
            if other.online and other.info.name != info.name and other.info.boot == info.boot:
                log.warning(
                    "nodes %s and %s are on one machine, whose cores and memory count twice then;"
                    " divide them with runner.cores and runner.memory",
                    other.info.name,
                    info.name,
                )
        with self._coming_and_going:
            self._come(info, self._registry.get(info.name))
        log.info("node %s registered at %s (%s)", info.name, info.url, info.version)
        self._on_orders(info.name)
        self._on_room()
        return RegisterAnswer(self._identity.cluster, self._timing.interval)

    def _come(self, info: NodeInfo, known: NodeState | None) -> None:
        replaced = known is not None and known.info.instance != info.instance
        if known is not None and replaced and self._fresh(known):
            raise Conflict(
                f"a node named {info.name} is at work already, at {known.info.url}",
                "Give this one another name: runner --name NAME, or runner.name in its config.",
            )
        if known is not None and known.info.incarnation > info.incarnation:
            log.warning("node %s has a lower incarnation than before", info.name)
        if known is not None and known.info.incarnation != info.incarnation:
            # A disk that lost what it had confirmed, or an older copy of it: all is told again.
            self._accepted.pop(info.name, None)
        log_changes(self._store.write(lambda tx: self._register(tx, info, replaced)))
        self._registry.register(info, now=self._monotonic())

    def stranger(self, body: Mapping[str, Any]) -> Conflict:
        """What to answer to a runner of another protocol: its node says so too, and gets no tasks.

        What runs there goes on; its reports are taken once both speak the same.
        """
        spoken = str(body.get("protocol"))[:20]
        version = str(body.get("version"))[:40]
        problem = (
            f"runs HakuRiver {version} with protocol {spoken}, the host {__version__} with"
            f" {PROTOCOL}: update hakuriver.pyz there or here"
        )
        name, url = body.get("name"), body.get("url")
        named = isinstance(name, str) and isinstance(url, str) and NODE_NAME.fullmatch(name)
        if named and self._registry.misfit(str(name), str(url)[:300], version, spoken, problem):
            log.warning("node %s %s", name, plain(problem))
        return Conflict(
            f"this host speaks protocol {PROTOCOL}, the runner {spoken}",
            "Run the same HakuRiver on both; `client join` shows how to fetch the host's.",
        )

    def _fresh(self, node: NodeState) -> bool:
        return node.seen_at is not None and (
            self._monotonic() - node.seen_at < 2 * self._timing.interval
        )

    def _register(self, tx: Tx, info: NodeInfo, replaced: bool) -> Changes:
        tx.save_node(info, self._clock())
        changes = []
        for task, seq, order in tx.live(info.name) if replaced else ():
            # Another state folder knows nothing of what the old one had taken on.
            if order is None or not (order.never_arrived or self._unsent.take(info.name, seq)):
                tx.close_order(task.id)
                changes.append((task, tx.update_task(vanished(task, self._clock()))))
        return changes

    def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        """Raises NotFound if the runner has to register first."""
        before = self._registry.heartbeat(beat, now=self._monotonic(), wall=self._clock())
        if before is None:
            raise NotFound(f"node {beat.node} is not registered")
        kill: frozenset[Attempt] = frozenset()
        if beat.n > before.heartbeat_n:
            changes, kill, complaints = self._store.write(lambda tx: self._reconcile(tx, beat))
            log_changes(changes)
            for complaint in complaints:
                log.error("%s", complaint)
        with self._store.read() as tx:
            closed = tx.orders_closed_below(beat.node, self._identity.epoch)
        if not before.online:
            log.info("node %s is back", beat.node)
        if before.info.problems != beat.problems:
            log.warning("node %s: %s", beat.node, "; ".join(beat.problems) or "fit again")
        if not before.online or before.info.problems != beat.problems:
            self._on_room()
        self._on_orders(beat.node)
        return HeartbeatAnswer(closed, self._timing.interval, kill)

    def _reconcile(
        self, tx: Tx, beat: Heartbeat
    ) -> tuple[Changes, frozenset[Attempt], tuple[str, ...]]:
        live = tx.live(beat.node)
        tasks = {task.id: task for task, _, _ in live}
        for entry in beat.held:
            if entry.task not in tasks:
                task = tx.task(entry.task)
                if task is not None:
                    tasks[task.id] = task
        seqs: dict[int, Seq] = {task.id: seq for task, seq, _ in live}
        found = reconcile(beat, tasks, seqs, last_id=tx.last_task_id(), now=self._clock())
        changes = []
        for after in found.tasks:
            if after.status.final:
                tx.close_order(after.id)
            changes.append((tasks[after.id], tx.update_task(after)))
        return changes, found.kill, found.complaints

    def report(self, reports: Reports) -> ReportsAnswer:
        """Apply facts; what is acknowledged is on disk."""
        changes, answer = self._store.write(lambda tx: self._report(tx, reports))
        log_changes(changes)
        for _, after in changes:
            if after.status is Status.PENDING:
                self._registry.refuse(reports.node, after.message)
        if any(after.status.final or after.status is Status.PENDING for _, after in changes):
            self._on_room()
        return answer

    def _report(self, tx: Tx, reports: Reports) -> tuple[Changes, ReportsAnswer]:
        now = self._clock()
        changes: Changes = []
        acknowledged: set[tuple[int, int, int]] = set()
        kill: set[Attempt] = set()
        for report in reports.reports:
            before = tx.task(report.task)
            judgement = judge_report(
                report,
                before,
                node=reports.node,
                incarnation=reports.incarnation,
                offset=now - reports.clock,
                now=now,
            )
            if judgement.complaint:
                log.error("%s", judgement.complaint)
            if judgement.acknowledge:
                acknowledged.add((report.task, report.attempt, report.n))
            if judgement.kill:
                kill.add(report.key)
            if judgement.task is not None and before is not None:
                tx.close_order(report.task)
                changes.append((before, tx.update_task(judgement.task)))
        return changes, ReportsAnswer(frozenset(acknowledged), frozenset(kill))

    # What silence means

    def scan(self) -> None:
        """Nodes that went silent are offline; their tasks are lost, or go back to the queue."""
        deadline = self._monotonic() - self._timing.silence
        if self._started_at > deadline:
            return  # Nobody has had the time to be heard of since our own start.
        online = {node.info.name for node in self._registry.all() if node.online}
        for name in self._registry.silent_since(deadline):
            if name in online:
                log.warning(
                    "node %s is offline: no heartbeat for %.0f s", name, self._timing.silence
                )
            changes = self._store.write(lambda tx, name=name: self._lose(tx, name))  # type: ignore[misc]
            log_changes(changes)
            if changes:
                self._on_room()

    def _lose(self, tx: Tx, node: str) -> Changes:
        changes = []
        for task, seq, order in tx.live(node):
            if order is not None and (order.never_arrived or self._unsent.take(node, seq)):
                tx.close_order(task.id)
                message = f"{node} went offline before it received the task"
                after = back_to_pending(
                    task, message=message, next_attempt=False, now=self._clock()
                )
            elif task.status is Status.LOST:
                continue
            else:
                after = unreachable(task)
            changes.append((task, tx.update_task(after)))
        return changes

    # What people decide

    def remove(self, name: str, *, force: bool, by: str) -> tuple[list[Task], int]:
        """Do without a node that left for good; force gives up the tasks that it holds.

        Returns those tasks as they are now, and how many others wait for this node alone. Should it
        come back, it registers as any new one does, and what it still holds is killed. Raises
        NotFound, or Conflict while it is there, may be there, or (without force) holds tasks.
        """
        with self._coming_and_going:
            changes, waiting = self._store.write(lambda tx: self._remove(tx, name, force, by))
            self._registry.remove(name)
            self._accepted.pop(name, None)
        log_changes(changes)
        log.info("node %s removed by %s", name, by or "somebody")
        self._on_room()
        return [after for _, after in changes], waiting

    def _remove(self, tx: Tx, name: str, force: bool, by: str) -> tuple[Changes, int]:
        state = self._registry.get(name)
        if state is None:
            raise NotFound(f"node {name} is not registered")
        self._check_gone(state)
        live = tx.live(name)
        if live and not force:
            named = ", ".join(str(task.id) for task, _, _ in live[:_NAMED])
            more = f" and {len(live) - _NAMED} more" if len(live) > _NAMED else ""
            raise Conflict(
                f"node {name} holds {counted(len(live), 'task')}: {named}{more}",
                "Requeue or forget them first; --force forgets them all.",
            )
        changes = []
        for task, seq, order in live:
            tx.close_order(task.id)
            if order is not None and (order.never_arrived or self._unsent.take(name, seq)):
                message = f"{name} was removed before it received the task"
                after = back_to_pending(
                    task, message=message, next_attempt=False, now=self._clock()
                )
            else:
                lost = task if task.status is Status.LOST else unreachable(task)
                after = forgotten(lost, by, self._clock())
            changes.append((task, tx.update_task(after)))
        tx.remove_node(name, self._clock())
        return changes, tx.wanting(name)

    def _check_gone(self, state: NodeState) -> None:
        name, silence = state.info.name, self._timing.silence
        if state.online:
            raise Conflict(
                f"node {name} is online",
                "Stop its runner for good first (systemctl disable --now hakuriver-runner, on that"
                f" machine). After {silence:g} s of silence it counts as offline.",
            )
        left = self._started_at + silence - self._monotonic()
        if state.seen_at is None and left > 0:
            raise Conflict(
                f"whether node {name} is gone is not known yet: the host has just started",
                f"Ask again in {left:.0f} s.",
            )


def _fitting(orders: list[RunOrder]) -> list[RunOrder]:
    """As many orders as one message should hold, at least one."""
    total = 0
    fitting: list[RunOrder] = []
    for order in orders:
        # As it travels: JSON makes six bytes of a byte that is no text, and up to twelve of a character.
        total += len(json.dumps((order.argv, order.env, order.mounts)))
        if fitting and total > _MESSAGE_BYTES:
            break
        fitting.append(order)
    return fitting
