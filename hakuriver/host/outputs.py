"""Reading a task's output: from a byte offset, from the last lines, or as it grows."""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hakuriver.model.errors import HakuRiverError, NotFound
from hakuriver.model.task import Status, Task

CHUNK = 1 << 20
_FIRST_LOOK = 0.02
_LAST_LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes from offset on; size is the file's at that moment, final that it grows no more."""

    body: bytes
    offset: int
    size: int
    status: Status

    @property
    def final(self) -> bool:
        return self.status.final


class Outputs:
    """Output files of the shared directory. task() is asked again while waiting."""

    def __init__(self, shared_dir: Path, task: Callable[[int], Task]) -> None:
        self._shared_dir = shared_dir
        self._task = task

    def path(self, task: Task, stream: str) -> Path:
        return self._shared_dir / task.output_name(stream)

    def _kept(self, task: Task, stream: str) -> Path:
        if task.logs_pruned:
            raise NotFound(
                f"the output of task {task.id} was deleted to make room",
                "By database.keep_logs in the host's config, or by client prune.",
            )
        return self.path(task, stream)

    def whole(self, task_id: int, stream: str) -> tuple[int, Iterator[bytes]]:
        """Size and content as of now. Raises NotFound if there is no file yet."""
        path = self._kept(self._task(task_id), stream)
        try:
            file = _open(path)
        except FileNotFoundError:
            raise NotFound(f"task {task_id} has written no {stream} yet") from None
        except OSError as error:
            raise _unreadable(path, error) from None
        size = os.fstat(file.fileno()).st_size

        def chunks() -> Iterator[bytes]:
            left = size
            with file:
                while left and (chunk := file.read(min(left, CHUNK))):
                    left -= len(chunk)
                    yield chunk

        return size, chunks()

    def piece(
        self, task_id: int, stream: str, *, offset: int | None, tail: int | None, limit: int
    ) -> Piece:
        """What is there now; nothing is no error. offset None: from the last `tail` lines on.

        The status is read before the file: what is final then is complete.
        """
        task = self._task(task_id)
        path = self._kept(task, stream)
        try:
            # Opened anew each time: NFS shows growth only to a fresh open (close-to-open).
            with _open(path) as file:
                size = os.fstat(file.fileno()).st_size
                start = _tail_offset(file.fileno(), size, tail or 0) if offset is None else offset
                body = os.pread(file.fileno(), min(limit, max(size - start, 0)), start)
        except FileNotFoundError:
            return Piece(b"", offset or 0, 0, task.status)
        except OSError as error:
            raise _unreadable(path, error) from None
        return Piece(body, start, size, task.status)

    def wait_piece(
        self,
        task_id: int,
        stream: str,
        *,
        offset: int,
        limit: int,
        seconds: float,
        going: Callable[[], bool],
    ) -> Piece:
        """As piece(), but not before there is something past offset, or the task is over."""
        deadline = time.monotonic() + seconds
        pause = _FIRST_LOOK
        while True:
            piece = self.piece(task_id, stream, offset=offset, tail=None, limit=limit)
            if piece.body or piece.final or time.monotonic() >= deadline or not going():
                return piece
            # A shared directory has no notifications: look again, less and less often.
            time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 1.5, _LAST_LOOK)


def _tail_offset(descriptor: int, size: int, lines: int) -> int:
    """Where the last so many lines begin; an unfinished last line counts as one."""
    if lines == 0:
        return size
    position, wanted = size, lines
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        wanted -= 1
    while position > 0:
        step = min(position, 64 << 10)
        block = os.pread(descriptor, step, position - step)
        breaks = block.count(b"\n")
        if breaks > wanted:
            end = len(block)
            for _ in range(wanted + 1):
                end = block.rindex(b"\n", 0, end)
            return position - step + end + 1
        wanted -= breaks
        position -= step
    return 0


def _open(path: Path) -> io.BufferedReader:
    """Only a file: tasks can write in this folder, and a link of theirs could lead anywhere that we
    may read and they may not, a pipe could hold us up. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return open(descriptor, "rb")


def _unreadable(path: Path, error: OSError) -> HakuRiverError:
    return HakuRiverError(
        f"cannot read {path}: {error.strerror}", "Is the shared directory mounted on the host?"
    )
