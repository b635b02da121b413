"""Finding and signalling all processes of a task that has no cgroup of its own.

A process belongs to a task if it is in its keeper's session, or if its environment names the
attempt: `timeout`, job control and GNU parallel leave the process group, setsid leaves the session.
Facts are from proc(5).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

PROC = "/proc"
_OURS_TO_BLAME = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Not that a process is gone: we cannot look. A task that runs would be told to have ended."""
_FEW = 32
_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_EXEC_LOOKS, _EXEC_SECONDS = 25, 0.002
"""How often, and how far apart, a process is looked at that may be in the middle of an execve."""


@dataclass(frozen=True, slots=True)
class Process:
    """start is in clock ticks since boot; with the pid it names a process for ever.

    0 stands for a child of ours that has not been reaped: no other process can have its pid.
    kernel: a thread of the kernel's, which has no environment.
    """

    pid: int
    session: int
    state: str
    start: int
    parent: int = 0
    kernel: bool = False

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


@dataclass(frozen=True, slots=True)
class Mark:
    """How to tell the processes of an attempt: keeper is the session's leader, None if unknown."""

    keeper: int | None
    variables: tuple[bytes, ...]

    def fits(self, process: Process) -> bool | None:
        """None: it cannot be told at this very moment, see environment()."""
        if self.keeper is not None and process.session == self.keeper:
            return True
        found = environment(process.pid)
        if found == b"" and not process.kernel:
            return None
        return self._names(found or b"")

    def in_environment(self, pid: int) -> bool:
        return self._names(environment(pid) or b"")

    def _names(self, variables: bytes) -> bool:
        return all(b"\0" + each + b"\0" in b"\0" + variables for each in self.variables)


def parse_stat(text: bytes) -> Process | None:
    """/proc/PID/stat; the program's name is in parentheses and may contain anything."""
    pid, _, rest = text.partition(b" ")
    if not rest:
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    kernel = bool(int(fields[6]) & _PF_KTHREAD)
    return Process(
        int(pid), int(fields[3]), fields[0].decode("ascii"), int(fields[19]), int(fields[1]), kernel
    )


def process(pid: int) -> Process | None:
    """None if there is none. Raises OSError if we lack the means to look."""
    return parse_stat(_read(f"{PROC}/{pid}/stat"))


def environment(pid: int) -> bytes | None:
    """The variables of a process, None if it is gone or not ours to look at.

    Empty in the middle of an execve as well: for a moment there is a new memory with nothing in it
    (environ_read() in fs/proc/base.c, while env_end is 0).
    """
    try:
        return _read_all(f"{PROC}/{pid}/environ")
    except OSError as error:
        if error.errno in _OURS_TO_BLAME:
            raise
        return None


def child_of_ours(pid: int) -> Process:
    """A session leader that we have just started: until we reap it, its pid is its own."""
    return Process(pid, pid, "S", 0)


def _read(path: str) -> bytes:
    """A file of /proc, empty if the process is gone or not ours to look at."""
    try:
        return _read_all(path)
    except OSError as error:
        if error.errno in _OURS_TO_BLAME:
            raise
        return b""


def _read_all(path: str) -> bytes:
    """Without buffers and path objects: this is what a scan spends its time on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def members(mark: Mark, *, among: range | None = None) -> list[Process]:
    """The living processes of an attempt without its keeper; among: see younger_than()."""
    own = os.getpid()
    found, unsure = _sorted_out(
        mark, (pid for pid in _pids(among) if pid not in (mark.keeper, own))
    )
    for _ in range(_EXEC_LOOKS):
        if not unsure:
            break
        time.sleep(_EXEC_SECONDS)
        more, unsure = _sorted_out(mark, unsure)
        found += more
    return found


def _sorted_out(mark: Mark, pids: Iterable[int]) -> tuple[list[Process], list[int]]:
    """Those that belong to the attempt, and those of which that cannot be told yet."""
    found, unsure = [], []
    for pid in pids:
        candidate = process(pid)
        if candidate is None or not candidate.alive:
            continue
        fits = mark.fits(candidate)
        if fits is None:
            unsure.append(pid)
        elif fits:
            found.append(candidate)
    return found, unsure


def _pids(among: range | None) -> Iterable[int]:
    if among is not None and len(among) <= _FEW:
        return among  # Cheaper to try them than to list all that there are.
    pids = (int(name) for name in os.listdir(PROC) if name.isdigit())
    return pids if among is None else (pid for pid in pids if pid in among)


def in_cgroup(name: str) -> list[Process]:
    """The living processes in a cgroup with this in its path, whoever owns them; see cgroups(7)."""
    sought = name.encode()
    found = (process(pid) for pid in _pids(None) if sought in _read(f"{PROC}/{pid}/cgroup"))
    return [each for each in found if each is not None and each.alive]


def younger_than(pid: int) -> range | None:
    """The pids that processes made after this one can have; None if that cannot be told.

    The kernel gives out pids in rising order until they wrap; /proc/loadavg ends with the last.
    Asked soon after the process was made, a last pid above it means that they have not wrapped.
    """
    last = int(_read(f"{PROC}/loadavg").split()[4])
    return range(pid + 1, last + 1) if last >= pid else None


def send(target: Process, number: int) -> bool:
    """Signal exactly this process; False if it is gone."""
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(target.pid)
        except ProcessLookupError:
            return False
        except OSError:
            return _send_by_pid(target, number)
        try:
            # Opened first, compared then: from here on the descriptor cannot mean another one.
            if not _same(target):
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
    return _send_by_pid(target, number)


def _send_by_pid(target: Process, number: int) -> bool:
    """For kernels before 5.3."""
    try:
        if not _same(target):
            return False
        os.kill(target.pid, number)
    except ProcessLookupError:
        return False
    return True


def at_rest(found: Iterable[Process]) -> bool:
    """Whether none of these goes on, once each was sent a SIGSTOP.

    A process that has made another by vfork (shells do) waits in state D, deaf to SIGSTOP, until
    that one execs: if that one is stopped before it does, its parent stays as it is, and takes its
    own SIGSTOP before it ever runs again (wait_for_vfork_done() in kernel/fork.c).
    """
    each_one = list(found)
    parents = {each.parent for each in each_one if each.state == "T"}
    return all(
        each.state == "T" or (each.state == "D" and each.pid in parents) for each in each_one
    )


def none_stopped(found: Iterable[Process]) -> bool:
    return all(each.state != "T" for each in found)


def _same(target: Process) -> bool:
    now = process(target.pid)
    return now is not None and target.start in (0, now.start)
