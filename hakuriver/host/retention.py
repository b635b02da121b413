"""What is not kept for ever: tasks that ended long ago, their output, and keys of submissions.

Output goes first and its task after it: what a crash in between leaves is found again.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hakuriver.host.store import Store
from hakuriver.model.errors import BadRequest, HakuRiverError, Unavailable
from hakuriver.model.task import Task
from hakuriver.model.units import format_duration, format_size

log = logging.getLogger(__name__)

KEY_LIFE = 24 * 3600.0
"""Seconds for which a submission's key is remembered."""
BLOCK = 500
_BLOCKS = 20
_START = (0.0, 0)


@dataclass(frozen=True, slots=True)
class Keep:
    """Seconds since their end for which tasks and their output are kept; 0: no limit."""

    history: float = 0.0
    logs: float = 0.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """One block: how many tasks, bytes of their output, and where the next block begins, if any."""

    tasks: int
    size: int
    next: str | None


class Retention:
    def __init__(
        self,
        store: Store,
        shared_dir: Path,
        keep: Keep,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._shared_dir = shared_dir
        self._keep = keep
        self._clock = clock

    def step(self) -> None:
        """What the settings say; the rest of a great many waits for the next step."""
        self._store.write(lambda tx: tx.forget_submissions(self._clock() - KEY_LIFE))
        for seconds, logs_only in ((self._keep.history, False), (self._keep.logs, True)):
            after: str | None = ""
            for _ in range(_BLOCKS):
                if seconds and after is not None:
                    after = self.prune(seconds, logs_only=logs_only, after=after).next

    def prune(
        self, older_than: float, *, logs_only: bool = False, dry_run: bool = False, after: str = ""
    ) -> Pruned:
        """A block of tasks that ended more than older_than seconds ago, or their output only.

        after: `next` of the block before. Raises HakuRiverError if the output cannot be deleted: then
        its tasks stay too.
        """
        before = self._clock() - older_than
        with self._store.read() as tx:
            tasks = tx.ended(before, with_logs=logs_only, after=_place(after), limit=BLOCK)
        tasks = [task for task in tasks if task.status.final]
        size = self._logs(tasks, delete=not dry_run)
        count = len(tasks)
        if tasks and not dry_run:
            count = self._written(tasks, logs_only)
            log.info(
                "%s %d tasks that ended more than %s ago: %s",
                "deleted the output of" if logs_only else "forgot",
                count,
                format_duration(older_than),
                format_size(size),
            )
        more = len(tasks) == BLOCK
        last = f"{tasks[-1].completed_at!r},{tasks[-1].id}" if more else None
        return Pruned(count, size, last)

    def _written(self, tasks: list[Task], logs_only: bool) -> int:
        try:
            return self._store.write(
                lambda tx: tx.mark_logs_pruned(tasks) if logs_only else tx.forget_tasks(tasks)
            )
        except Unavailable as error:
            raise Unavailable(
                error.detail,
                "Is its disk full? The output is deleted; prune again once there is room.",
            ) from None

    def _logs(self, tasks: Iterable[Task], *, delete: bool) -> int:
        """The bytes in all files of these tasks, every attempt's; deleted if that is wanted."""
        names: dict[str, list[str]] = {"task_outputs": [], "task_errors": []}
        for task in tasks:
            for attempt in range(1, task.attempt + 1):
                for stream in ("stdout", "stderr"):
                    folder, _, name = task.output_name(stream, attempt).partition("/")
                    names[folder].append(name)
        return sum(
            _files(self._shared_dir / folder, found, delete=delete)
            for folder, found in names.items()
            if found
        )


def _files(folder: Path, names: Iterable[str], *, delete: bool) -> int:
    """Bytes in those that are there. No link is followed: not the folder, not a file in it."""
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return sum(_file(place, name, delete=delete) for name in names)
        finally:
            os.close(place)
    except OSError as error:
        raise HakuRiverError(
            f"cannot delete output in {folder}: {error.strerror}",
            "Is the shared directory mounted, and the folder no link? Nothing was forgotten.",
        ) from None


def _file(place: int, name: str, *, delete: bool) -> int:
    try:
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            return 0
        if delete:
            os.unlink(name, dir_fd=place)
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _place(after: str) -> tuple[float, int]:
    if not after:
        return _START
    end, _, number = after.partition(",")
    try:
        return float(end), int(number)
    except ValueError:
        raise BadRequest(f"after: {after[:40]!r} is not what an answer called next") from None
