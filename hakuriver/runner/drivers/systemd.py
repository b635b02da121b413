"""Tasks directly on the node as scopes of its systemd: limits, counters and one name for all of it.

A scope rather than a service: it is made around a process of ours, so the command line and the
environment never travel through systemd, where anybody could read them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hakuriver.model.messages import Attempt
from hakuriver.model.units import format_size
from hakuriver.runner.drivers import (
    Assignment,
    CannotStart,
    CannotStartNow,
    KilledBeforeStart,
    OnEnd,
    Unit,
    cannot,
)
from hakuriver.runner.drivers.groups import Group
from hakuriver.runner.drivers.keepers import KeeperDriver
from hakuriver.runner.drivers.node_argv import ProcessSettings, as_user, keeper_command
from hakuriver.runner.drivers.proctree import Process, process
from hakuriver.runner.drivers.scopes import InScope, Scope, Scopes, Tools, scope_argv
from hakuriver.runner.pool import Pool

log = logging.getLogger(__name__)

_START_SECONDS = 60.0
_LOOK_SECONDS = 0.003
_STARTS_AT_ONCE = 4
ENDED_BY_SIGNAL = "it was ended by a signal"
# A machine that is going down: "Transaction for … is destructive", then systemd hangs up, or ends us all.
NOT_NOW = (
    ENDED_BY_SIGNAL,
    "is destructive",
    "Failed to connect to bus",
    "Transport endpoint is not connected",
    "Connection reset by peer",
    "Connection refused",
    "Connection timed out",
)
_ROOM_TO_START = 32 << 20
_TAKEN = ("already loaded", "already exists")
# The environment comes in a file where sudo takes away what we give: read, then never seen again.
_READ_ENVIRONMENT = 'set -a; . "$1" || exit 125; set +a; shift; exec "$@"'


class SystemdDriver(KeeperDriver):
    name = "systemd"

    def __init__(self, settings: ProcessSettings, tools: Tools, on_end: OnEnd) -> None:
        self._scopes = Scopes(tools)
        self._tools = tools
        self._units: dict[Attempt, Scope] = {}
        self._units_lock = threading.Lock()
        self._launchers: list[int] = []
        self._killed_hard: set[Attempt] = set()
        self._starts = Pool("systemd-start", _STARTS_AT_ONCE)
        super().__init__(settings, on_end)

    def stop(self) -> None:
        self._starts.stop()
        super().stop()

    def do(self, work: Callable[[], None]) -> None:
        """A start waits for systemd: never in the thread that every task's end depends on."""
        self._starts.do(work)

    # Starting

    def start(self, assignment: Assignment) -> Unit:
        task, attempt = assignment.key
        plain = f"hakuriver-task-{task}"
        long = f"{plain}-{self._settings.cluster[:4]}-{attempt}"
        # Starts of this attempt that went wrong half-way may hold both names.
        for name in (plain, long, f"{long}-{assignment.record.suffix[1:]}"):
            if assignment.killed():
                raise KilledBeforeStart
            problem = self._launch(assignment, f"{name}.scope")
            if not problem:
                return Unit(f"{name}.scope")
            if any(words in problem for words in NOT_NOW):
                raise CannotStartNow(f"systemd does not start it now: {problem}")
            if not any(words in problem for words in _TAKEN):
                raise CannotStart(f"systemd-run: {problem}")
        raise CannotStart(f"the unit names of task {task} are taken on this node")

    def _launch(self, assignment: Assignment, name: str) -> str:
        """ "" once its keeper has begun, or ended; else what systemd said, and nothing was run."""
        said = os.memfd_create("hakuriver-systemd-run", os.MFD_CLOEXEC)
        try:
            with self._environment_file(assignment) as file:
                pid = self.spawn(self.argv(assignment, name, file), assignment, stderr=said)
                begun = self._wait_begun(assignment, pid)
            if not begun and assignment.started() is None:
                _, status = os.waitpid(pid, 0)
                check_memory(status, assignment.order.memory)
                return _last_line(said) or wordless(status)
        finally:
            os.close(said)
        self._attach(assignment, name)
        self._watch_begun(assignment, pid)
        return ""

    def argv(self, assignment: Assignment, name: str, file: Path | None = None) -> list[str]:
        """The whole command line. Raises CannotStart."""
        user = self._settings.user
        front: list[str] = []
        if file is not None:
            # sudo made root of us: who the task is, and its environment, come from us all the same.
            user = user or pwd.getpwuid(os.getuid())
            front = ["/usr/bin/env", "-i", "/bin/sh", "-c", _READ_ENVIRONMENT, "sh", str(file)]
        return [
            *scope_argv(self._tools, name, self._description(assignment.key), assignment.order),
            *front,
            *as_user(user),
            *keeper_command(self._settings, assignment, counters=True),
        ]

    def _description(self, key: Attempt) -> str:
        # Two runners of one machine share its systemd.
        return f"hakuriver {self._settings.cluster} {key[0]}.{key[1]} on {self._settings.node}"

    @contextlib.contextmanager
    def _environment_file(self, assignment: Assignment) -> Iterator[Path | None]:
        """Where sudo is: a file that only we and root can read, for as long as it is needed."""
        if not self._tools.prefix:
            yield None
            return
        path = assignment.record.with_name(f"{assignment.record.name}.env")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(environment_text(self.environment(assignment)))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise cannot(f"cannot write {path}", error) from None
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _wait_begun(self, assignment: Assignment, pid: int) -> bool:
        """Until its keeper has claimed it and is known by its pid. False: what we started is over."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            over = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            started = assignment.started()
            if started is not None and started.pid is not None:
                return True
            if over:
                return False
            time.sleep(_LOOK_SECONDS)
        log.warning("task %d: systemd is slow; still waiting for its unit", assignment.order.task)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return False

    def _watch_begun(self, assignment: Assignment, pid: int) -> None:
        started = assignment.started()
        keeper = started.pid if started else None
        if keeper in (None, pid):
            self.watch_child(assignment, pid)
            return
        # Our child is sudo, which waits for the keeper and is reaped when it has ended.
        with self._units_lock:
            self._launchers.append(pid)
        assert keeper is not None
        self.watch_other(assignment, process(keeper) or Process(keeper, keeper, "X", -1))

    # Ends

    def kill(self, assignment: Assignment, *, hard: bool) -> bool:
        if hard and self._goes_on(assignment):
            # Before the signal: the end may be seen in the same moment.
            with self._units_lock:
                self._killed_hard.add(assignment.key)
        return super().kill(assignment, hard=hard)

    def code_without_record(self, assignment: Assignment) -> int | None:
        """The unit's SIGKILL takes the keeper along with a command that had not ended."""
        with self._units_lock:
            return 128 + signal.SIGKILL if assignment.key in self._killed_hard else None

    # Units

    def _attach(self, assignment: Assignment, name: str) -> None:
        wanted = self._description(assignment.key)
        found = [each for each in self._scopes.show(name) if each.description == wanted]
        if found:
            with self._units_lock:
                self._units[assignment.key] = found[0]

    def group(self, assignment: Assignment, keeper: int | None) -> Group:
        with self._units_lock:
            scope = self._units.get(assignment.key)
        if scope is None:
            return super().group(assignment, keeper)
        return InScope(self._scopes, scope, keeper)

    def find_units(self, assignments: Sequence[Assignment]) -> None:
        by_description = {each.description: each for each in self._scopes.of_tasks()}
        with self._units_lock:
            for assignment in assignments:
                scope = by_description.get(self._description(assignment.key))
                if scope is not None:
                    self._units[assignment.key] = scope

    def unit_of(self, assignment: Assignment, keeper: Process) -> Unit:
        with self._units_lock:
            scope = self._units.get(assignment.key)
        return Unit(scope.name) if scope else super().unit_of(assignment, keeper)

    def counted(self, cpu_seconds: float | None) -> float | None:
        return cpu_seconds

    def over(self, assignment: Assignment) -> None:
        with self._units_lock:
            scope = self._units.pop(assignment.key, None)
            self._killed_hard.discard(assignment.key)
            waiting, self._launchers = self._launchers, []
        left = [pid for pid in waiting if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        with self._units_lock:
            self._launchers += left
        if scope is not None:
            self._starts.do(lambda: self._scopes.stop(scope))


def environment_text(variables: dict[str, str]) -> bytes:
    """Assignments that a shell reads back as exactly these values."""
    lines = [f"{name}='{value.replace(chr(39), _QUOTE)}'\n" for name, value in variables.items()]
    return "".join(lines).encode("utf-8", "surrogateescape")


_QUOTE = "'\\''"


def wordless(status: int) -> str:
    """Why systemd-run said nothing, by its wait status. A machine that shuts down ends it by a signal,
    which sudo in front of it passes on as a code past 128."""
    if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) > 128:
        return ENDED_BY_SIGNAL
    return "it ended without a word"


def check_memory(status: int, limit: int | None) -> None:
    """A limit that leaves no room for systemd-run itself, which is in the scope before its task is:
    tried again, it would be killed for ever. Raises CannotStart."""
    killed = (
        os.WTERMSIG(status) == signal.SIGKILL
        if os.WIFSIGNALED(status)
        else os.WEXITSTATUS(status) == 128 + signal.SIGKILL
    )
    if killed and limit is not None and limit < _ROOM_TO_START:
        raise CannotStart(
            f"out of memory: it cannot even start within {format_size(limit)}; ask for more with"
            " --memory, as in 512M"
        )


def _last_line(descriptor: int) -> str:
    text = os.pread(descriptor, 65536, 0).decode("utf-8", "replace").strip()
    return text.splitlines()[-1].strip() if text else ""
