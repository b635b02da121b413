"""What of the cluster is worth telling to pages that know the rest, and how a stream has it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hakuriver.model.task import Task

Row = Mapping[str, Any]
"""A node as GET /nodes has it."""

_AGES = ("heartbeat_age", "last_heartbeat")
_LOADS = ("cpu_percent", "memory_percent")
_NOISE = 1.0
"""Percent: a load that moves by less is no news. From what was told, so that a slow drift is."""
_NOT_COMPARED = {*_AGES, *_LOADS, "memory_used_bytes"}


def event(kind: str, data: Mapping[str, Any]) -> bytes:
    """As text/event-stream has it. JSON in ASCII holds no line break."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


def is_news(told: Row | None, row: Row) -> bool:
    """Whether a node is another than was told: in anything but its ages, and noise of its load."""
    if told is None or told.keys() != row.keys():
        return True
    if any(told[name] != row[name] for name in row if name not in _NOT_COMPARED):
        return True
    return any(abs(told[name] - row[name]) >= _NOISE for name in _LOADS)


def node_news(told: Mapping[str, Row], rows: Mapping[str, Row]) -> tuple[dict[str, Row], list[str]]:
    """The nodes that are worth telling, and the names of those that are gone."""
    changed = {name: row for name, row in rows.items() if is_news(told.get(name), row)}
    return changed, sorted(told.keys() - rows.keys())


def fitting(tasks: Sequence[Task], most: int) -> list[Task]:
    """The first tasks whose command lines and variables have no more than so many characters together.

    A page that asks for one of the others gets it whole; a stream of all of them would end there.
    """
    left = most
    for place, task in enumerate(tasks):
        left -= sum(map(len, task.spec.argv)) + sum(len(n) + len(v) for n, v in task.spec.env)
        if left < 0:
            return list(tasks[:place])
    return list(tasks)
