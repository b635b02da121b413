"""What the drivers of tasks without a container share: a keeper that is a process of this machine.

The keeper leads a session of its own and outlives the runner. A driver says how one is launched and
which processes belong to it; the rest, from signals to recovery, is here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hakuriver.model.messages import Attempt
from hakuriver.runner.drivers import NO_ROOM, Assignment, Ending, OnEnd, Shell, Unit, cannot
from hakuriver.runner.drivers.files import make_files, make_record, remove_record
from hakuriver.runner.drivers.groups import SETTLE_SECONDS, Group, Marked
from hakuriver.runner.drivers.node_argv import ProcessSettings, as_user, environment
from hakuriver.runner.drivers.proctree import (
    Mark,
    Process,
    at_rest,
    child_of_ours,
    members,
    none_stopped,
    process,
    send,
    younger_than,
)
from hakuriver.runner.drivers.watcher import Watcher
from hakuriver.runner.taskenv import (
    CARRIER,
    bytes_argv,
    bytes_environment,
    login_environment,
)

log = logging.getLogger(__name__)

_DRIVER = "HAKURIVER_DRIVER"
_YOUNG_SECONDS = 60.0
_SWEEP_SECONDS = 0.1
_GIVE_UP_SECONDS = 30.0


@dataclass(slots=True)
class _Watched:
    """child: it is ours to reap. failed: its end was seen, and could not be looked at yet."""

    assignment: Assignment
    keeper: Process
    child: bool
    since: float
    failed: bool = False


@dataclass(slots=True, eq=False)
class _Sweep:
    """An attempt whose keeper is gone and whose leftovers are being ended."""

    assignment: Assignment
    ending: Ending
    group: Group
    hard_at: float
    give_up_at: float


class KeeperDriver:
    """See Driver. A kind of it has a name, start(), and may narrow group() and find_units()."""

    name: str

    def __init__(self, settings: ProcessSettings, on_end: OnEnd) -> None:
        self._settings = settings
        self._on_end = on_end
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._keepers: dict[Attempt, Process] = {}
        self._sweeps: list[_Sweep] = []
        user = settings.user or pwd.getpwuid(os.getuid())
        self._login = login_environment(user, os.environ)
        self._watcher = Watcher(
            self._over, self._sweep, lambda: _SWEEP_SECONDS if self._sweeps else None
        )
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop()

    def do(self, work: Callable[[], None]) -> None:
        """Do this, soon, in the driver's thread: starts are best made there."""
        self._watcher.call(work)

    def prepare(self, assignment: Assignment) -> None:
        if self._settings.user is None:
            make_record(assignment, for_others=False)  # The keeper makes the logs itself.
        else:
            make_files(assignment)

    # What a kind of driver says

    def group(self, assignment: Assignment, keeper: int | None) -> Group:
        """The processes of an attempt; keeper is its pid, None if that is not known."""
        return Marked(self._mark_of(assignment, keeper))

    def find_units(self, assignments: Sequence[Assignment]) -> None:
        """Learn, after a restart of the runner, what the attempts run as."""

    def unit_of(self, assignment: Assignment, keeper: Process) -> Unit:
        return Unit(f"pid {keeper.pid}")

    def over(self, assignment: Assignment) -> None:
        """Nothing of the attempt is left, and its end is about to be told."""

    # Starting

    def spawn(self, argv: list[str], assignment: Assignment, *, stderr: int | None = None) -> int:
        """The pid of a new session's leader. Raises CannotStart or CannotStartNow."""
        errors = (os.POSIX_SPAWN_DUP2, 1 if stderr is None else stderr, 2)
        try:
            return os.posix_spawn(
                argv[0],
                bytes_argv(argv),
                bytes_environment(self.environment(assignment)),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                    errors,
                ],
                setsid=True,
                setsigmask=[],
                # Python ignores these; a program that inherits that would never learn of a broken pipe.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            raise cannot(f"cannot start {argv[0]}", error) from None

    def environment(self, assignment: Assignment) -> dict[str, str]:
        # What runs in containers of this node is in the same /proc, and has no such variable.
        return {**environment(self._settings, assignment, self._login), _DRIVER: "node"}

    def watch_child(self, assignment: Assignment, pid: int) -> None:
        self._watch(assignment, child_of_ours(pid), child=True)

    def watch_other(self, assignment: Assignment, keeper: Process) -> None:
        self._watch(assignment, keeper, child=False)

    def _watch(self, assignment: Assignment, keeper: Process, *, child: bool) -> None:
        with self._lock:
            self._watched[keeper.pid] = _Watched(assignment, keeper, child, time.monotonic())
            self._keepers[assignment.key] = keeper
        self._watcher.watch(keeper)

    # Signals

    def pause(self, assignment: Assignment) -> bool:
        paused = self._until(assignment, signal.SIGSTOP, at_rest)
        if not paused:
            self._group(assignment).signal(signal.SIGCONT)  # Not a half of it.
        return paused

    def resume(self, assignment: Assignment) -> bool:
        return self._until(assignment, signal.SIGCONT, none_stopped)

    def kill(self, assignment: Assignment, *, hard: bool) -> bool:
        group = self._group(assignment)
        if hard:
            return group.kill()
        reached = group.signal(signal.SIGTERM)
        # The keeper may be there before its command is: wait for somebody who can be told.
        deadline = time.monotonic() + SETTLE_SECONDS
        while not reached and self._goes_on(assignment) and time.monotonic() < deadline:
            time.sleep(0.01)
            reached = group.signal(signal.SIGTERM)
        # A stopped process takes its signal when it is continued.
        group.signal(signal.SIGCONT)
        return reached

    def _until(
        self, assignment: Assignment, number: int, done: Callable[[list[Process]], bool]
    ) -> bool:
        group = self._group(assignment)
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            group.signal(number)
            found = group.members()
            if found and done(found):
                return True
            if not found and not self._goes_on(assignment):
                return False
            time.sleep(0.005)
        return False

    def paused(self, assignment: Assignment) -> bool:
        found = self._group(assignment).members()
        return bool(found) and at_rest(found)

    def _goes_on(self, assignment: Assignment) -> bool:
        with self._lock:
            return assignment.key in self._keepers

    def _group(self, assignment: Assignment) -> Group:
        with self._lock:
            keeper = self._keepers.get(assignment.key)
        return self.group(assignment, None if keeper is None else keeper.pid)

    def _mark_of(self, assignment: Assignment, keeper: int | None) -> Mark:
        task, attempt = assignment.key
        own = (f"HAKURIVER_TASK_ID={task}".encode(), f"HAKURIVER_ATTEMPT={attempt}".encode())
        return Mark(keeper, (*own, *self._node_mark().variables))

    def _node_mark(self) -> Mark:
        settings = self._settings
        return Mark(
            None,
            (
                f"HAKURIVER_CLUSTER={settings.cluster}".encode(),
                f"HAKURIVER_NODE={settings.node}".encode(),
                f"{_DRIVER}=node".encode(),
            ),
        )

    # Ends

    def _over(self, pids: list[int]) -> None:
        """Keepers are gone; in the watcher's thread."""
        for pid in pids:
            with self._lock:
                watched = self._watched.pop(pid)
            try:
                self._is_over(pid, watched)
            except OSError as error:
                # Out of descriptors, or a disk that cannot be read: the end is still to be told.
                if not watched.failed:
                    log.error("cannot look at the end of keeper %d yet: %s", pid, error.strerror)
                watched.failed = True
                with self._lock:
                    self._watched[pid] = watched
                self._watcher.look_at(watched.keeper)

    def _is_over(self, pid: int, watched: _Watched) -> None:
        young = time.monotonic() - watched.since < _YOUNG_SECONDS
        among = younger_than(pid) if young else None
        group = self.group(watched.assignment, pid)
        # Before it is reaped: until then its pid, and so its session, cannot be anybody else's.
        left = group.members(among=among)
        cpu_seconds = _reap(pid) if watched.child else None
        watched.child = False
        self._begin_sweep(watched.assignment, group, left, cpu_seconds)

    def _begin_sweep(
        self,
        assignment: Assignment,
        group: Group,
        left: list[Process],
        cpu_seconds: float | None = None,
    ) -> None:
        ending = ending_of(
            assignment, self.counted(cpu_seconds), self.code_without_record(assignment)
        )
        if left:
            group.signal(signal.SIGTERM)
            group.signal(signal.SIGCONT)
        grace = self._settings.grace
        hard_at = time.monotonic() + grace if left else 0.0
        give_up_at = hard_at + grace + _GIVE_UP_SECONDS
        with self._lock:
            self._sweeps.append(_Sweep(assignment, ending, group, hard_at, give_up_at))

    def counted(self, cpu_seconds: float | None) -> float | None:
        """What a keeper's parent was told that it used, if that is to be reported."""
        return None

    def code_without_record(self, assignment: Assignment) -> int | None:
        """The exit code of a command whose keeper did not live to write it down, if we know it."""
        return None

    def _sweep(self) -> None:
        """What is left of ended tasks is ended; then their end is told, all in one."""
        ends = []
        told: list[_Sweep] = []
        now = time.monotonic()
        with self._lock:
            sweeps = list(self._sweeps)
        for sweep in sweeps:
            ending = sweep.ending
            if sweep.hard_at and (left := sweep.group.members()):
                if now < sweep.give_up_at:
                    if now > sweep.hard_at:
                        sweep.group.kill()
                    continue
                # A process in an uninterruptible wait (a dead NFS server) cannot be killed.
                pids = ", ".join(str(each.pid) for each in left)
                ending = replace(ending, problem=f"cannot be killed and still there: pid {pids}")
            ends.append(ending)
            told.append(sweep)
            with self._lock:
                self._keepers.pop(ending.key, None)
            self.over(sweep.assignment)
        if ends:
            self._on_end(ends)
        with self._lock:
            # Not before: what fails on the way is tried again.
            self._sweeps = [each for each in self._sweeps if each not in told]

    # After a restart of the runner

    def recover(self, assignments: list[Assignment]) -> dict[Attempt, Unit]:
        units: dict[Attempt, Unit] = {}
        self._kill_strangers(assignments)
        self.find_units(assignments)
        for assignment in assignments:
            started = assignment.started()
            keeper = self._find_keeper(assignment, started.pid if started else None)
            if keeper is not None:
                self.watch_other(assignment, keeper)
                units[assignment.key] = self.unit_of(assignment, keeper)
                continue
            group = self.group(assignment, None)
            self._begin_sweep(assignment, group, group.members())
        self._watcher.wake()
        return units

    def _kill_strangers(self, assignments: list[Assignment]) -> None:
        """Processes with our mark whose task the ledger does not know: it was lost or emptied."""
        known = [self._mark_of(assignment, None) for assignment in assignments]
        strangers = [
            each
            for each in members(self._node_mark())
            if not any(mark.in_environment(each.pid) for mark in known)
        ]
        for each in strangers:
            log.warning("killing process %d, which belongs to no task here", each.pid)
            send(each, signal.SIGKILL)

    def _find_keeper(self, assignment: Assignment, pid: int | None) -> Process | None:
        """The living keeper. Its pid may be somebody else's by now: the environment tells."""
        mark = self._mark_of(assignment, None)
        if pid is not None:
            found = process(pid)
            if found is not None and found.alive and mark.in_environment(pid):
                return found
            return None
        # It claimed the attempt and has not written its pid yet, or never will.
        leaders = [each for each in members(mark) if each.session == each.pid]
        return leaders[0] if leaders else None

    def shell(self, assignment: Assignment, command: Sequence[str], *, term: str | None) -> Shell:
        # Without the drivers' own mark: a shell is none of the task's processes, so it neither is
        # killed with them nor does anybody wait for it.
        env = {**self.environment(assignment), **dict(assignment.order.env)}
        own = {name: value for name, value in env.items() if not name.startswith(CARRIER)}
        own.pop(_DRIVER)
        argv = [*as_user(self._settings.user), *(command or [self._login["SHELL"]])]
        return Shell(
            argv, {**own, **({"TERM": term} if term else {})}, str(self._settings.shared_data)
        )

    def discard(self, assignment: Assignment) -> None:
        remove_record(assignment)


def _reap(pid: int) -> float | None:
    """Seconds of CPU time that a child of ours, and all that it has waited for, have used."""
    with contextlib.suppress(ChildProcessError):
        _, _, usage = os.wait4(pid, 0)
        return usage.ru_utime + usage.ru_stime
    return None


def ending_of(assignment: Assignment, cpu_seconds: float | None, code: int | None) -> Ending:
    """What the record says; a keeper that left none was killed itself.

    cpu_seconds stand in where the kernel counted nothing for the task alone, code where there is
    no record.
    """
    found = assignment.exit()
    if found is None and assignment.had_no_room():
        return Ending(assignment.key, None, time.time(), never_ran=NO_ROOM, again=True)
    if found is None:
        problem = "the supervising process was killed; the exit code is unknown"
        return Ending(assignment.key, None, time.time(), exit_code=code, problem=problem)
    record, ended_at = found
    if record.cpu_seconds is None and record.exit_code is not None:
        record = replace(record, cpu_seconds=cpu_seconds)
    return Ending(assignment.key, record, ended_at)
