"""Shells beside the tasks of this node."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from hakuriver.model.errors import Conflict, NotFound, Unavailable
from hakuriver.runner.drivers import CannotStart, Driver
from hakuriver.runner.job import Phase
from hakuriver.runner.jobs import Jobs
from hakuriver.system.bridge import Session
from hakuriver.system.frames import Size
from hakuriver.system.local_session import LocalSession

log = logging.getLogger(__name__)


class Shells:
    """drivers: by the kind of a job, as the worker has them."""

    def __init__(self, jobs: Jobs, drivers: Mapping[str, Driver]) -> None:
        self._jobs = jobs
        self._drivers = drivers

    def open(
        self, task: int, attempt: int, command: Sequence[str], *, size: Size | None, term: str
    ) -> Session:
        """Raises NotFound, Conflict or Unavailable."""
        job = self._jobs.get((task, attempt))
        if job is None:
            raise NotFound(f"task {task} is not on this node any more")
        if job.phase not in (Phase.RUNNING, Phase.PAUSED) or job.assignment is None:
            state = "is over" if job.ended else "has not started yet"
            raise Conflict(f"task {task} {state}: there is nothing to open a shell in")
        if job.phase is Phase.PAUSED and job.kind == "docker":
            raise Conflict(
                f"task {task} is paused, and so would be a shell in its container",
                f"Let it go on first: client resume {task}",
            )
        driver = self._drivers.get(job.kind)
        if driver is None:
            raise Unavailable("this node takes no such tasks any more")
        try:
            shell = driver.shell(
                job.assignment, command, term=None if size is None else term or "xterm"
            )
        except CannotStart as error:
            raise Conflict(f"task {task}: {error}") from None
        log.info("task %d.%d: a shell was opened", task, attempt)
        return LocalSession(
            shell.argv, size=size, env=shell.env, cwd=shell.cwd, on_hang_up=shell.on_hang_up
        )
