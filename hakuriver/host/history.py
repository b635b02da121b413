"""The last day of every node and of the cluster, in memory, for charts: fine for an hour, coarse before."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from hakuriver.host.placement import Reserved
from hakuriver.host.registry import NodeState, Registry
from hakuriver.model.errors import NotFound
from hakuriver.model.units import MILLI

SAMPLE_SECONDS = 5.0
_COARSE_SECONDS = 60.0
_FINE = int(3600 / SAMPLE_SECONDS)
_COARSE = int(86400 / _COARSE_SECONDS)
_PER_COARSE = int(_COARSE_SECONDS / SAMPLE_SECONDS)
HOURS_MAX = 24.0

FIELDS = (
    "cores_total", "cores_reserved", "cpu_percent", "memory_total", "memory_reserved", "memory_used",
    "running",
)  # fmt: skip
"""Of a point. Memory in bytes; None: not known, as the node did not answer."""
Point = tuple[float | None, ...]


def node_point(node: NodeState, reserved: Reserved) -> Point:
    held = (reserved.cores / MILLI, reserved.memory, reserved.tasks)
    if not node.online:
        return (None, held[0], None, None, held[1], None, held[2])
    vitals, capacity = node.vitals, node.info.capacity
    return (
        capacity.cores, held[0], vitals.cpu_percent, capacity.memory, held[1], vitals.memory_used,
        held[2],
    )  # fmt: skip


def cluster_point(points: Sequence[Point]) -> Point:
    """Sums; cpu_percent is weighted by cores. Of nodes that do not answer what they hold counts."""
    sums = [sum(point[place] or 0 for point in points) for place in range(len(FIELDS))]
    known = [point for point in points if point[0] is not None]
    busy = sum((point[2] or 0) * (point[0] or 0) for point in known)
    sums[2] = round(busy / sums[0], 1) if sums[0] else 0
    return tuple(sums) if known else (None, sums[1], None, None, sums[4], None, sums[6])


def mean(points: Sequence[Point]) -> Point:
    """Of each field, over the points where it is known."""
    columns = [
        [value for value in column if value is not None] for column in zip(*points, strict=True)
    ]
    return tuple(round(fmean(column), 2) if column else None for column in columns)


class _Series:
    def __init__(self) -> None:
        self.fine: deque[tuple[float, Point]] = deque(maxlen=_FINE)
        self.coarse: deque[tuple[float, Point]] = deque(maxlen=_COARSE)
        self._since: list[Point] = []

    def add(self, now: float, point: Point) -> None:
        self.fine.append((now, point))
        self._since.append(point)
        if len(self._since) >= _PER_COARSE:
            self.coarse.append((now, mean(self._since)))
            self._since = []

    def points(self, *, fine: bool) -> list[tuple[float, Point]]:
        """Coarse ones with the mean of what is no whole minute yet, so that they go on until now."""
        if fine or not self._since:
            return list(self.fine if fine else self.coarse)
        return [*self.coarse, (self.fine[-1][0], mean(self._since))]


class History:
    """step() takes a sample of everything, and gives it to on_sample as the stream has it."""

    def __init__(
        self,
        registry: Registry,
        reserved: Callable[[], Mapping[str, Reserved]],
        *,
        on_sample: Callable[[dict[str, Any]], None] = lambda sample: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._reserved = reserved
        self._on_sample = on_sample
        self._clock = clock
        self._lock = threading.Lock()
        self._cluster = _Series()
        self._nodes: dict[str, _Series] = {}

    def step(self) -> None:
        now, reserved = round(self._clock(), 1), self._reserved()
        points = {
            node.info.name: node_point(node, reserved.get(node.info.name, Reserved()))
            for node in self._registry.all()
        }
        whole = cluster_point(list(points.values()))
        with self._lock:
            self._cluster.add(now, whole)
            self._nodes = {name: self._nodes.get(name) or _Series() for name in points}
            for name, point in points.items():
                self._nodes[name].add(now, point)
        named = {name: dict(zip(FIELDS, point, strict=True)) for name, point in points.items()}
        cluster = dict(zip(FIELDS, whole, strict=True))
        self._on_sample({"t": now, "cluster": cluster, "nodes": named})

    def columns(self, node: str, hours: float) -> dict[str, Any]:
        """Of a node, or with "" of the cluster: step in seconds, then a list for t and each field.

        Raises NotFound.
        """
        with self._lock:
            series = self._nodes.get(node) if node else self._cluster
            if series is None and self._registry.get(node) is None:
                raise NotFound(f"node {node} is not registered")
            series = series or _Series()
            fine = hours * 3600 <= _FINE * SAMPLE_SECONDS
            points = series.points(fine=fine)
        since = self._clock() - hours * 3600
        points = [(at, point) for at, point in points if at >= since]
        columns = {
            field: [point[place] for _, point in points] for place, field in enumerate(FIELDS)
        }
        step = SAMPLE_SECONDS if fine else _COARSE_SECONDS
        return {"step": step, "t": [at for at, _ in points], **columns}
