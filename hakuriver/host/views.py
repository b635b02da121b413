"""How tasks and nodes look to clients: the documents of the HTTP API."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hakuriver.host.batches import Batch
from hakuriver.host.listing import BatchRow
from hakuriver.host.placement import Reserved
from hakuriver.host.registry import NodeState
from hakuriver.model.task import Status, Task
from hakuriver.model.units import MILLI


def iso(seconds: float | None) -> str | None:
    """A Unix time as ISO 8601 in UTC, with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def task_view(task: Task, shared_dir: Path) -> dict[str, Any]:
    """The task object; ids are texts."""
    spec = task.spec
    numa = spec.target.numa if spec.target else None
    return {
        "task_id": str(task.id),
        "batch_id": str(task.batch_id),
        "command": spec.argv[0],
        "arguments": list(spec.argv[1:]),
        "env_vars": dict(spec.env),
        "required_cores": spec.cores,
        "required_memory_bytes": spec.memory,
        "status": task.status.value,
        "assigned_node": task.node,
        "target_node": spec.target.node if spec.target else None,
        "target_numa_node_id": numa,
        "container_name": spec.container,
        "image": task.image,
        "image_version": iso(task.image_version),
        "privileged": spec.privileged,
        "additional_mounts": list(spec.mounts),
        "stdout_path": str(shared_dir / task.output_name("stdout")),
        "stderr_path": str(shared_dir / task.output_name("stderr")),
        "logs_pruned": task.logs_pruned,
        "exit_code": task.exit_code,
        "error_message": _message(task),
        "submitted_at": iso(task.submitted_at),
        "assigned_at": iso(task.assigned_at),
        "started_at": iso(task.started_at),
        "completed_at": iso(task.completed_at),
        "attempt": task.attempt,
        "driver": task.driver,
        "unit_name": task.unit_name,
        "systemd_unit_name": task.unit_name,
        "wish": task.wish.value if task.wish else None,
        "peak_memory_bytes": task.peak_memory,
        "cpu_seconds": task.cpu_seconds,
        "user": spec.user,
        "revision": task.revision,
        "assignment_suspicion_count": 0,
    }


def batch_view(batch: Batch, shared_dir: Path) -> dict[str, Any]:
    failed = batch.first_failed
    return {
        "batch_id": str(batch.id),
        "total": batch.total,
        "by_status": batch.by_status,
        "first_failed": None if failed is None else task_view(failed, shared_dir),
    }


def batch_row_view(batch: BatchRow, shared_dir: Path) -> dict[str, Any]:
    """A batch in a list."""
    return {
        "batch_id": str(batch.id),
        "total": batch.total,
        "by_status": batch.by_status,
        "first": task_view(batch.first, shared_dir),
        "submitted_at": iso(batch.first.submitted_at),
        "ended_at": iso(batch.ended_at),
    }


def _message(task: Task) -> str | None:
    """With what is going to happen to a task whose node does not answer."""
    if task.status is Status.LOST and task.wish:
        return f"{task.message}; it will be {_DONE[task.wish.value]} when the node returns"
    return task.message or None


_DONE = {"kill": "killed", "pause": "paused", "resume": "resumed"}


def node_view(node: NodeState, reserved: Reserved, *, now: float) -> dict[str, Any]:
    info = node.info
    age = None if node.heartbeat_at is None else max(now - node.heartbeat_at, 0.0)
    in_use = reserved.cores / MILLI
    return {
        "hostname": info.name,
        "url": info.url,
        "total_cores": info.capacity.cores,
        "cores_in_use": in_use,
        "available_cores": max(info.capacity.cores - in_use, 0) if node.online else 0,
        "memory_total_bytes": info.capacity.memory,
        "memory_in_use_bytes": reserved.memory,
        "status": "online" if node.online else "offline",
        "drained": node.drained,
        "driver": info.driver or None,
        "docker": info.engine.version if info.engine else None,
        "live_restore": info.engine.live_restore if info.engine else None,
        "problems": list(info.problems),
        "environments": dict(info.environments),
        "last_heartbeat": iso(node.heartbeat_at),
        "heartbeat_age": None if age is None else round(age, 1),
        "numa_topology": _numa(node),
        "version": info.version,
        "protocol": info.protocol,
        "running_tasks": reserved.tasks,
        "max_tasks": info.capacity.max_tasks,
        **_vitals(node),
    }


def health_view(node: NodeState) -> dict[str, Any]:
    """A node in the history of GET /health."""
    return {
        "hostname": node.info.name,
        "status": "online" if node.online else "offline",
        "last_heartbeat": iso(node.heartbeat_at),
        "memory_total_bytes": node.vitals.memory_total,
        "total_cores": node.info.capacity.cores,
        "numa_topology": _numa(node),
        **_vitals(node),
    }


def _vitals(node: NodeState) -> dict[str, Any]:
    return {
        "cpu_percent": node.vitals.cpu_percent,
        "memory_percent": round(node.vitals.memory_percent, 1),
        "memory_used_bytes": node.vitals.memory_used,
    }


def _numa(node: NodeState) -> dict[str, Any] | None:
    topology = {
        str(number): {"cores": list(numa.cores), "memory_bytes": numa.memory}
        for number, numa in node.info.capacity.numa.items()
    }
    return topology or None


def aggregate_view(nodes: list[NodeState], *, now: float) -> dict[str, Any]:
    """The cluster at one moment; sums and means are over the nodes that answer."""
    online = [node for node in nodes if node.online]
    cores = sum(node.info.capacity.cores for node in online)
    total = sum(node.vitals.memory_total for node in online)
    used = sum(node.vitals.memory_used for node in online)
    load = sum(node.vitals.cpu_percent * node.info.capacity.cores for node in online)
    return {
        "totalNodes": len(nodes),
        "onlineNodes": len(online),
        "totalCores": cores,
        "totalMemBytes": total,
        "usedMemBytes": used,
        "avgCpuPercent": round(load / cores, 1) if cores else 0.0,
        "avgMemPercent": round(100 * used / total, 1) if total else 0.0,
        "lastUpdated": iso(now),
    }
