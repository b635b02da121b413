"""The seam between a runner and what keeps a task alive."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hakuriver.model.messages import Attempt, RunOrder
from hakuriver.runner.record import ExitRecord, Started, had_no_room, read_exit, read_started

LEAST_CORES = 0.01
"""What a task can be held to at least: the kernel counts 1 ms of 100 ms. Less would be refused."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt as a driver gets it.

    record is the folder of its record, stdout and stderr its log files; both are made by prepare()
    before the start. image is the id of a container's image, "" for whatever has its name now.
    image_path is the PATH that the image sets. killed() says whether it was killed meanwhile: asked
    before the point of no return.
    """

    order: RunOrder
    record: Path
    stdout: Path
    stderr: Path
    killed: Callable[[], bool] = lambda: False
    image: str = ""
    image_path: str = ""

    @property
    def key(self) -> Attempt:
        return self.order.key

    def started(self) -> Started | None:
        return read_started(self.record)

    def exit(self) -> tuple[ExitRecord, float] | None:
        return read_exit(self.record)

    def had_no_room(self) -> bool:
        """Once its keeper is gone: see record.had_no_room()."""
        return had_no_room(self.record)


@dataclass(frozen=True, slots=True)
class Unit:
    """What a task runs as: a container's or unit's name, or a process."""

    name: str


@dataclass(frozen=True, slots=True)
class Ending:
    """A keeper is gone and nothing of its task is left.

    record is what it wrote, exit_code what the engine says beside it. problem: why there is no
    exit code, or what happened besides. never_ran: the command was not even tried, and why;
    again: it certainly never will be, so that another attempt may.
    """

    key: Attempt
    record: ExitRecord | None
    ended_at: float
    exit_code: int | None = None
    problem: str = ""
    never_ran: str = ""
    again: bool = False


NO_ROOM = "there was no room for its record: is the disk of the node's runner_state_dir full?"


class CannotStart(Exception):
    """This attempt never ran, and no other one would: the text says why."""


class ImageGone(CannotStart):
    """The image that was chosen is not on this node any more."""


class CannotStartNow(Exception):
    """Nothing was run, and nothing was left: a later start may well succeed."""


_LACKS = frozenset(
    {
        errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT,
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip


def cannot(what: str, error: OSError) -> CannotStart | CannotStartNow:
    """A node that lacks processes, memory or room is no reason to fail: it would soon have failed all
    that waits, being always the one that is free."""
    kind = CannotStartNow if error.errno in _LACKS else CannotStart
    return kind(f"{what}: {error.strerror}")


class KilledBeforeStart(Exception):
    """killed() said so, and nothing was run."""


class Driver(Protocol):
    """Runs one kind of task on this machine.

    start() returns once the keeper exists; what becomes of it is told to on_end, once, from a
    thread of the driver, after everything the task has left behind is gone. pause, resume and
    kill on a task that is over do nothing and say False: on_end will tell.
    """

    name: str

    def prepare(self, assignment: Assignment) -> None:
        """Make record folder and log files. Raises CannotStart or CannotStartNow."""

    def start(self, assignment: Assignment) -> Unit:
        """Raises CannotStart, CannotStartNow or KilledBeforeStart, and then nothing has been run."""
        ...

    def pause(self, assignment: Assignment) -> bool:
        """True once every process of the task is stopped."""
        ...

    def resume(self, assignment: Assignment) -> bool: ...

    def kill(self, assignment: Assignment, *, hard: bool) -> bool:
        """SIGTERM to all of the task, also if it is paused; SIGKILL if hard. True if any got it."""
        ...

    def recover(self, assignments: list[Assignment]) -> dict[Attempt, Unit]:
        """Find again what was started before; units that go on. Others end through on_end."""
        ...

    def paused(self, assignment: Assignment) -> bool:
        """Whether a task that goes on is paused."""
        ...

    def shell(self, assignment: Assignment, command: Sequence[str], *, term: str | None) -> Shell:
        """Beside a task that goes on, with its environment and its working directory.

        command () means a shell; term is the kind of terminal, None if there is none. Raises
        CannotStart.
        """
        ...

    def discard(self, assignment: Assignment) -> None:
        """Remove what is left of an attempt whose result is safe."""


@dataclass(frozen=True, slots=True)
class Shell:
    """How to open a shell beside a task; on_hang_up ends what the signals to argv do not reach."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    on_hang_up: Callable[[], None] = lambda: None


OnEnd = Callable[[list[Ending]], None]
