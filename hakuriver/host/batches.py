"""What can be done with all tasks of one submission at once: one transaction, however many there are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from hakuriver.host.changes import log_changes
from hakuriver.host.listing import Filter
from hakuriver.host.reconcile import requeued, wished
from hakuriver.host.rows import Tx
from hakuriver.host.store import Store
from hakuriver.model.errors import Conflict, NotFound
from hakuriver.model.submission import TASKS_MAX
from hakuriver.model.task import Status, Task, Wish

log = logging.getLogger(__name__)

_GOING = (Status.PENDING, Status.ASSIGNING, Status.RUNNING, Status.PAUSED, Status.LOST)
_NOT_COMPLETED = (Status.FAILED, Status.KILLED, Status.KILLED_OOM)


@dataclass(frozen=True, slots=True)
class Batch:
    """by_status: how many tasks have each; first_failed: the first that is over and did not complete."""

    id: int
    by_status: dict[str, int]
    first_failed: Task | None

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


class Batches:
    """on_orders and on_room as for Cluster."""

    def __init__(
        self,
        store: Store,
        *,
        on_orders: Callable[[str], None] = lambda node: None,
        on_room: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._on_orders = on_orders
        self._on_room = on_room
        self._clock = clock

    def get(self, batch_id: int) -> Batch:
        """Raises NotFound."""
        with self._store.read() as tx:
            counts = tx.batch(batch_id)
            if not counts:
                raise _unknown(batch_id)
            firsts = [tx.first_of_batch(batch_id, status) for status in _NOT_COMPLETED]
            failed = [task for task in firsts if task is not None]
            first = min(failed, key=lambda task: task.id) if failed else None
            return Batch(batch_id, counts, first)

    def kill(self, batch_id: int) -> int:
        """Those that wait at once, others when their nodes say so; how many. Raises NotFound."""

        def work(tx: Tx) -> list[tuple[Task, Task]]:
            now = self._clock()
            return [
                (task, tx.update_task(wished(task, Wish.KILL, now)))
                for status in _GOING
                for task in self._known(tx, batch_id, status)
            ]

        changes = self._store.write(work)
        log_changes(changes)
        for node in {after.node for _, after in changes if after.node and not after.status.final}:
            self._on_orders(node)
        return len(changes)

    def retry(self, batch_id: int) -> list[int]:
        """Run those that failed again; their ids. Raises NotFound, Conflict if none did."""

        def work(tx: Tx) -> list[tuple[Task, Task]]:
            failed = self._known(tx, batch_id, Status.FAILED)
            for task in failed:
                tx.close_order(task.id)
            return [(task, tx.update_task(requeued(task))) for task in failed]

        changes = self._store.write(work)
        if not changes:
            raise Conflict(f"no task of batch {batch_id} has failed")
        log_changes(changes)
        self._on_room()
        return [after.id for _, after in changes]

    def _known(self, tx: Tx, batch_id: int, status: Status) -> list[Task]:
        if not tx.batch(batch_id):
            raise _unknown(batch_id)
        return _tasks(tx, batch_id, status)


def _tasks(tx: Tx, batch_id: int, status: Status) -> list[Task]:
    """By id, rising."""
    wanted = Filter(statuses=(status,), batch=batch_id, limit=TASKS_MAX)
    return sorted(tx.tasks(wanted), key=lambda task: task.id)


def _unknown(batch_id: int) -> NotFound:
    return NotFound(f"there is no batch {batch_id}", "A batch has the number of its first task.")
