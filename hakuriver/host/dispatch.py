"""Bringing orders and wishes to the runners: a thread per node, all that waits in one message."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hakuriver.host.fleet import Fleet
from hakuriver.host.registry import Registry
from hakuriver.host.runner_api import RunnerApi
from hakuriver.model.errors import HakuRiverError, Unreachable
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

_FIRST_DELAY = 0.2
_LAST_DELAY = 5.0


class Dispatch:
    """wake(node) sees to it that the node is told soon; it never blocks."""

    def __init__(
        self, fleet: Fleet, registry: Registry, connect: Callable[[str], RunnerApi]
    ) -> None:
        self._fleet = fleet
        self._registry = registry
        self._connect = connect
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._stopped = False

    def wake(self, node: str) -> None:
        with self._lock:
            if self._stopped:
                return
            if node not in self._lines:
                self._lines[node] = _Line(node, self._fleet, self._registry, self._connect)
            self._lines[node].wake()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            lines = list(self._lines.values())
        for line in lines:
            line.stop()


class _Line:
    """The way to one node."""

    def __init__(
        self, node: str, fleet: Fleet, registry: Registry, connect: Callable[[str], RunnerApi]
    ) -> None:
        self._node = node
        self._fleet = fleet
        self._registry = registry
        self._connect = connect
        self._api: RunnerApi | None = None
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"dispatch-{node}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        delay = 0.0
        while True:
            # After a failure only time helps: a wake must not turn into hammering.
            if delay:
                self._stopping.wait(delay)
            else:
                self._woken.wait()
            if self._stopping.is_set():
                break
            self._woken.clear()
            try:
                settled = self._send()
            except HakuRiverError as error:
                log.warning("cannot tell node %s: %s", self._node, plain(error.detail))
                settled = False
            except Exception:
                # Outer edge of this thread: without it the node would never be told again.
                log.exception("cannot tell node %s", self._node)
                settled = False
            delay = 0.0 if settled else min(max(2 * delay, _FIRST_DELAY), _LAST_DELAY)

    def _send(self) -> bool:
        """Whether nothing is left to be sent to a node that answers."""
        while True:
            orders = self._fleet.outgoing(self._node)
            api = self._line()
            if orders is None or api is None:
                return True
            try:
                answer = api.orders(orders)
            except Unreachable as error:
                self._fleet.undelivered(self._node, orders, refused=error.refused)
                raise
            self._fleet.delivered(self._node, answer)
            if len(answer.orders) < len(orders.orders) or len(answer.wishes) < len(orders.wishes):
                return False

    def _line(self) -> RunnerApi | None:
        node = self._registry.get(self._node)
        if node is None:
            return None
        if self._api is None or self._api.url != node.info.url:
            if self._api is not None:
                self._api.close()
            self._api = self._connect(node.info.url)
        return self._api
