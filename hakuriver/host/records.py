"""How rows of the host's database become tasks and orders."""

from __future__ import annotations

import json
import sqlite3

from hakuriver.model.messages import RunOrder
from hakuriver.model.target import Target
from hakuriver.model.task import Status, Task, TaskSpec, Wish

STATE_COLUMNS = (
    "attempt", "node", "message", "exit_code", "assigned_at", "started_at", "completed_at",
    "wish_n", "report_n", "incarnation", "driver", "unit_name", "image", "image_version",
    "peak_memory", "cpu_seconds", "logs_pruned",
)  # fmt: skip
"""What changes in the life of a task, beside its status and its wish."""


def target_of(node: str | None, numa: int | None) -> Target | None:
    return None if node is None else Target(node, numa)


def _spec(row: sqlite3.Row) -> TaskSpec:
    return TaskSpec(
        argv=tuple(json.loads(row["argv"])),
        env=tuple((name, value) for name, value in json.loads(row["env"])),
        cores=row["cores"],
        memory=row["memory"],
        container=row["container"],
        privileged=bool(row["privileged"]),
        mounts=tuple(json.loads(row["mounts"])),
        target=target_of(row["target_node"], row["target_numa"]),
        user=row["user"],
    )


def task_of(row: sqlite3.Row) -> Task:
    return Task(
        id=row["task_id"],
        batch_id=row["batch_id"],
        spec=_spec(row),
        status=Status(row["status"]),
        submitted_at=row["submitted_at"],
        wish=Wish(row["wish"]) if row["wish"] else None,
        revision=row["revision"],
        **{column: row[column] for column in STATE_COLUMNS if column != "logs_pruned"},
        logs_pruned=bool(row["logs_pruned"]),
    )


def order_of(row: sqlite3.Row) -> RunOrder:
    spec = _spec(row)
    return RunOrder(
        seq=(row["epoch"], row["n"]),
        task=row["task_id"],
        attempt=row["attempt"],
        argv=spec.argv,
        env=spec.env,
        cores=spec.cores,
        memory=spec.memory,
        container=spec.container,
        privileged=spec.privileged,
        mounts=spec.mounts,
        numa=spec.target.numa if spec.target else None,
    )
