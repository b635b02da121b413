"""The queries: what the host asks of its database and how rows become tasks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hakuriver.host import listing
from hakuriver.host.listing import BatchRow, Filter, Page
from hakuriver.host.placement import Reserved, Waiting
from hakuriver.host.records import STATE_COLUMNS, order_of, target_of, task_of
from hakuriver.host.schema import LIVE
from hakuriver.model.messages import RunOrder, Seq
from hakuriver.model.node import NodeInfo
from hakuriver.model.node_messages import node_from_json, node_to_json
from hakuriver.model.task import Status, Task
from hakuriver.model.units import milli


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that no report has answered yet. refusals: how many tries were refused outright."""

    order: RunOrder
    tries: int
    refusals: int

    @property
    def never_arrived(self) -> bool:
        return self.tries == self.refusals


class Tx:
    """One transaction. `changed` collects the ids of the tasks that it changes."""

    def __init__(
        self, connection: sqlite3.Connection, next_revision: Callable[[], int] | None
    ) -> None:
        self._sql = connection
        self._next_revision = next_revision
        self.changed: set[int] = set()

    # Tasks

    def task(self, task_id: int) -> Task | None:
        row = self._sql.execute("SELECT * FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
        return None if row is None else task_of(row)

    def tasks(self, wanted: Filter) -> list[Task]:
        where, values = wanted.where()
        rows = self._sql.execute(
            f"SELECT * FROM tasks {where} ORDER BY task_id DESC LIMIT ?", (*values, wanted.limit)
        )
        return [task_of(row) for row in rows]

    def tasks_page(
        self, wanted: Filter, page: Page, *, sort: str, falling: bool
    ) -> tuple[list[Task], int]:
        """See listing."""
        return listing.tasks_page(self._sql, wanted, page, sort=sort, falling=falling)

    def batches_page(self, wanted: Filter, page: Page) -> tuple[list[BatchRow], int]:
        """See listing."""
        return listing.batches_page(self._sql, wanted, page)

    def by_status(self) -> dict[str, int]:
        """How many tasks have each status."""
        rows = self._sql.execute("SELECT status, COUNT(*) FROM tasks GROUP BY status")
        return {row[0]: row[1] for row in rows}

    def in_environments(self) -> dict[str, int]:
        """How many tasks that have not ended run, or will, in each environment."""
        rows = self._sql.execute(
            "SELECT container, COUNT(*) FROM tasks WHERE container IS NOT NULL"
            f" AND (status = 'pending' OR status IN {LIVE}) GROUP BY container"
        )
        return {row[0]: row[1] for row in rows}

    def first_waiting(self, limit: int) -> list[Task]:
        """Pending tasks in order."""
        rows = self._sql.execute(
            "SELECT * FROM tasks WHERE status = 'pending' ORDER BY task_id LIMIT ?", (limit,)
        )
        return [task_of(row) for row in rows]

    def last_failures(self, limit: int) -> list[Task]:
        """Tasks that failed or ran out of memory, the last first."""
        rows = self._sql.execute(
            "SELECT * FROM tasks INDEXED BY tasks_failed WHERE status IN ('failed', 'killed_oom')"
            " ORDER BY completed_at DESC LIMIT ?",
            (limit,),
        )
        return [task_of(row) for row in rows]

    def batch(self, batch_id: int) -> dict[str, int]:
        """How many of its tasks have each status; empty if there is no such batch."""
        rows = self._sql.execute(
            "SELECT status, COUNT(*) FROM tasks WHERE batch_id = ? GROUP BY status", (batch_id,)
        )
        return {row[0]: row[1] for row in rows}

    def first_of_batch(self, batch_id: int, status: Status) -> Task | None:
        """Its task of this status with the lowest id: who waits for a batch asks again and again."""
        row = self._sql.execute(
            "SELECT * FROM tasks WHERE batch_id = ? AND status = ? ORDER BY task_id LIMIT 1",
            (batch_id, status.value),
        ).fetchone()
        return None if row is None else task_of(row)

    def add_tasks(self, tasks: Iterable[Task]) -> None:
        self._sql.executemany(
            "INSERT INTO tasks (task_id, batch_id, argv, env, cores, memory, container, privileged,"
            " mounts, target_node, target_numa, user, status, submitted_at, message, revision)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (self._new_row(task) for task in tasks),
        )

    def _new_row(self, task: Task) -> tuple[Any, ...]:
        spec, target = task.spec, task.spec.target
        return (
            task.id, task.batch_id, json.dumps(spec.argv), json.dumps(spec.env), spec.cores,
            spec.memory, spec.container, spec.privileged, json.dumps(spec.mounts),
            target.node if target else None, target.numa if target else None, spec.user,
            task.status.value, task.submitted_at, task.message, self._revision(task.id),
        )  # fmt: skip

    def update_task(self, task: Task) -> Task:
        """Write all that may change; the caller has made sure that it may."""
        task = replace(task, revision=self._revision(task.id))
        assignments = ", ".join(f"{column} = ?" for column in STATE_COLUMNS)
        self._sql.execute(
            f"UPDATE tasks SET {assignments}, status = ?, wish = ?, revision = ? WHERE task_id = ?",
            (
                *(getattr(task, column) for column in STATE_COLUMNS),
                task.status.value,
                task.wish.value if task.wish else None,
                task.revision,
                task.id,
            ),
        )
        return task

    def _revision(self, task_id: int) -> int:
        assert self._next_revision is not None, "a reader does not write"
        self.changed.add(task_id)
        return self._next_revision()

    def last_task_id(self) -> int:
        """The highest id ever given out, also if that task has been pruned."""
        row = self._sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'").fetchone()
        return int(row[0]) if row else 0

    # Waiting and placing

    def waiting(self, open_nodes: Iterable[str]) -> Iterator[Waiting]:
        """Pending tasks in order, without those that wait for a node that is not open."""
        names = tuple(open_nodes)
        rows = self._sql.execute(
            "SELECT task_id, cores, memory, container, target_node, target_numa FROM tasks"
            " WHERE status = 'pending' AND (target_node IS NULL OR target_node IN"
            f" ({','.join('?' * len(names))})) ORDER BY task_id",
            names,
        )
        for row in rows:
            yield Waiting(row[0], row[1], row[2], row[3], target_of(row[4], row[5]))

    def reserved(self) -> dict[str, Reserved]:
        """What is held of each node."""
        held: dict[str, Reserved] = {}
        rows = self._sql.execute(
            "SELECT node, target_numa, cores, memory FROM tasks INDEXED BY tasks_live"
            f" WHERE status IN {LIVE}"
        )
        totals: dict[tuple[str, int | None], list[int]] = {}
        for node, numa, cores, memory in rows:
            total = totals.setdefault((node, numa), [0, 0, 0])
            total[0] += milli(cores)
            total[1] += memory or 0
            total[2] += 1
        for (node, numa), (cores, memory, tasks) in totals.items():
            sofar = held.get(node, Reserved())
            held[node] = Reserved(
                sofar.cores + cores,
                sofar.memory + memory,
                sofar.tasks + tasks,
                sofar.numa_cores if numa is None else {**sofar.numa_cores, numa: cores},
                sofar.numa_memory if numa is None else {**sofar.numa_memory, numa: memory},
            )
        return held

    def assign(self, task_id: int, node: str, seq: Seq, now: float) -> None:
        """Pending to assigning, with the order that makes it true; status was checked.

        The order's first try is counted already, see Unsent.
        """
        self._sql.execute(
            "UPDATE tasks SET status = 'assigning', node = ?, order_epoch = ?, order_n = ?,"
            " assigned_at = ?, message = '', report_n = 0, revision = ? WHERE task_id = ?",
            (node, *seq, now, self._revision(task_id), task_id),
        )
        self._sql.execute(
            "INSERT INTO orders (node, epoch, n, task_id, attempt, tries)"
            " SELECT ?, ?, ?, task_id, attempt, 1 FROM tasks WHERE task_id = ?",
            (node, *seq, task_id),
        )

    # Orders

    def open_orders(self, node: str, but: Container[Seq] = ()) -> list[OpenOrder]:
        """In the order in which they were given, without those whose numbers are named."""
        rows = self._sql.execute(
            "SELECT o.epoch, o.n, o.tries, o.refusals, t.* FROM orders o JOIN tasks t USING (task_id)"
            " WHERE o.node = ? ORDER BY o.epoch, o.n",
            (node,),
        )
        return [
            OpenOrder(order_of(row), row["tries"], row["refusals"])
            for row in rows
            if (row["epoch"], row["n"]) not in but
        ]

    def count_try(self, node: str, seqs: Iterable[Seq]) -> set[Seq]:
        """Those that were open, and are counted."""
        sql = "UPDATE orders SET tries = tries + 1 WHERE node = ? AND epoch = ? AND n = ?"
        return {seq for seq in seqs if self._sql.execute(sql, (node, *seq)).rowcount}

    def count_refusal(self, node: str, seqs: Iterable[Seq]) -> None:
        self._sql.executemany(
            "UPDATE orders SET refusals = refusals + 1 WHERE node = ? AND epoch = ? AND n = ?",
            [(node, *seq) for seq in seqs],
        )

    def close_order(self, task_id: int) -> None:
        self._sql.execute("DELETE FROM orders WHERE task_id = ?", (task_id,))

    def orders_closed_below(self, node: str, epoch: int) -> Seq:
        """All orders of the node with a lower number are over."""
        row = self._sql.execute(
            "SELECT epoch, n FROM orders WHERE node = ? ORDER BY epoch, n LIMIT 1", (node,)
        ).fetchone()
        if row is not None:
            return row[0], row[1]
        row = self._sql.execute("SELECT order_n FROM nodes WHERE name = ?", (node,)).fetchone()
        return epoch, (row[0] if row else 0) + 1

    def wishes(self, node: str) -> list[tuple[Task, Seq]]:
        """Live tasks of the node with a wish that has not come true."""
        rows = self._sql.execute(
            f"SELECT * FROM tasks INDEXED BY tasks_live WHERE node = ? AND status IN {LIVE}"
            " AND wish IS NOT NULL",
            (node,),
        )
        return [(task_of(row), (row["order_epoch"], row["order_n"])) for row in rows]

    def live(self, node: str) -> list[tuple[Task, Seq, OpenOrder | None]]:
        """Tasks that are, or may be, on the node, with their order's number and state."""
        rows = self._sql.execute(
            f"SELECT * FROM tasks INDEXED BY tasks_live WHERE node = ? AND status IN {LIVE}",
            (node,),
        ).fetchall()
        orders = {order.order.task: order for order in self.open_orders(node)} if rows else {}
        return [
            (task_of(row), (row["order_epoch"], row["order_n"]), orders.get(row["task_id"]))
            for row in rows
        ]

    # Nodes

    def nodes(self) -> list[tuple[NodeInfo, str | None]]:
        """All nodes with the reason why they are drained, None if they are not."""
        rows = self._sql.execute(
            "SELECT info, drained FROM nodes WHERE removed_at IS NULL ORDER BY name"
        )
        return [(node_from_json(json.loads(row[0])), row[1]) for row in rows]

    def save_node(self, info: NodeInfo, now: float) -> None:
        self._sql.execute(
            "INSERT INTO nodes (name, info, registered_at) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET info = excluded.info, registered_at = ?,"
            " removed_at = NULL",
            (info.name, json.dumps(node_to_json(info)), now, now),
        )

    def remove_node(self, name: str, now: float) -> None:
        """Its row stays: old tasks name it, and the numbers of its orders may never begin anew."""
        self._sql.execute(
            "UPDATE nodes SET removed_at = ?, drained = NULL WHERE name = ?", (now, name)
        )

    def wanting(self, node: str) -> int:
        """How many pending tasks can run on this node only."""
        sql = "SELECT COUNT(*) FROM tasks WHERE status = 'pending' AND target_node = ?"
        return int(self._sql.execute(sql, (node,)).fetchone()[0])

    def drain(self, name: str, reason: str | None) -> None:
        self._sql.execute("UPDATE nodes SET drained = ? WHERE name = ?", (reason, name))

    def next_order(self, node: str) -> int:
        """The next number for an order of this node; rises for ever."""
        self._sql.execute("UPDATE nodes SET order_n = order_n + 1 WHERE name = ?", (node,))
        row = self._sql.execute("SELECT order_n FROM nodes WHERE name = ?", (node,)).fetchone()
        return int(row[0])

    # Everything else

    def meta(self, key: str) -> str | None:
        row = self._sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def submission(self, key: str) -> tuple[str, str] | None:
        """(hash of the body, stored answer) of an earlier submission with this key."""
        row = self._sql.execute(
            "SELECT body_hash, answer FROM submissions WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def save_submission(self, key: str, body_hash: str, answer: str, now: float) -> None:
        self._sql.execute(
            "INSERT INTO submissions VALUES (?, ?, ?, ?)", (key, body_hash, answer, now)
        )

    def forget_submissions(self, before: float) -> None:
        self._sql.execute("DELETE FROM submissions WHERE submitted_at < ?", (before,))

    # Retention

    def ended(
        self, before: float, *, with_logs: bool, after: tuple[float, int], limit: int
    ) -> list[Task]:
        """Tasks that ended before a time, by (end, id), behind `after`; or only those with logs."""
        logs = "AND logs_pruned = 0" if with_logs else ""
        rows = self._sql.execute(
            "SELECT * FROM tasks WHERE completed_at < ? AND completed_at >= ?"
            f" AND (completed_at, task_id) > (?, ?) {logs} ORDER BY completed_at, task_id LIMIT ?",
            (before, after[0], *after, limit),
        )
        return [task_of(row) for row in rows]

    def forget_tasks(self, tasks: Iterable[Task]) -> int:
        """Those that are still as given: over, and not run again. How many those were."""
        sql = "DELETE FROM tasks WHERE task_id = ? AND attempt = ? AND completed_at = ?"
        return self._each_still(sql, tasks)

    def mark_logs_pruned(self, tasks: Iterable[Task]) -> int:
        """The same for tasks whose output is gone."""
        sql = "UPDATE tasks SET logs_pruned = 1"
        return self._each_still(
            f"{sql} WHERE task_id = ? AND attempt = ? AND completed_at = ?", tasks
        )

    def _each_still(self, sql: str, tasks: Iterable[Task]) -> int:
        count = 0
        for task in tasks:
            if self._sql.execute(sql, (task.id, task.attempt, task.completed_at)).rowcount:
                self.changed.add(task.id)
                count += 1
        return count
