"""Processes that a run has left: in its session, or anywhere with its mark in the environment.

A mark is a word in HAKURUN_SWEEP, which lists the marks of all sweeps that a process is within.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

MARKS = "HAKURUN_SWEEP"


def with_mark(environ: dict[str, str], mark: str) -> str:
    return f"{environ.get(MARKS, '')} {mark}".strip()


def signal_all(session: int, mark: str, number: int) -> bool:
    """Signal all of a run's processes; whether there were any, zombies apart."""
    found = False
    for pid in _members(session, mark):
        try:
            os.kill(pid, number)
            found = True
        except (ProcessLookupError, PermissionError):
            pass
    return found


def _members(session: int, mark: str) -> Iterator[int]:
    word = mark.encode()
    ours = os.getpid()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == ours:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                continue
            if int(fields[3]) == session or _carries(name, word):
                yield int(name)
        except OSError:
            continue


def _carries(pid: str, word: bytes) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:
        for variable in file.read().split(b"\0"):
            if variable.startswith(b"HAKURUN_SWEEP="):
                return word in variable[len(MARKS) + 1 :].split(b" ")
    return False
