"""Taking up what an earlier incarnation of the runner left."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time

from hakuriver.model.task import Wish
from hakuriver.runner.drivers import Ending
from hakuriver.runner.job import Job, Phase
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Entry
from hakuriver.runner.record import claim
from hakuriver.runner.work import Hands, Worker

log = logging.getLogger(__name__)

_RESTARTED = "the node restarted; how far it got is unknown"
_UNCLAIMED_SECONDS = 3600.0
_NO_DRIVER = "the runner has no driver for it any more; how far it got is unknown"


class Recovery:
    """recover() once, before any message is accepted."""

    def __init__(self, jobs: Jobs, worker: Worker, hands: Hands) -> None:
        self._jobs = jobs
        self._worker = worker
        self._hands = hands

    def recover(self) -> None:
        going: dict[str, list[Job]] = {name: [] for name in self._worker.drivers}
        queued: list[Job] = []
        for entry in self._jobs.ledger.entries():
            job = self._job(entry)
            self._jobs.add(job)
            if job.final is not None:
                self._worker.discard_soon(job)
            elif not self._may_have_run(entry, job):
                queued.append(job)
            else:
                # Not queued any more: a kill must not take it for one that never began.
                job.phase = Phase.RUNNING
                if entry.boot != self._worker.place.boot and not self._has_record(job):
                    self._end(job, _RESTARTED)
                else:
                    going.setdefault(job.kind, []).append(job)
        for name, jobs in going.items():
            self._recover_driver(name, jobs)
        for job in queued:
            self._worker.enqueue(job)
        self._jobs.on_report(True)
        self.remove_old_records()

    def _job(self, entry: Entry) -> Job:
        if entry.order is None:
            assert entry.report is not None, "a tombstone is written with its report"
            return Job(entry.key, None, entry.report.n, phase=Phase.ENDED, final=entry.report)
        job = self._worker.job(entry.order)
        job.record = entry.record
        job.wish, job.wish_n = entry.wish, entry.wish_n
        # A wish is written before its signal is sent: it may have been sent.
        job.signal_at = entry.wish_at if entry.wish is Wish.KILL else None
        if entry.report is not None:
            job.final, job.n, job.phase = entry.report, entry.report.n, Phase.ENDED
        job.assignment = self._worker.assignment(job)
        return job

    def _may_have_run(self, entry: Entry, job: Job) -> bool:
        """Who wins the claim decides. If we do, it is started anew, in another folder."""
        assert job.assignment is not None
        boot = self._worker.place.boot
        try:
            started = job.assignment.started()
            if started is None and not claim(job.assignment.record):
                return True
        except FileNotFoundError:
            if entry.boot == boot:
                return False  # Not even the folder was made.
            started = None
        if started is not None and not started.by_runner:
            return True
        # With the boot that it will run in: a later reboot is told by it.
        self._jobs.ledger.next_record(job.key, boot)
        job.record += 1
        job.signal_at = None
        return False

    def remove_old_records(self) -> None:
        """Folders of attempts that are over, and of starts that were given up.

        Not before their time: a start that is still under way somewhere must find its claim taken.
        """
        known = {f"{entry.key[0]}.{entry.key[1]}." for entry in self._jobs.ledger.entries()}
        before = time.time() - _UNCLAIMED_SECONDS
        with contextlib.suppress(FileNotFoundError):
            for folder in self._worker.place.records.iterdir():
                attempt = folder.name.rpartition(".")[0] + "."
                if attempt not in known and folder.lstat().st_mtime < before:
                    shutil.rmtree(folder, ignore_errors=True)

    def _has_record(self, job: Job) -> bool:
        return job.assignment is not None and job.assignment.exit() is not None

    def _end(self, job: Job, problem: str) -> None:
        self._worker.ended([Ending(job.key, None, self._worker.clock(), problem=problem)])

    def _recover_driver(self, name: str, jobs: list[Job]) -> None:
        driver = self._worker.drivers.get(name)
        if driver is None:
            for job in jobs:
                self._end(job, _NO_DRIVER)
            return
        units = driver.recover([job.assignment for job in jobs if job.assignment])
        for job in jobs:
            if job.key in units and job.assignment is not None:
                unit, paused = units[job.key], driver.paused(job.assignment)
                job.unit_name = unit.name
                self._goes_on(job, paused=paused)

    def _goes_on(self, job: Job, *, paused: bool) -> None:
        with self._jobs.lock:
            if job.ended or job.assignment is None:
                return
            job.phase = Phase.PAUSED if paused else Phase.RUNNING
            started = job.assignment.started()
            job.started_at = started.at if started else None
            if job.wish is (Wish.PAUSE if paused else Wish.RESUME):
                job.wish_done = job.wish_n
            self._jobs.changed(job)
        log.info("task %d.%d goes on as %s", *job.key, job.unit_name)
        if job.wish_open:
            self._hands.verbs(lambda: self._worker.fulfil(job.key))
