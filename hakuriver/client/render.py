"""Rows of the API as text for people: pure functions of the rows and the time.

Whatever comes from tasks and nodes passes plain() here: it cannot steer a terminal.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from hakuriver.client.output import clip, columns
from hakuriver.model.errors import Internal
from hakuriver.model.units import format_duration, format_number, format_size
from hakuriver.system.plain import plain

Row = dict[str, Any]
Paint = Callable[[str], str]

FINAL = frozenset({"completed", "failed", "killed", "killed_oom"})
"""Statuses as on the wire. Importing them from the model would cost a sixth of a short command."""
NONE = "-"

TASK_TITLES = ("ID", "STATUS", "NODE", "CORES", "MEM", "AGE", "DURATION", "EXIT", "COMMAND")
NODE_TITLES = (
    "NODE", "STATUS", "DRIVER", "DOCKER", "CORES", "MEM", "TASKS", "NUMA", "HEARTBEAT",
)  # fmt: skip
HEALTH_TITLES = ("NODE", "STATUS", "CPU", "MEM", "MEM USED", "CORES", "HEARTBEAT")


class Table:
    """Rows in columns. A column never gets narrower from one page of rows to the next.

    paint colours the padded cell of the column "STATUS", if there is one. width 0: nothing is cut;
    otherwise the last column is.
    """

    def __init__(self, titles: Sequence[str], *, paint: Paint = str, width: int = 0) -> None:
        self._titles = titles
        self._paint = paint
        self._width = width
        self._widths = [0] * len(titles)
        self._begun = False

    def lines(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        cells = [[plain(cell) for cell in row] for row in rows]
        head = [] if self._begun else [list(self._titles)]
        for row in [*head, *cells]:
            self._widths = [max(w, columns(c)) for w, c in zip(self._widths, row, strict=True)]
        if head:
            yield self._line(head[0], str)
        self._begun = True
        for row in cells:
            yield self._line(row, self._paint)

    def _line(self, row: Sequence[str], paint: Paint) -> str:
        *front, last = row
        padded = [
            cell + " " * (width - columns(cell))
            for cell, width in zip(front, self._widths, strict=False)
        ]
        if self._width:
            last = clip(last, max(self._width - sum(map(columns, padded)) - 2 * len(padded), 8))
        if "STATUS" in self._titles:
            place = self._titles.index("STATUS")
            padded[place] = paint(padded[place])
        return "  ".join([*padded, last]).rstrip()


def task_cells(task: Row, now: float) -> tuple[str, ...]:
    return (
        word(task, "task_id"),
        word(task, "status"),
        word(task, "assigned_node") or word(task, "target_node") or NONE,
        format_number(float(task.get("required_cores") or 0)),
        size(task.get("required_memory_bytes")),
        span(task.get("submitted_at"), None, now) or NONE,
        span(task.get("started_at"), task.get("completed_at"), now) or NONE,
        NONE if task.get("exit_code") is None else str(task["exit_code"]),
        command_line(task),
    )


def task_details(task: Row, now: float, paint: Paint = str) -> Iterator[str]:
    """All that is known about a task, a field a line."""
    yield f"Task {plain(word(task, 'task_id'))}: {paint(plain(word(task, 'status')))}"
    fields = [(label, text) for label, text in _fields(task, now) if text]
    indent = max(len(label) for label, _ in fields)
    for label, text in fields:
        yield f"  {label:<{indent}}  {plain(text)}"


def _fields(task: Row, now: float) -> Iterator[tuple[str, str]]:
    waits = task.get("status") == "pending"
    yield "command", command_line(task)
    yield "waits because" if waits else "message", word(task, "error_message")
    yield "asked for", word(task, "wish")
    yield "exit code", word(task, "exit_code")
    yield "node", word(task, "assigned_node")
    yield "target", _target(task)
    yield "cores", format_number(float(task.get("required_cores") or 0))
    yield "memory", size(task.get("required_memory_bytes"), none="not limited, none reserved")
    yield "container", word(task, "container_name") or "none, directly on the node"
    yield "image", word(task, "image")
    yield "packed", _moment(task.get("image_version"), now)
    yield "privileged", "yes" if task.get("privileged") else ""
    for mount in task.get("additional_mounts") or ():
        yield "mount", str(mount)
    for name, value in (task.get("env_vars") or {}).items():
        yield "env", f"{name}={value}"
    yield "driver", word(task, "driver")
    yield "unit", word(task, "unit_name")
    yield "batch", word(task, "batch_id")
    yield "attempt", word(task, "attempt")
    yield "user", word(task, "user")
    for label in ("submitted", "assigned", "started", "completed"):
        yield label, _moment(task.get(f"{label}_at"), now)
    yield "duration", span(task.get("started_at"), task.get("completed_at"), now)
    yield "peak memory", size(task.get("peak_memory_bytes"), none="")
    yield "CPU time", _seconds(task.get("cpu_seconds"))
    yield "stdout", word(task, "stdout_path")
    yield "stderr", word(task, "stderr_path")


def ending(task: Row) -> str:
    """How a task ended, in one line: "Task 12 failed: exit code 3 (node1, 1.2s)"."""
    why = word(task, "error_message")
    if not why and task.get("exit_code"):
        why = f"exit code {task['exit_code']}"
    took = span(task.get("started_at"), task.get("completed_at"), 0)
    where = ", ".join(part for part in (word(task, "assigned_node"), took) if part)
    line = f"Task {word(task, 'task_id')} {word(task, 'status')}"
    return f"{line}{f': {why}' if why else ''}{f' ({where})' if where else ''}"


def progress(tasks: Sequence[Row], now: float) -> str:
    """Where the waiting stands, in one line."""
    if len(tasks) == 1:
        task = tasks[0]
        since = task.get("started_at") or task.get("submitted_at")
        facts = [word(task, "status"), span(since, None, now), word(task, "assigned_node")]
        facts.append(word(task, "error_message"))
        return f"Task {word(task, 'task_id')}: {', '.join(fact for fact in facts if fact)}"
    by_status: dict[str, int] = {}
    for task in tasks:
        by_status[word(task, "status")] = by_status.get(word(task, "status"), 0) + 1
    over = sum(n for status, n in by_status.items() if status in FINAL)
    rest = [f"{n} {status}" for status, n in by_status.items() if status != "completed"]
    return ", ".join([f"{over}/{len(tasks)} done", *rest])


def node_cells(node: Row) -> tuple[str, ...]:
    return (
        word(node, "hostname"),
        word(node, "status") + ("+drained" if node.get("drained") else ""),
        word(node, "driver") or NONE,
        word(node, "docker") or NONE,
        f"{number(node.get('cores_in_use'))}/{number(node.get('total_cores'))}",
        f"{size(node.get('memory_in_use_bytes'))}/{size(node.get('memory_total_bytes'))}",
        f"{number(node.get('running_tasks'))}/{number(node.get('max_tasks'))}",
        _numa(node.get("numa_topology")),
        _ago(node.get("heartbeat_age")),
    )


def node_problems(node: Row) -> Iterator[str]:
    """What a node complains about, and why it takes no tasks if it was told so."""
    name = plain(word(node, "hostname"))
    drained = node.get("drained")
    if isinstance(drained, str) and drained:
        yield f"{name}: drained: {plain(drained)}"
    for problem in node.get("problems") or ():
        yield f"{name}: {plain(str(problem))}"


def health_cells(record: Row, now: float) -> tuple[str, ...]:
    used, total = record.get("memory_used_bytes"), record.get("memory_total_bytes")
    return (
        word(record, "hostname"),
        word(record, "status"),
        percent(record.get("cpu_percent")),
        percent(record.get("memory_percent")),
        f"{size(used)}/{size(total)}",
        number(record.get("total_cores")),
        _ago(_age(record.get("last_heartbeat"), now)),
    )


def aggregate(record: Row) -> str:
    nodes = f"{number(record.get('onlineNodes'))}/{number(record.get('totalNodes'))} nodes online"
    memory = f"{size(record.get('usedMemBytes'))}/{size(record.get('totalMemBytes'))}"
    return (
        f"Cluster: {nodes}, {number(record.get('totalCores'))} cores, "
        f"CPU {percent(record.get('avgCpuPercent'))}, "
        f"memory {memory} ({percent(record.get('avgMemPercent'))})"
    )


def command_line(task: Row) -> str:
    """The command, quoted so that a shell would understand it as the same."""
    return shlex.join([str(task.get("command") or ""), *map(str, task.get("arguments") or ())])


def word(row: Row, key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value)


def number(value: object) -> str:
    return format_number(value) if isinstance(value, (int, float)) else NONE


def size(value: object, none: str = NONE) -> str:
    return format_size(int(value)) if isinstance(value, (int, float)) else none


def percent(value: object) -> str:
    return f"{value:.0f}%" if isinstance(value, (int, float)) else NONE


def span(begin: object, end: object, now: float) -> str:
    """From begin to end, or to now; empty before it began. Clocks may differ: never negative."""
    start = _time(begin)
    if start is None:
        return ""
    stop = _time(end)
    return format_duration(max((now if stop is None else stop) - start, 0.0))


def _time(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Internal(f"the host sent '{text}' as a time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _moment(text: object, now: float) -> str:
    seconds = _time(text)
    if seconds is None:
        return ""
    local = datetime.fromtimestamp(seconds, timezone.utc).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S %z} ({format_duration(max(now - seconds, 0.0))} ago)"


def _age(text: object, now: float) -> float | None:
    seconds = _time(text)
    return None if seconds is None else max(now - seconds, 0.0)


def _ago(age: object) -> str:
    return f"{format_duration(float(age))} ago" if isinstance(age, (int, float)) else NONE


def _seconds(value: object) -> str:
    return format_duration(float(value)) if isinstance(value, (int, float)) else ""


def _target(task: Row) -> str:
    node, numa = word(task, "target_node"), word(task, "target_numa_node_id")
    return f"{node}:{numa}" if node and numa else node


def _numa(topology: object) -> str:
    """Cores of each NUMA node: "0:8 1:8"."""
    if not isinstance(topology, dict) or not topology:
        return NONE
    return " ".join(f"{name}:{len(node.get('cores') or ())}" for name, node in topology.items())
