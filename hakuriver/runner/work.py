"""What is done with an attempt: started, killed, paused, resumed, and cleaned up after."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hakuriver.model.errors import Unavailable
from hakuriver.model.messages import Attempt, Report, RunOrder
from hakuriver.model.tarball import Version
from hakuriver.model.task import Ended, RefusedByNode, Result, Wish, output_name
from hakuriver.runner.drivers import (
    Assignment,
    CannotStart,
    CannotStartNow,
    Driver,
    Ending,
    ImageGone,
    KilledBeforeStart,
    Unit,
)
from hakuriver.runner.images import Images
from hakuriver.runner.job import Job, Phase
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.record import claim, file_clock
from hakuriver.system.docker import NoEngine

log = logging.getLogger(__name__)

Work = Callable[[], None]
_LEDGER_RETRY_SECONDS = 1.0
_TRY_SECONDS, _TRIES = 2.0, 8
_KILLED_BEFORE_START = Ended(Result(None, kill_sent=True))


@dataclass(frozen=True, slots=True)
class Place:
    """Where the agent works. records is local; kill_grace in seconds."""

    cluster: str
    node: str
    shared_dir: Path
    records: Path
    boot: str
    kill_grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Hands:
    """Who does what takes time. start: by driver name; verbs: kills, pauses, clean-ups."""

    start: Mapping[str, Callable[[Work], None]]
    verbs: Callable[[Work], None]
    after: Callable[[float, Work], None]


class Worker:
    """drivers: "docker" for containers, "node" for tasks without one, each only if there is one.

    unfit() says why nothing can be started now, "" if it can. Every verb on one job waits for the
    one before it.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        place: Place,
        hands: Hands,
        unfit: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = file_clock,
    ) -> None:
        self.drivers: Mapping[str, Driver] = {}
        self.images: Images | None = None
        self.place = place
        self.clock = clock
        self._jobs = jobs
        self._hands = hands
        self._unfit = unfit

    def job(self, order: RunOrder) -> Job:
        kind = "node" if order.container is None else "docker"
        driver = self.drivers.get(kind)
        name = driver.name if driver else ""
        return Job(order.key, order, self._jobs.number(), kind=kind, driver=name)

    def enqueue(self, job: Job) -> None:
        self._hands.start[job.kind](lambda: self._start(job.key))

    def _start(self, key: Attempt) -> None:
        job = self._jobs.get(key)
        if job is None:
            return
        with job.lock:
            if job.phase is Phase.QUEUED and not self._has_image(job):
                return
            with self._jobs.lock:
                if job.phase is not Phase.QUEUED:
                    return
                job.phase = Phase.STARTING
                job.assignment = self.assignment(job)
            unit = self._try_start(job, job.assignment)
            if unit is None:
                return
            with self._jobs.lock:
                job.unit_name, job.note = unit.name, ""
                if not job.ended:
                    job.phase = Phase.RUNNING
                    job.started_at = self.clock()
                    self._jobs.changed(job)
            if job.wish_open:
                self.fulfil(key)
        self._jobs.on_report(False)

    def _try_start(self, job: Job, assignment: Assignment) -> Unit | None:
        """None if it was not started; its end is told then."""
        if job.wish is Wish.KILL:
            self._finish_unstarted(job, _KILLED_BEFORE_START)
            return None
        unfit = self._unfit()
        if unfit:
            self._finish_unstarted(job, RefusedByNode(unfit, for_good=False))
            return None
        driver = self.drivers.get(job.kind)
        if driver is None:
            what = "containers" if job.kind == "docker" else "tasks without a container"
            reason = f"{self.place.node} takes no {what}"
            self._finish_unstarted(job, RefusedByNode(reason, for_good=True))
            return None
        try:
            driver.prepare(assignment)
            return driver.start(assignment)
        except KilledBeforeStart:
            self._finish_unstarted(job, _KILLED_BEFORE_START)
        except ImageGone as error:
            self._look_again(job, error)
        except CannotStart as error:
            self._finish_unstarted(job, RefusedByNode(str(error), for_good=True))
        except CannotStartNow as error:
            driver.discard(assignment)
            with self._jobs.lock:
                job.phase = Phase.QUEUED
            self._try_later(job, str(error))
        except Exception:
            # Outer edge of a start: a fault of ours must not leave the task starting for ever. If
            # we win the claim it never ran; if not, the driver or the next restart tells its end.
            log.exception("cannot start task %d.%d", *job.key)
            if self._claimed(assignment):
                reason = "internal error while it was started; see the runner's log"
                self._finish_unstarted(job, RefusedByNode(reason, for_good=True))
        return None

    # Images

    def _has_image(self, job: Job) -> bool:
        """Choose the image of a container. False if it is being loaded, or the task cannot run:
        then whoever is told of it goes on."""
        if self.images is None or job.order is None or job.order.container is None:
            return True
        if job.wish is Wish.KILL or self._unfit():
            return True  # It will not be started, and says so itself.
        try:
            choice = self.images.choose(job.order.container)
        except CannotStart as error:
            self._finish_unstarted(job, RefusedByNode(str(error), for_good=True))
            return False
        except NoEngine as error:
            self._try_later(job, error.detail)
            return False
        if not isinstance(choice, Version):
            job.image, job.image_version = choice.image_id, choice.version
            job.image_path = choice.path
            return True
        self.images.load(
            choice,
            lambda note: self._waits(job.key, note),
            lambda problem: self._loaded(job.key, problem),
        )
        return False

    def _try_later(self, job: Job, why: str) -> None:
        """An engine may just be restarting. After a while the task goes back to the host, who knows
        by then what there is here."""
        job.tries += 1
        if job.tries > _TRIES:
            self._finish_unstarted(job, RefusedByNode(why, for_good=False))
            return
        self._waits(job.key, why)
        self._hands.after(_TRY_SECONDS, lambda: self.enqueue(job))

    def _waits(self, key: Attempt, note: str) -> None:
        """Tell what a queued task waits for."""
        job = self._jobs.get(key)
        if job is None:
            return
        with self._jobs.lock:
            if job.phase is not Phase.QUEUED or job.note == note:
                return
            job.note = note
            self._jobs.changed(job)
        self._jobs.on_report(False)

    def _loaded(self, key: Attempt, problem: str) -> None:
        job = self._jobs.get(key)
        if job is None:
            return
        if not problem:
            self.enqueue(job)
            return
        with job.lock:
            if job.phase is Phase.QUEUED:
                self._finish_unstarted(job, RefusedByNode(problem, for_good=True))

    def _look_again(self, job: Job, error: ImageGone) -> None:
        """Somebody removed the image between the choice and the start: what is published can be had
        again."""
        if self.images is None or not job.image or job.image_version is None:
            self._finish_unstarted(job, RefusedByNode(str(error), for_good=True))
            return
        self.images.forget(job.image)
        if job.assignment is not None:
            self.drivers[job.kind].discard(job.assignment)  # Nothing was made of it.
        with self._jobs.lock:
            job.phase, job.image, job.image_version = Phase.QUEUED, None, None
        self.enqueue(job)

    def _claimed(self, assignment: Assignment) -> bool:
        try:
            return claim(assignment.record)
        except OSError:
            return True  # Without its folder no keeper can begin.

    def assignment(self, job: Job) -> Assignment:
        assert job.order is not None
        task, attempt = job.key
        return Assignment(
            order=job.order,
            record=self.place.records / f"{task}.{attempt}.{job.record}",
            stdout=self.place.shared_dir / output_name(task, attempt, "stdout"),
            stderr=self.place.shared_dir / output_name(task, attempt, "stderr"),
            killed=lambda: job.wish is Wish.KILL,
            image_path=job.image_path,
            image=(job.image or "") if job.image_version is not None else "",
        )

    # Wishes

    def fulfil(self, key: Attempt) -> None:
        job = self._jobs.get(key)
        if job is None:
            return
        with job.lock:
            with self._jobs.lock:
                if job.ended or not job.wish_open:
                    return
                queued = job.phase is Phase.QUEUED
                wish, n = job.wish, job.wish_n
                if queued and wish is Wish.KILL:
                    job.phase = Phase.STARTING  # Nobody else starts it now.
            if queued:
                if wish is Wish.KILL:
                    self._finish_unstarted(job, _KILLED_BEFORE_START)
                return
            if wish is Wish.KILL:
                self._kill(job, hard=False)
            else:
                self._pause_or_resume(job, pause=wish is Wish.PAUSE, n=n)

    def _kill(self, job: Job, *, hard: bool) -> None:
        """TERM, after the grace period KILL, and again until the end is told."""
        with job.lock:
            if job.ended or job.assignment is None:
                return
            before = job.signal_at
            job.signal_at = before or self.clock()
            try:
                reached = self.drivers[job.kind].kill(job.assignment, hard=hard)
            except OSError as error:
                reached = True  # Some of it, perhaps.
                log.error("task %d.%d cannot be signalled yet: %s", *job.key, error.strerror)
            with self._jobs.lock:
                if not reached and before is None and not job.ended:
                    job.signal_at = None
                if hard and not job.ended:
                    job.note = "SIGKILL was sent and it is still there"
                    self._jobs.changed(job)
        self._hands.after(self.place.kill_grace, lambda: self._kill(job, hard=True))

    def _pause_or_resume(self, job: Job, *, pause: bool, n: int) -> None:
        assert job.assignment is not None
        driver = self.drivers[job.kind]
        try:
            done = driver.pause(job.assignment) if pause else driver.resume(job.assignment)
        except OSError as error:
            done = False
            log.error("task %d.%d cannot be signalled: %s", *job.key, error.strerror)
        with self._jobs.lock:
            if job.ended:
                return
            if done:
                job.phase = Phase.PAUSED if pause else Phase.RUNNING
            job.note = "" if done else f"could not be {'paused' if pause else 'resumed'}"
            job.wish_done = max(job.wish_done, n)
            self._jobs.changed(job)
        self._jobs.on_report(False)

    # Ends

    def ended(self, endings: list[Ending]) -> None:
        """Drivers tell; the results are on disk before they are reported or anything is removed."""
        with self._jobs.lock:
            jobs = [(self._jobs.get(ending.key), ending) for ending in endings]
            finished = []
            for job, ending in jobs:
                if job is not None and job.final is None:
                    job.phase = Phase.ENDED
                    finished.append((job, job.report_end(ending, self._jobs.number())))
        try:
            self._finish(finished)
        except Unavailable as error:
            # The record is still there; nothing is lost by waiting for room on the disk.
            log.error("%s", error.detail)
            self._hands.after(_LEDGER_RETRY_SECONDS, lambda: self.ended(endings))

    def _finish_unstarted(self, job: Job, fact: Ended | RefusedByNode) -> None:
        with self._jobs.lock:
            job.phase = Phase.ENDED
            report = Report(
                task=job.key[0],
                attempt=job.key[1],
                n=self._jobs.number(),
                fact=fact,
                driver=job.driver or None,
                wish_n=job.wish_n,
            )
        try:
            self._finish([(job, report)])
        except Unavailable as error:
            log.error("%s", error.detail)
            self._hands.after(_LEDGER_RETRY_SECONDS, lambda: self._finish_unstarted(job, fact))

    def _finish(self, finished: list[tuple[Job, Report]]) -> None:
        if finished:
            self._jobs.finish(finished)
        for job, _ in finished:
            self.discard_soon(job)

    def discard_soon(self, job: Job) -> None:
        """Its result is safe: container, unit and record can go."""
        self._hands.verbs(lambda: self._discard(job))

    def _discard(self, job: Job) -> None:
        driver = self.drivers.get(job.kind)
        if driver is not None and job.assignment is not None:
            driver.discard(job.assignment)
        if job.image and self.images is not None and self.images.unused(job.image):
            self._hands.verbs(self.images.tidy)
