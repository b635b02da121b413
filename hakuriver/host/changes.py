"""The one place that tells the log of a task's life."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hakuriver.model.task import Task

log = logging.getLogger(__name__)


def log_changes(changes: Iterable[tuple[Task, Task]]) -> None:
    """One line for each task whose status is another than before."""
    for before, after in changes:
        if before.status is not after.status:
            log.info(
                "task %d %s -> %s%s%s",
                after.id,
                before.status.value,
                after.status.value,
                f" on {after.node}" if after.node else "",
                f": {after.message}" if after.message else "",
            )
