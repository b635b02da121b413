"""Tasks in containers: detached, labelled, with the keeper inside and no process of ours outside.

Ends are learnt from one `docker events` process per runner (events.py). Facts about the engine
were measured with 20.10 to 28; each is named where it matters.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hakuriver.model.messages import Attempt
from hakuriver.runner.drivers import (
    Assignment,
    CannotStart,
    CannotStartNow,
    ImageGone,
    KilledBeforeStart,
    OnEnd,
    Shell,
    Unit,
    cannot,
)
from hakuriver.runner.drivers.docker_argv import (
    DockerSettings,
    create_argv,
    end_shell_arguments,
    env_file,
    env_file_text,
    key_of,
    labels_of,
    own_labels,
    shell_arguments,
)
from hakuriver.runner.drivers.docker_ending import (
    ENGINE_STOPPED,
    OUTSIDE,
    UNSEEN,
    WENT_AWAY,
    ending_of,
)
from hakuriver.runner.drivers.events import Died, EngineEvents
from hakuriver.runner.drivers.files import make_files, remove_record
from hakuriver.runner.drivers.forgotten import is_forgotten, signal_forgotten
from hakuriver.runner.policy import permitted
from hakuriver.runner.taskenv import carriers
from hakuriver.system.command import Completed, fixed_environment
from hakuriver.system.docker import Container, Docker, NoEngine, engine_error

__all__ = ["DockerDriver", "DockerSettings"]

log = logging.getLogger(__name__)

_VERB_SECONDS = 120.0
_SHELL_GRACE_SECONDS = 1.0
_ENGINE_LACKS = (
    "no space left on device",
    "disk quota exceeded",
    "too many open files",
    "resource temporarily unavailable",
)


class DockerDriver:
    name = "docker"

    def __init__(
        self,
        docker: Docker,
        settings: DockerSettings,
        on_end: OnEnd,
    ) -> None:
        self._docker = docker
        self._settings = settings
        self._on_end = on_end
        self._lock = threading.Lock()
        self._assignments: dict[Attempt, Assignment] = {}
        self._containers: dict[Attempt, str] = {}
        self._recovering: dict[Attempt, Assignment] = {}
        self._events = EngineEvents(
            docker, own_labels(settings), on_died=self._died, look=self._look
        )

    def begin(self) -> None:
        """Start listening to the engine; after recover()."""
        self._events.start()

    def stop(self) -> None:
        self._events.stop()

    def prepare(self, assignment: Assignment) -> None:
        make_files(assignment)

    # Starting

    def start(self, assignment: Assignment) -> Unit:
        settings = self._settings
        order = permitted(assignment.order, settings.policy, node=settings.node)
        assignment = replace(assignment, order=order)
        with self._lock:
            self._assignments[assignment.key] = assignment
        try:
            container, name = self._create(assignment)
            if assignment.killed():
                self._remove(container)
                raise KilledBeforeStart
            with self._lock:
                self._containers[assignment.key] = container
            self._start(container)
        except (CannotStart, CannotStartNow, KilledBeforeStart):
            self._forget(assignment.key)
            raise
        except NoEngine as error:
            # It may have been started all the same; the listing after the gap tells.
            return self._unsure(assignment, error)
        return Unit(name)

    def _create(self, assignment: Assignment) -> tuple[str, str]:
        """Id and name of the container. What has our labels and this record is ours already."""
        labels = labels_of(self._settings, assignment)
        task, attempt = assignment.key
        plain = f"hakuriver-task-{task}"
        long = f"{plain}-{self._settings.cluster[:4]}-{attempt}"
        # Starts of this attempt that went wrong half-way may hold both names until they are removed.
        for name in (plain, long, f"{long}-{assignment.record.suffix[1:]}"):
            argv = create_argv(self._settings, assignment, name)
            done = self._run_create(assignment, argv)
            if done.code == 0:
                return done.text.splitlines()[-1], name
            if "is already in use by container" not in done.error:
                raise self._cannot_create(assignment, engine_error(done))
            for found in self._docker.inspect(name):
                if all(found.labels.get(key) == value for key, value in labels.items()):
                    return found.id, name
        raise CannotStart(
            f"the container names of task {task} are taken on this node: {done.error}"
        )

    def _run_create(self, assignment: Assignment, argv: list[str]) -> Completed:
        values = carriers(assignment.order)
        if not (self._settings.sudo and values):
            return self._docker.run(*argv, timeout=_VERB_SECONDS, env=values)
        # sudo takes the environment away: a file that only we can read, for as long as it is needed.
        path = env_file(assignment)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(env_file_text(assignment.order.env))
            return self._docker.run(*argv, timeout=_VERB_SECONDS)
        except OSError as error:
            raise cannot(f"cannot write {path}", error) from None
        finally:
            path.unlink(missing_ok=True)

    def _cannot_create(self, assignment: Assignment, error: str) -> CannotStart | CannotStartNow:
        if "no such image" in error.lower():
            name = assignment.order.container
            return ImageGone(f"the image of environment '{name}' is not on {self._settings.node}")
        return _refused(f"docker create: {error}")

    def _start(self, container: str) -> None:
        done = self._docker.run("start", container, timeout=_VERB_SECONDS)
        if done.code == 0:
            return
        found = self._docker.inspect(container)
        if found and found[0].started:
            return
        self._remove(container)
        raise _refused(f"docker start: {engine_error(done)}")

    def _unsure(self, assignment: Assignment, error: NoEngine) -> Unit:
        """The engine went away in mid-start. If nothing had begun, nothing ever will."""
        log.warning("task %d: %s", assignment.order.task, error.detail)
        with self._lock:
            self._recovering[assignment.key] = assignment
        self._events.relist()
        return Unit(f"hakuriver-task-{assignment.order.task}")

    # Verbs

    def pause(self, assignment: Assignment) -> bool:
        return self._verb(assignment, "pause") or self._state(assignment) == "paused"

    def resume(self, assignment: Assignment) -> bool:
        return self._verb(assignment, "unpause") or self._state(assignment) == "running"

    def kill(self, assignment: Assignment, *, hard: bool) -> bool:
        container = self._containers.get(assignment.key, "")
        self._events.expect_kill(container)
        reached = self._verb(assignment, "kill", f"--signal={'KILL' if hard else 'TERM'}")
        if not reached and self._state(assignment) == "created":
            number = signal.SIGKILL if hard else signal.SIGTERM
            return signal_forgotten(container, number, sudo=self._settings.sudo)
        if not hard and self._state(assignment) == "paused":
            # A frozen process takes its signal when it is thawed.
            self._verb(assignment, "unpause")
        return reached

    def paused(self, assignment: Assignment) -> bool:
        return self._state(assignment) == "paused"

    def _verb(self, assignment: Assignment, *verb: str) -> bool:
        with self._lock:
            container = self._containers.get(assignment.key)
        if container is None:
            return False
        try:
            return self._docker.run(*verb, container, timeout=_VERB_SECONDS).code == 0
        except NoEngine as error:
            log.warning("task %d: docker %s: %s", assignment.order.task, verb[0], error.detail)
            return False

    def _state(self, assignment: Assignment) -> str:
        with self._lock:
            container = self._containers.get(assignment.key)
        try:
            found = self._docker.inspect(container) if container else []
        except NoEngine:
            return ""
        return found[0].state if found else ""

    # Ends

    def _died(self, died: Died) -> None:
        """A container of ours ended; in the events thread."""
        key = key_of(died.labels)
        with self._lock:
            assignment = self._assignments.get(key)
        if assignment is None or died.labels.get("hakuriver.record") != assignment.record.name:
            self._remove(died.container)
            return
        problem = {"": "", "outside": OUTSIDE, "engine": ENGINE_STOPPED}[died.cause]
        with self._lock:
            self._containers.setdefault(key, died.container)
        self._end(assignment, died.exit_code, problem)

    def _end(self, assignment: Assignment, exit_code: int | None, problem: str) -> None:
        with self._lock:
            if assignment.key not in self._assignments:
                return  # Told already: an event and a listing may both see it.
        self._on_end([ending_of(assignment, exit_code, problem)])
        with self._lock:
            # Not before: what fails on the way is tried again.
            self._assignments.pop(assignment.key, None)
            self._recovering.pop(assignment.key, None)

    def _look(self, *, gap: bool, but: frozenset[str]) -> None:
        """Compare all containers that carry our labels with what we believe."""
        # Before the listing: what is started meanwhile is missing in it and not lost.
        with self._lock:
            placed = dict(self._containers)
            recovering = dict(self._recovering)
            expected = set(self._assignments)
        containers = self._docker.containers(own_labels(self._settings))
        with self._lock:
            known = dict(self._assignments)
        seen = {key_of(each.labels) for each in containers if each.id in but}
        for each in containers:
            if each.id in but:
                continue
            key = key_of(each.labels)
            assignment = known.get(key)
            if assignment is None or each.labels.get("hakuriver.record") != assignment.record.name:
                self._remove_stranger(each)
                continue
            seen.add(key)
            with self._lock:
                self._containers[key] = each.id
            if each.state in ("exited", "dead"):
                problem = self._guess(assignment, each.exit_code, each.id) if gap else ""
                self._end(assignment, each.exit_code, problem)
            elif each.state == "created" and key in recovering:
                if is_forgotten(each.id):
                    self._events.relist_soon()  # Nobody will tell its end.
                    continue
                self._remove(each.id)
                found = assignment.exit()
                problem = (
                    self._guess(assignment, found[0].exit_code, each.id) if found else WENT_AWAY
                )
                self._end(assignment, None, problem)
            elif key in recovering:
                with self._lock:
                    self._recovering.pop(key, None)
        for key in (set(placed) | set(recovering)) & expected & set(known) - seen:
            self._end(known[key], None, OUTSIDE if key in placed else ENGINE_STOPPED)

    def _guess(self, assignment: Assignment, exit_code: int | None, container: str = "") -> str:
        """Who ended it unseen, if anybody: an engine that stops sends TERM, and then KILL."""
        if exit_code not in (137, 143) or assignment.killed() or self._events.expected(container):
            return ""
        return ENGINE_STOPPED if self._events.lost else UNSEEN

    def _remove_stranger(self, container: Container) -> None:
        """Ours by its labels and unknown to the ledger: a start that went wrong half-way."""
        log.warning("removing container %s, which belongs to no task here", container.name)
        if container.state == "created":
            signal_forgotten(container.id, signal.SIGKILL, sudo=self._settings.sudo)
        self._remove(container.id)

    # After a restart of the runner

    def recover(self, assignments: list[Assignment]) -> dict[Attempt, Unit]:
        """All that were started count as going on until the first listing tells better."""
        units = {}
        names = self._find(assignments)
        for assignment in assignments:
            found = assignment.exit()
            with self._lock:
                self._assignments[assignment.key] = assignment
            if found is not None:
                self._end(assignment, None, self._guess(assignment, found[0].exit_code))
                continue
            with self._lock:
                self._recovering[assignment.key] = assignment
            name = names.get(assignment.key, f"hakuriver-task-{assignment.order.task}")
            units[assignment.key] = Unit(name)
        return units

    def _find(self, assignments: list[Assignment]) -> dict[Attempt, str]:
        """Names of those containers that are there, so that verbs reach them at once."""
        records = {assignment.key: assignment.record.name for assignment in assignments}
        try:
            found = self._docker.containers(own_labels(self._settings)) if records else []
        except NoEngine as error:
            log.warning("cannot look for tasks in containers yet: %s", error.detail)
            return {}
        ours = [
            each
            for each in found
            if records.get(key_of(each.labels), "") == each.labels.get("hakuriver.record")
        ]
        with self._lock:
            self._containers.update((key_of(each.labels), each.id) for each in ours)
        return {key_of(each.labels): each.name for each in ours}

    def shell(self, assignment: Assignment, command: Sequence[str], *, term: str | None) -> Shell:
        with self._lock:
            container = self._containers.get(assignment.key)
        if container is None:
            raise CannotStart("its container is not there")
        note = f"shell.{secrets.token_hex(8)}"
        argv = [
            *self._docker.argv,
            *shell_arguments(assignment, container, command, note=note, term=term),
        ]
        path = assignment.record / note
        return Shell(argv, fixed_environment(), "/", lambda: self._end_shell(container, path))

    def _end_shell(self, container: str, path: Path) -> None:
        """Nobody sees a shell any more; it would go on, since docker leaves it to itself."""
        try:
            pid = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return
        for name in ("HUP", "KILL"):
            with contextlib.suppress(NoEngine):
                if self._docker.run(*end_shell_arguments(container, pid, name)).code:
                    return
            time.sleep(_SHELL_GRACE_SECONDS)

    def discard(self, assignment: Assignment) -> None:
        with self._lock:
            container = self._containers.pop(assignment.key, None)
        if container is not None:
            self._remove(container)
        remove_record(assignment)

    def _forget(self, key: Attempt) -> None:
        with self._lock:
            self._assignments.pop(key, None)
            self._containers.pop(key, None)

    def _remove(self, container: str) -> None:
        try:
            done = self._docker.run("rm", "--force", "--volumes", container, timeout=_VERB_SECONDS)
        except NoEngine as error:
            log.warning("cannot remove container %s: %s", container[:12], error.detail)
            return
        if (
            done.code != 0
            and "No such container" not in done.error
            and "already in progress" not in done.error
        ):
            log.warning("cannot remove container %s: %s", container[:12], done.error)


def _refused(problem: str) -> CannotStart | CannotStartNow:
    """An engine without room would fail all that its node is given: see drivers.cannot()."""
    lacks = any(words in problem.lower() for words in _ENGINE_LACKS)
    return CannotStartNow(problem) if lacks else CannotStart(problem)
