"""The last minute of every node, in memory: what GET /health answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from hakuriver.host.registry import Registry
from hakuriver.host.views import aggregate_view, health_view
from hakuriver.model.errors import NotFound

SNAPSHOTS = 60


class Health:
    """step() takes a snapshot; the oldest falls out."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._nodes: deque[list[dict[str, Any]]] = deque(maxlen=SNAPSHOTS)
        self._aggregate: deque[dict[str, Any]] = deque(maxlen=SNAPSHOTS)

    def step(self) -> None:
        nodes = self._registry.all()
        with self._lock:
            self._nodes.append([health_view(node) for node in nodes])
            self._aggregate.append(aggregate_view(nodes, now=time.time()))

    def history(self) -> dict[str, Any]:
        """Oldest first."""
        with self._lock:
            return {"nodes": list(self._nodes), "aggregate": list(self._aggregate)}

    def history_of(self, name: str) -> list[dict[str, Any]]:
        """One node's records, oldest first. Raises NotFound."""
        if self._registry.get(name) is None:
            raise NotFound(f"node {name} is not registered")
        with self._lock:
            return [
                record for nodes in self._nodes for record in nodes if record["hostname"] == name
            ]
