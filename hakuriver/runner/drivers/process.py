"""Tasks as plain processes, where there is neither container nor systemd.

Nothing limits the task and no counters are read: there is no cgroup that is the task's alone.
"""

from __future__ import annotations

from hakuriver.runner.drivers import Assignment, KilledBeforeStart, Unit
from hakuriver.runner.drivers.keepers import KeeperDriver
from hakuriver.runner.drivers.node_argv import ProcessSettings, as_user, keeper_command

__all__ = ["ProcessDriver", "ProcessSettings"]


class ProcessDriver(KeeperDriver):
    name = "process"

    def start(self, assignment: Assignment) -> Unit:
        argv = self.argv(assignment)
        if assignment.killed():
            raise KilledBeforeStart
        pid = self.spawn(argv, assignment)
        self.watch_child(assignment, pid)
        return Unit(f"pid {pid}")

    def argv(self, assignment: Assignment) -> list[str]:
        """The whole command line of the keeper. Raises CannotStart."""
        return [*as_user(self._settings.user), *keeper_command(self._settings, assignment)]
