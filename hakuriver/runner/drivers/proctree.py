"""Finding and signalling all processes of a task that has no cgroup of its own.

A process belongs to a task if it is in its keeper's session, or if its environment names the
attempt: `timeout`, job control and GNU parallel leave the process group, setsid leaves the session.
Facts are from proc(5).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

PROC = "/proc"
_FEW = 32


@dataclass(frozen=True, slots=True)
class Process:
    """start is in clock ticks since boot; with the pid it names a process for ever.

    0 stands for a child of ours that has not been reaped: no other process can have its pid.
    """

    pid: int
    session: int
    state: str
    start: int

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


@dataclass(frozen=True, slots=True)
class Mark:
    """How to tell the processes of an attempt: keeper is the session's leader, None if unknown."""

    keeper: int | None
    variables: tuple[bytes, ...]

    def fits(self, process: Process) -> bool:
        if self.keeper is not None and process.session == self.keeper:
            return True
        return self.in_environment(process.pid)

    def in_environment(self, pid: int) -> bool:
        environment = b"\0" + _read(f"{PROC}/{pid}/environ")
        return all(b"\0" + variable + b"\0" in environment for variable in self.variables)


def parse_stat(text: bytes) -> Process | None:
    """/proc/PID/stat; the program's name is in parentheses and may contain anything."""
    pid, _, rest = text.partition(b" ")
    if not rest:
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Process(int(pid), int(fields[3]), fields[0].decode("ascii"), int(fields[19]))


def process(pid: int) -> Process | None:
    """None if there is none."""
    return parse_stat(_read(f"{PROC}/{pid}/stat"))


def child_of_ours(pid: int) -> Process:
    """A session leader that we have just started: until we reap it, its pid is its own."""
    return Process(pid, pid, "S", 0)


def _read(path: str) -> bytes:
    """A file of /proc, empty if the process is gone or not ours to look at.

    Without buffers and path objects: this is what a scan spends its time on.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def members(mark: Mark, *, among: range | None = None) -> list[Process]:
    """The living processes of an attempt without its keeper; among: see younger_than()."""
    found, own = [], os.getpid()
    for pid in _pids(among):
        if pid == mark.keeper or pid == own:
            continue
        candidate = process(pid)
        if candidate is not None and candidate.alive and mark.fits(candidate):
            found.append(candidate)
    return found


def _pids(among: range | None) -> Iterable[int]:
    if among is not None and len(among) <= _FEW:
        return among  # Cheaper to try them than to list all that there are.
    pids = (int(name) for name in os.listdir(PROC) if name.isdigit())
    return pids if among is None else (pid for pid in pids if pid in among)


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


def _same(target: Process) -> bool:
    now = process(target.pid)
    return now is not None and target.start in (0, now.start)
