"""The files of an attempt: its record folder and its logs."""

from __future__ import annotations

import errno
import os
import shutil
import stat

from hakuriver.runner.drivers import Assignment, cannot
from hakuriver.runner.record import EXIT, STARTED


def make_record(assignment: Assignment, *, for_others: bool) -> None:
    """for_others: the task runs as another user. The folder is sticky then, in a parent that
    nobody else can list. Raises what cannot() makes."""
    record = os.fspath(assignment.record)
    try:
        try:
            os.mkdir(record, 0o700)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(record), 0o711, exist_ok=True)
            os.mkdir(record, 0o700)
        if for_others:
            os.chmod(record, 0o1777)
    except OSError as error:
        raise cannot(f"cannot make {record}", error) from None


def make_files(assignment: Assignment) -> None:
    """Record and logs for another user, who can write exactly these. Raises what cannot() makes."""
    make_record(assignment, for_others=True)
    for path in (assignment.stdout, assignment.stderr):
        try:
            _make_log(path)
        except OSError as error:
            raise cannot(f"cannot make the log {path}", error) from None


def _make_log(path: os.PathLike[str]) -> None:
    """What an earlier task has put under the name is not opened to everybody: neither what a link
    of either kind leads to, nor a pipe, which would hold us up. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    guards = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags | guards, 0o666)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise OSError(errno.EEXIST, "something else has this name")
        os.fchmod(descriptor, 0o666)
    finally:
        os.close(descriptor)


def remove_record(assignment: Assignment) -> None:
    """Nothing is read from it any more."""
    record = os.fspath(assignment.record)
    try:
        for name in (STARTED, EXIT):
            os.unlink(f"{record}/{name}")
        os.rmdir(record)
    except OSError:
        # Something is missing, or the task has put something there.
        shutil.rmtree(record, ignore_errors=True)
