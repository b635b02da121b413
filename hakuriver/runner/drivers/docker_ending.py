"""What the end of a container means for its task: the keeper's record, and what the engine says."""

from __future__ import annotations

import logging
import time

from hakuriver.model.tarball import image_of
from hakuriver.runner.drivers import NO_ROOM, Assignment, Ending
from hakuriver.runner.record import claim

log = logging.getLogger(__name__)

ENGINE_STOPPED = "the Docker engine stopped"
WENT_AWAY = "the Docker engine went away while it was started"
UNSEEN = (
    "ended while the runner was away: the Docker engine stopped, somebody stopped the container,"
    " or the supervising process was killed"
)
OUTSIDE = "stopped from outside HakuRiver (docker stop, kill or rm)"


_NO_SHELL = (125, 126, 127)
_ATTEMPTS = 3


def ending_of(assignment: Assignment, exit_code: int | None, problem: str) -> Ending:
    found = assignment.exit()
    started = assignment.started()
    if found is not None:
        record, ended_at = found
        # A task that the engine's stop did not disturb ended as it ended.
        # Nor was one with exit code 137: a SIGKILL from outside takes the keeper along.
        code = record.exit_code
        disturbed = problem if code is None or (code > 128 and code != 137) else ""
        return Ending(assignment.key, record, ended_at, exit_code, disturbed)
    if assignment.had_no_room():
        return Ending(assignment.key, None, time.time(), exit_code, "", NO_ROOM, again=True)
    never_ran = ""
    if started is None or started.by_runner:
        image = image_of(assignment.order.container or "")
        never_ran = f"image {image} has no /bin/sh that can be run"
    if never_ran and (problem or exit_code not in _NO_SHELL):
        never_ran = (
            f"the container ended before the task began: {problem or f'exit code {exit_code}'}"
        )
    again = bool(never_ran) and (
        problem in (ENGINE_STOPPED, WENT_AWAY)
        # Nor did the engine itself get far enough; an image that always ends so is not tried for ever.
        or (not problem and exit_code not in _NO_SHELL and assignment.key[1] < _ATTEMPTS)
    )
    if again and not _claim(assignment):
        never_ran, again = "", False  # A keeper was quicker.
    if not problem and not never_ran:
        problem = "the supervising process was killed"
    return Ending(assignment.key, None, time.time(), exit_code, problem, never_ran, again)


def _claim(assignment: Assignment) -> bool:
    """Whether nothing of it ever ran; then nothing can any more."""
    try:
        return claim(assignment.record)
    except OSError as error:
        log.warning("task %d: cannot claim its record: %s", assignment.order.task, error)
        return False
