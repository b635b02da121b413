"""All attempts on this node: which there are, what has to be said of them, and what was said."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from hakuriver.model.messages import Attempt, Held, Report
from hakuriver.model.task import Ended, Observed, RefusedByNode
from hakuriver.runner.job import Job, Phase
from hakuriver.runner.ledger import Ledger

log = logging.getLogger(__name__)

_REPORTS_PER_INCARNATION = 1_000_000


class Jobs:
    """Thread-safe; `lock` is held by whoever changes a job. on_report(final) is called when there
    is something to report."""

    def __init__(
        self, ledger: Ledger, on_report: Callable[[bool], None] = lambda final: None
    ) -> None:
        self.lock = threading.RLock()
        self.ledger = ledger
        self.on_report = on_report
        self._jobs: dict[Attempt, Job] = {}
        self._dirty: dict[Attempt, None] = {}
        # Above all numbers of earlier incarnations, and below 2**53, which JSON readers keep exact.
        self._n = ledger.incarnation * _REPORTS_PER_INCARNATION

    def get(self, key: Attempt) -> Job | None:
        with self.lock:
            return self._jobs.get(key)

    def add(self, job: Job) -> None:
        with self.lock:
            self._jobs[job.key] = job
            if job.final is not None:
                self._dirty[job.key] = None

    def number(self) -> int:
        """For the next report."""
        with self.lock:
            self._n += 1
            return self._n

    def changed(self, job: Job) -> None:
        """There is something new to be said of it, if it has not ended.

        The end has the highest number of all: none is given once it is being written down.
        """
        with self.lock:
            if not job.ended:
                job.n = self.number()
                self._dirty[job.key] = None

    def finish(self, finished: list[tuple[Job, Report]]) -> None:
        """Their ends, on disk before this returns. Raises Unavailable, and nothing has changed."""
        self.ledger.finish(report for _, report in finished)
        with self.lock:
            for job, report in finished:
                job.final, job.n = report, report.n
                job.phase = Phase.ENDED
                self._dirty[job.key] = None
        for job, report in finished:
            log.info("task %d.%d ended: %s", *job.key, _words(report))
        self.on_report(True)

    def reports(self, limit: int) -> list[Report]:
        """What has not been acknowledged in its present form, oldest first.

        An end that is not on disk yet is no news yet.
        """
        with self.lock:
            dirty = [self._jobs[key] for key in self._dirty]
            ready = [job for job in dirty if job.final is not None or not job.ended]
            return [job.report() for job in ready[:limit]]

    def acknowledged(self, acks: Iterable[tuple[int, int, int]]) -> None:
        over = []
        with self.lock:
            for task, attempt, n in acks:
                job = self._jobs.get((task, attempt))
                if job is None or job.n != n:
                    continue  # Something newer has to be said by now.
                self._dirty.pop(job.key, None)
                if job.final is not None:
                    over.append(job.key)
                    del self._jobs[job.key]
            self.ledger.acknowledge(over)

    def held(self) -> list[Held]:
        """Every attempt that is here, for the heartbeat."""
        with self.lock:
            return [job.held() for job in self._jobs.values()]


def _words(report: Report) -> str:
    match report.fact:
        case Ended(result):
            code = "no exit code" if result.exit_code is None else f"exit code {result.exit_code}"
            return f"{result.status.value}, {code}{', ' + result.problem if result.problem else ''}"
        case RefusedByNode(reason=reason):
            return f"refused: {reason}"
        case Observed(state):
            return state.value
