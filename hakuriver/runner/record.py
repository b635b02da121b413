"""An attempt's record: what its keeper leaves behind, and the argument list that starts the keeper.

The record folder holds `started` (who claimed the attempt) and `exit` (how it ended). The task's own
processes can write there, as another user too: what is read here is data of a stranger.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

STARTED = "started"
EXIT = "exit"
BY_RUNNER = b"runner\n"
MAX_RECORD = 4096  # bytes; a record is one line
_ROOM = 128

Unable: TypeAlias = Literal["", "workdir", "stdout", "stderr", "env"]

_EXIT = re.compile(
    rb"exit (\d{1,3}) oom=(\d{1,19}|-) peak=(\d{1,19}|-) cpu_us=(\d{1,19}|-)\n", re.ASCII
)
_UNABLE = re.compile(rb"unable (?:(workdir)|(stdout)|(stderr)|(env))\n")
_REASONS: tuple[Unable, ...] = ("workdir", "stdout", "stderr", "env")
_CLOCK_REALTIME_COARSE = 5  # clock_gettime(2); Python has no name for it
_PID = re.compile(rb"(\d{1,10})\n", re.ASCII)
_UNREADABLE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM}
)


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How an attempt ended; None is "unknown".

    `exit_code` (0–255; 128 + n after signal n) is None if the command was never run, and `unable`
    then names what stood in the way. `peak_memory` is in bytes, `oom_kills` counts processes.
    """

    exit_code: int | None
    unable: Unable
    oom_kills: int | None
    peak_memory: int | None
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class Started:
    """Who claimed an attempt, and when (Unix time).

    `pid` is the keeper's as it sees itself, so inside its own pid namespace; None while its line is
    not complete, and always if `by_runner`.
    """

    pid: int | None
    by_runner: bool
    at: float


def file_clock() -> float:
    """Now, by the clock that the kernel dates files with (Unix time).

    It runs up to a tick behind the ordinary one: a command that dies of a signal can leave a record
    that is older than the signal, unless both are dated by the same clock.
    """
    return time.clock_gettime(_CLOCK_REALTIME_COARSE)


def parse_exit(text: bytes) -> ExitRecord | None:
    """The record in the bytes of an `exit` file: one complete line, and blanks that it was written
    over; else None."""
    line, newline, rest = text.partition(b"\n")
    if rest.strip(b" "):
        return None
    text = line + newline
    if match := _UNABLE.fullmatch(text):
        return ExitRecord(None, _REASONS[(match.lastindex or 1) - 1], None, None, None)
    match = _EXIT.fullmatch(text)
    if match is None or int(match[1]) > 255:
        return None
    oom_kills, peak_memory, cpu_us = (_number(match[group]) for group in (2, 3, 4))
    cpu_seconds = None if cpu_us is None else cpu_us / 1e6
    return ExitRecord(int(match[1]), "", oom_kills, peak_memory, cpu_seconds)


def read_exit(folder: Path) -> tuple[ExitRecord, float] | None:
    """The attempt's end and when it was written (Unix time); None if there is no record (yet)."""
    found = _read(folder / EXIT)
    if found is None:
        return None
    record = parse_exit(found[0])
    return None if record is None else (record, found[1])


def read_started(folder: Path) -> Started | None:
    """Who claimed the attempt; None if nobody did.

    Whatever lies under the name is a claim, readable or not: no keeper can create the file any more.
    """
    path = folder / STARTED
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return None
    found = _read(path)
    if found is None:
        return Started(None, False, facts.st_mtime)
    text, at = found
    if match := _PID.fullmatch(text):
        return Started(int(match[1]), False, at)
    # A runner that was killed before it had written its name is known by the mode.
    return Started(None, text == BY_RUNNER or not facts.st_mode & 0o222, at)


def had_no_room(folder: Path) -> bool:
    """Of an attempt whose keeper is gone: the disk was full when it began, so the command never ran.

    Its claim lacks the pid, or the room for its end is not all there.
    """
    started, found = read_started(folder), _read(folder / EXIT)
    if started is None or started.by_runner:
        return False
    if found is None:
        return started.pid is None
    return len(found[0]) < _ROOM and not found[0].strip(b" ")


def claim(folder: Path) -> bool:
    """Take the attempt so that no keeper can start it any more; False if it was taken already.

    After True the command has never run and never will.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Nobody else makes a file without any right to write.
        descriptor = os.open(folder / STARTED, flags, 0o444)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, BY_RUNNER)
    finally:
        os.close(descriptor)
    return True


@cache
def load_keeper() -> str:
    """The keeper's text without its whole-line comments, which would travel with every task.

    Read once: the archive that we run from may be replaced while we run.
    """
    data = pkgutil.get_data("hakuriver.runner", "keeper.sh")
    if data is None:
        raise FileNotFoundError("hakuriver/runner/keeper.sh")
    lines = data.decode("utf-8").splitlines()
    return "".join(
        f"{line}\n" for line in lines if line.strip() and not line.lstrip().startswith("#")
    )


def keeper_argv(
    *,
    record: str,
    out: str,
    err: str,
    workdir: str,
    counters: bool,
    env_names: Sequence[str],
    argv: Sequence[str],
) -> list[str]:
    """What follows `sh -c`. Paths are absolute, as the keeper sees them.

    The value of `env_names[i]` must be in the keeper's environment as `HAKURIVER_ENV_i`; the names
    are identifiers that occur once, `argv[0]` is neither empty nor begins with `-` (the host refuses others).
    `counters`: the keeper runs in a cgroup that was made for this task alone.
    """
    kernel = "cgroup" if counters else "none"
    places = [record, out, err, workdir]
    return [load_keeper(), "hakuriver", *places, kernel, str(len(env_names)), *env_names, *argv]


def _number(text: bytes) -> int | None:
    return None if text == b"-" else int(text)


def _read(path: Path) -> tuple[bytes, float] | None:
    """Content and mtime of a small regular file; None if there is no such thing that we may read.

    Other errors are raised: taking "too many open files" for "no record" would fail a task that runs.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in _UNREADABLE:
            return None
        raise
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_RECORD:
            return None
        return os.read(descriptor, MAX_RECORD), facts.st_mtime
    finally:
        os.close(descriptor)
