"""Long work on the host, such as packing: done in the background, followed by whoever wants to.

A job outlives the client that asked for it, not the host: jobs are kept in memory, and their ids
hold the epoch, so that one of an earlier life is never taken for another.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from hakuriver.model.errors import HakuRiverError, Internal, NotFound, Unavailable
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

_KEPT = 200
_TELL_SECONDS = 0.1
_STOP_SECONDS = 3.0
"""A registry that does not answer, or an engine that commits, cannot be interrupted: left behind."""


class JobState(str, Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED)


class Stopped(Exception):
    """The host stops: the work undoes what it has half done and ends."""


Work = Callable[["Progress"], dict[str, Any]]
"""What a job does; returns its result. Raises HakuRiverError or Stopped."""


@dataclass(slots=True)
class Job:
    """kind: create, pack, sync. stage says what it does now, done and total count its bytes (total 0:
    unknown). message is the last word, once it is over. Times in Unix seconds."""

    id: str
    kind: str
    environment: str
    user: str
    created_at: float
    state: JobState = JobState.WAITING
    stage: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    ended_at: float | None = None
    revision: int = 0
    error: HakuRiverError | None = None


class Jobs:
    """Thread-safe; what it returns are copies.

    Jobs of one environment follow each other, others run side by side.
    """

    def __init__(self, epoch: int, clock: Callable[[], float] = time.time) -> None:
        self._epoch = epoch
        self._clock = clock
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._revisions = itertools.count(1)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queues: dict[str, list[tuple[Job, Work]]] = {}
        self._threads: set[threading.Thread] = set()
        self._stopping = False

    def start(self, kind: str, environment: str, work: Work, *, user: str = "") -> Job:
        """Begin it, or queue it behind an earlier one of the environment. Raises Unavailable."""
        with self._changed:
            if self._stopping:
                raise Unavailable("the host is stopping")
            name = f"{self._epoch}.{next(self._numbers)}"
            job = Job(name, kind, environment, user, self._clock())
            self._jobs[job.id] = job
            self._forget_old()
            queue = self._queues.setdefault(environment, [])
            queue.append((job, work))
            if len(queue) == 1:
                thread = threading.Thread(
                    target=self._run, args=(environment,), name=f"job-{environment}", daemon=True
                )
                self._threads.add(thread)
                thread.start()
            else:
                self._note(job, stage=f"waits for job {queue[-2][0].id}")
        log.info("job %s: %s %s, for %s", job.id, kind, environment, plain(user) or "somebody")
        return job

    def _forget_old(self) -> None:
        over = [job.id for job in self._jobs.values() if job.state.over]
        for job_id in over[: max(len(self._jobs) - _KEPT, 0)]:
            del self._jobs[job_id]

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._changed:
            return replace(self._get(job_id))

    def _get(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is not None:
            return job
        epoch = job_id.partition(".")[0]
        if epoch.isascii() and epoch.isdigit() and len(epoch) < 18 and int(epoch) < self._epoch:
            raise NotFound(
                f"job {plain(job_id[:40])} is not known any more: the host has been restarted",
                "What was not finished then was undone. See: docker list-tars",
            )
        raise NotFound(f"there is no job {plain(job_id[:40])}", "See: docker jobs")

    def all(self) -> list[Job]:
        """Newest first."""
        with self._changed:
            return [replace(job) for job in reversed(self._jobs.values())]

    def changed(self, since: int) -> tuple[int, list[Job]]:
        """The newest revision of any job, and the jobs that have changed since that one."""
        with self._changed:
            found = [replace(job) for job in self._jobs.values() if job.revision > since]
        return max([since, *(job.revision for job in found)]), found

    def making(self) -> dict[str, Job]:
        """Environments that are being made at the moment, with the job that makes each."""
        with self._changed:
            return {
                job.environment: replace(job)
                for job in self._jobs.values()
                if job.kind in ("pack", "initial") and not job.state.over
            }

    def wait(self, job_id: str, since: int, seconds: float) -> Job:
        """The job once it has changed since that revision or is over, or when time is up."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                job = self._get(job_id)
                left = deadline - time.monotonic()
                if job.state.over or job.revision > since or left <= 0 or self._stopping:
                    return replace(job)
                self._changed.wait(left)

    def end(self, job: Job) -> Job:
        """Wait for its end. Raises what it ended with."""
        with self._changed:
            self._changed.wait_for(lambda: job.state.over or self._stopping)
        if not job.state.over:
            raise Unavailable("the host is stopping")
        if job.error is not None:
            raise job.error
        return job

    def stop(self) -> None:
        """Running jobs undo what they have half done; those that wait are not begun."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    # In the thread of one environment's jobs

    def _run(self, environment: str) -> None:
        while True:
            with self._changed:
                queue = self._queues[environment]
                if not queue:
                    del self._queues[environment]
                    self._threads.discard(threading.current_thread())
                    return
                job, work = queue[0]
                self._note(job, state=JobState.RUNNING, stage="")
            self._do(job, work)
            with self._changed:
                self._queues[environment].pop(0)

    def _do(self, job: Job, work: Work) -> None:
        error: HakuRiverError | None = None
        result: dict[str, Any] = {}
        try:
            result = work(Progress(self, job))
        except HakuRiverError as failure:
            error = failure
        except Stopped:
            error = Unavailable("the host was stopped meanwhile")
        except Exception:
            # Outer edge of a job: those who wait for it must learn of its end.
            log.exception("job %s failed", job.id)
            error = Internal("internal error", "See the host's log.")
        message = error.detail if error else str(result.get("message", "done"))
        state = JobState.FAILED if error else JobState.DONE
        level = logging.ERROR if error else logging.INFO
        log.log(level, "job %s %s: %s", job.id, state.value, plain(message))
        with self._changed:
            job.error, job.result, job.ended_at = error, result, self._clock()
            self._note(job, state=state, message=message)

    def _note(self, job: Job, **changes: Any) -> None:
        """Under the lock."""
        for name, value in changes.items():
            setattr(job, name, value)
        job.revision = next(self._revisions)
        self._changed.notify_all()


class Progress:
    """How a job tells where it stands; every method raises Stopped when it should end."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self._jobs = jobs
        self._job = job
        self._told = 0.0

    @property
    def job(self) -> Job:
        return self._job

    def check(self) -> None:
        if self._jobs._stopping:
            raise Stopped

    def stage(self, text: str, total: int = 0) -> None:
        self.check()
        with self._jobs._changed:
            self._jobs._note(self._job, stage=text, done=0, total=total)

    def bytes(self, done: int, total: int | None = None) -> None:
        """Followers hear of it several times a second, not of every byte."""
        self.check()
        now = time.monotonic()
        if now - self._told < _TELL_SECONDS:
            return
        self._told = now
        with self._jobs._changed:
            known = self._job.total if total is None else total
            self._jobs._note(self._job, done=done, total=max(known, done) if known else 0)
