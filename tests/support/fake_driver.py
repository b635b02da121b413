"""A driver without processes, and the machine that its tasks would run on.

The machine is what outlives a runner: keepers, an account of what really ran, and the files that
keepers write. Nothing happens by itself: the test says when a keeper takes its next step.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hakuriver.model.messages import Attempt
from hakuriver.runner.drivers import (
    Assignment,
    CannotStart,
    Ending,
    KilledBeforeStart,
    OnEnd,
    Shell,
    Unit,
)
from hakuriver.runner.drivers.files import make_record, remove_record

CANNOT = "cannot"
"""argv[0] of a command that the driver refuses to start."""
DEAF = "deaf"
"""argv[0] of a command that ignores SIGTERM."""
TERM = 143
"""Exit code of a command that died of our SIGTERM."""


@dataclass(slots=True, eq=False)
class Keeper:
    """claimed: it won its attempt and the command runs; over: the process is gone."""

    pid: int
    assignment: Assignment
    claimed: bool = False
    stopped: bool = False
    over: bool = False

    @property
    def key(self) -> Attempt:
        return self.assignment.key

    @property
    def runs(self) -> bool:
        return self.claimed and not self.over

    @property
    def command(self) -> str:
        return self.assignment.order.argv[0]


@dataclass(slots=True)
class Machine:
    """executions: how often a command was begun; exits: the code of what ran to its end."""

    clock: Callable[[], float]
    boot: int = 1
    keepers: list[Keeper] = field(default_factory=list)
    executions: Counter[Attempt] = field(default_factory=Counter)
    exits: dict[Attempt, int] = field(default_factory=dict)
    pids: int = 100

    def spawn(self, assignment: Assignment) -> Keeper:
        self.pids += 1
        self.keepers.append(Keeper(self.pids, assignment))
        return self.keepers[-1]

    def alive(self) -> list[Keeper]:
        return [keeper for keeper in self.keepers if not keeper.over]

    def running(self) -> list[Keeper]:
        return [keeper for keeper in self.keepers if keeper.runs]

    def find(self, key: Attempt) -> Keeper:
        """The newest keeper of an attempt."""
        return next(keeper for keeper in reversed(self.keepers) if keeper.key == key)

    def claim(self, keeper: Keeper) -> None:
        """The keeper's first act: create `started`, and run the command only if that worked."""
        path = keeper.assignment.record / "started"
        try:
            with open(path, "x", encoding="ascii") as file:
                file.write(f"{keeper.pid}\n")
        except (FileExistsError, FileNotFoundError):
            keeper.over = True
            return
        self._date(path)
        keeper.claimed = True
        self.executions[keeper.key] += 1

    def end(self, keeper: Keeper, code: int = 0) -> None:
        """The command ends by itself, or of a signal that the keeper outlives."""
        assert keeper.runs
        assert not keeper.stopped
        path = keeper.assignment.record / "exit"
        # Whoever removes the folder of what still runs is found out by its missing exit.
        with contextlib.suppress(FileNotFoundError):
            path.write_text(f"exit {code} oom=- peak=- cpu_us=-\n", encoding="ascii")
            self._date(path)
        keeper.over = True
        self.exits[keeper.key] = code

    def kill(self, keeper: Keeper) -> None:
        """SIGKILL to the keeper and all that is its: no record."""
        keeper.over = True

    def reboot(self) -> None:
        self.boot += 1
        for keeper in self.keepers:
            keeper.over = True

    def _date(self, path: Path) -> None:
        os.utime(path, (self.clock(), self.clock()))


def nothing(name: str) -> None:
    """A hook that lets things take their course."""


class FakeDriver:
    """hook is called with a name wherever a real driver could be interrupted.

    tell() does what the thread of a real driver does: it hands over the ends.
    """

    name = "process"

    def __init__(
        self, machine: Machine, on_end: OnEnd, hook: Callable[[str], None] = nothing
    ) -> None:
        self.machine = machine
        self.on_end = on_end
        self.hook = hook
        self.watched: dict[Attempt, Keeper] = {}
        self.untold: list[Ending] = []

    def prepare(self, assignment: Assignment) -> None:
        self.hook("before prepare")
        make_record(assignment, for_others=False)
        self.hook("after prepare")

    def start(self, assignment: Assignment) -> Unit:
        if assignment.order.argv[0] == CANNOT:
            raise CannotStart("it cannot be started here")
        if assignment.killed():
            raise KilledBeforeStart
        self.hook("before start")
        keeper = self.machine.spawn(assignment)
        self.watched[keeper.key] = keeper
        self.hook("after start")
        return Unit(f"pid {keeper.pid}")

    def pause(self, assignment: Assignment) -> bool:
        return self._stop(assignment, True)

    def resume(self, assignment: Assignment) -> bool:
        return self._stop(assignment, False)

    def _stop(self, assignment: Assignment, stopped: bool) -> bool:
        self.hook("before pause")
        keeper = self._living(assignment)
        if keeper is not None:
            keeper.stopped = stopped
        self.hook("after pause")
        return keeper is not None

    def kill(self, assignment: Assignment, *, hard: bool) -> bool:
        self.hook("before kill")
        keeper = self._living(assignment)
        if keeper is None:
            return False
        if hard:
            self.machine.kill(keeper)
        else:
            keeper.stopped = False
            # A keeper that has no command yet outlives the signal.
            if keeper.claimed and keeper.command != DEAF:
                self.machine.end(keeper, TERM)
        self.hook("after kill")
        return True

    def recover(self, assignments: list[Assignment]) -> dict[Attempt, Unit]:
        known = {assignment.key for assignment in assignments}
        for alive in self.machine.alive():
            # One that was born this very moment does not carry our mark yet, and is not found.
            if alive.key not in known and (alive.claimed or alive.stopped):
                self.machine.kill(alive)
        units = {}
        for assignment in assignments:
            started = assignment.started()
            keeper = next(
                (
                    each
                    for each in self.machine.alive()
                    if started is not None and each.pid == started.pid
                ),
                None,
            )
            if keeper is None:
                self.untold.append(self._ending(assignment))
            else:
                self.watched[assignment.key] = keeper
                units[assignment.key] = Unit(f"pid {keeper.pid}")
        return units

    def paused(self, assignment: Assignment) -> bool:
        keeper = self._living(assignment)
        return keeper is not None and keeper.stopped

    def shell(self, assignment: Assignment, command: Sequence[str], *, term: str | None) -> Shell:
        raise CannotStart("there is nothing beside it")

    def discard(self, assignment: Assignment) -> None:
        remove_record(assignment)

    def news(self) -> bool:
        return bool(self.untold) or any(keeper.over for keeper in self.watched.values())

    def tell(self) -> None:
        over = [key for key, keeper in self.watched.items() if keeper.over]
        endings, self.untold = self.untold, []
        endings += [self._ending(self.watched.pop(key).assignment) for key in over]
        if endings:
            self.on_end(endings)

    def _living(self, assignment: Assignment) -> Keeper | None:
        keeper = self.watched.get(assignment.key)
        return None if keeper is None or keeper.over else keeper

    def _ending(self, assignment: Assignment) -> Ending:
        found = assignment.exit()
        if found is None:
            problem = "the supervising process was killed; the exit code is unknown"
            return Ending(assignment.key, None, self.machine.clock(), problem=problem)
        return Ending(assignment.key, found[0], found[1])
