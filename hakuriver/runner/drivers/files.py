"""The files of an attempt: its record folder and its logs."""

from __future__ import annotations

import os

from hakuriver.runner.drivers import Assignment, CannotStart


def make_files(assignment: Assignment, *, for_others: bool) -> None:
    """for_others: the task runs as another user, who must be able to write exactly these.

    The folder is sticky then, in a parent that nobody else can list. Raises CannotStart.
    """
    try:
        assignment.record.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        assignment.record.mkdir(mode=0o700)
        if for_others:
            assignment.record.chmod(0o1777)
    except OSError as error:
        raise CannotStart(f"cannot make {assignment.record}: {error.strerror}") from None
    for path in (assignment.stdout, assignment.stderr):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o644)
            try:
                if for_others:
                    os.fchmod(descriptor, 0o666)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CannotStart(f"cannot make the log {path}: {error.strerror}") from None
