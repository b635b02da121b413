"""The processes of one attempt as something that can be signalled, however they are found."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Protocol

from hakuriver.runner.drivers.proctree import Mark, Process, members, send

SETTLE_SECONDS = 2.0


class Group(Protocol):
    """All living processes of an attempt but its keeper."""

    def members(self, *, among: range | None = None) -> list[Process]:
        """among: only pids in this range can be members, see younger_than()."""
        ...

    def signal(self, number: int) -> bool:
        """To all, those that appear meanwhile included; whether there were any."""
        ...

    def kill(self) -> bool:
        """SIGKILL until none is left, or for as long as may be waited; whether there were any."""
        ...


@dataclass(frozen=True, slots=True)
class Marked:
    """Those that carry a mark: where the attempt has no cgroup of its own."""

    mark: Mark

    def members(self, *, among: range | None = None) -> list[Process]:
        return members(self.mark, among=among)

    def signal(self, number: int) -> bool:
        told: set[tuple[int, int]] = set()
        while fresh := [each for each in self.members() if (each.pid, each.start) not in told]:
            for each in fresh:
                send(each, number)
                told.add((each.pid, each.start))
        return bool(told)

    def kill(self) -> bool:
        reached = False
        deadline = time.monotonic() + SETTLE_SECONDS
        # Again until none is left: what forks while it is being killed leaves children.
        while found := self.members():
            for each in found:
                reached |= send(each, signal.SIGKILL)
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        return reached
