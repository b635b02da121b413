"""Finding and signalling all processes of a task that has no cgroup of its own.

A process belongs to a task if it is in its keeper's session, or if its environment names the
attempt: `timeout`, job control and GNU parallel leave the process group, setsid leaves the session.
Facts are from proc(5).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """start is in clock ticks since boot; with the pid it names a process for ever."""

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
        try:
            environment = b"\0" + (PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return False
        return all(b"\0" + variable + b"\0" in environment for variable in self.variables)


def parse_stat(text: bytes) -> Process | None:
    """/proc/PID/stat; the program's name is in parentheses and may contain anything."""
    pid, _, _ = text.partition(b" ")
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Process(int(pid), int(fields[3]), fields[0].decode("ascii"), int(fields[19]))


def process(pid: int) -> Process | None:
    """None if there is none."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_bytes())
    except (OSError, ValueError):
        return None


def _pids(after: int | None) -> Iterator[int]:
    for name in os.listdir(PROC):
        if name.isdigit() and (after is None or int(name) > after):
            yield int(name)


def members(mark: Mark, *, after: int | None = None) -> list[Process]:
    """The living processes of an attempt without its keeper.

    after: look only at pids above this one, see younger_than().
    """
    found = []
    for pid in _pids(after):
        if pid == mark.keeper or pid == os.getpid():
            continue
        candidate = process(pid)
        if candidate is not None and candidate.alive and mark.fits(candidate):
            found.append(candidate)
    return found


def younger_than(pid: int) -> int | None:
    """The pid again if all processes younger than it have higher pids, else None.

    The kernel gives out pids in rising order until they wrap; /proc/loadavg ends with the last.
    Asked soon after the process was made, a last pid above it means that they have not wrapped.
    """
    last = int((PROC / "loadavg").read_text().split()[4])
    return pid if last >= pid else None


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
    return now is not None and now.start == target.start
