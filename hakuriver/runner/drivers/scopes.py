"""Scopes of systemd: the command line that makes one, and what can be asked of and done to it.

A scope lives for as long as processes are in its cgroup, whatever `systemctl is-active` says: it was
seen `active` with none. Facts are of systemd 249 to 256, from systemd-run(1) and systemctl(1).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hakuriver.model.messages import RunOrder
from hakuriver.runner.drivers import LEAST_CORES
from hakuriver.runner.drivers.groups import SETTLE_SECONDS
from hakuriver.runner.drivers.proctree import Process, process
from hakuriver.system.command import CommandFailed, Completed, run

_SECONDS = 30.0
_ROOTS = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup"))
"""Where the hierarchy that systemd names its units in is mounted: cgroup v1, or v2."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What this node's systemd can do. prefix is sudo, where it is needed; options and properties
    are those that its version knows."""

    systemd_run: str
    systemctl: str
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """A unit as `systemctl show` tells of it; group is "" once its cgroup is gone."""

    name: str
    description: str
    group: str


def scope_argv(tools: Tools, name: str, description: str, order: RunOrder) -> list[str]:
    """What stands in front of the command that is to run in a scope of its own."""
    cores = max(order.cores, LEAST_CORES)
    limits = [f"CPUQuota={round(cores * 100)}%"] if order.cores else []
    if order.memory:
        # Without swap, else a task over its limit would slow the node down instead of ending.
        limits += [f"MemoryMax={order.memory}", "MemorySwapMax=0"]
    properties = [*limits, "CPUAccounting=yes", "MemoryAccounting=yes", *tools.properties]
    return [
        *tools.prefix, tools.systemd_run, "--scope", "--collect", "--quiet", *tools.options,
        f"--unit={name}", f"--description={description}",
        *(f"--property={each}" for each in properties), "--",
    ]  # fmt: skip


def parse_show(text: str) -> list[Scope]:
    """`systemctl show --property=Id,LoadState,Description,ControlGroup`: blocks of KEY=VALUE."""
    found = []
    for block in text.strip().split("\n\n"):
        given = dict(line.partition("=")[::2] for line in block.splitlines())
        if given.get("LoadState") == "loaded" and given.get("Id"):
            scope = Scope(given["Id"], given.get("Description", ""), given.get("ControlGroup", ""))
            found.append(scope)
    return found


class Scopes:
    """The scopes of this node. A systemd that does not answer is one that has none."""

    def __init__(self, tools: Tools, *, roots: Sequence[Path] = _ROOTS) -> None:
        self.tools = tools
        self._roots = roots

    def show(self, *names: str) -> list[Scope]:
        properties = "--property=Id,LoadState,Description,ControlGroup"
        return parse_show(self._systemctl("show", properties, "--", *names).text)

    def of_tasks(self) -> list[Scope]:
        """Those that may be tasks of this or another runner."""
        pattern = "hakuriver-task-*.scope"
        flags = ("--type=scope", "--all", "--plain", "--no-legend", "--full")
        listed = self._systemctl("list-units", *flags, pattern).text
        names = [line.split()[0] for line in listed.splitlines() if line.strip()]
        return self.show(*names) if names else []

    def kill(self, scope: Scope, number: int) -> bool:
        """Signal all of it; False if it is gone, or another one by now."""
        if not self.is_there(scope):
            return False
        word = f"--signal={signal.Signals(number).name}"
        return self._systemctl("kill", word, "--", scope.name, sudo=True).code == 0

    def stop(self, scope: Scope) -> None:
        """Take away what is left of the unit itself; harmless if it is gone."""
        if self.is_there(scope):
            self._systemctl("stop", "--", scope.name, sudo=True)

    def is_there(self, scope: Scope) -> bool:
        """Under its name, and for what it was made: names are used again."""
        return any(each.description == scope.description for each in self.show(scope.name))

    def pids(self, scope: Scope) -> Iterator[int]:
        for root in self._roots if scope.group else ():
            folder = root / scope.group.lstrip("/")
            for place, _, files in os.walk(folder):
                if "cgroup.procs" in files:
                    yield from _pids(Path(place, "cgroup.procs"))

    def _systemctl(self, *arguments: str, sudo: bool = False) -> Completed:
        prefix = self.tools.prefix if sudo else ()
        try:
            return run([*prefix, self.tools.systemctl, *arguments], timeout=_SECONDS)
        except CommandFailed as error:
            return Completed(-1, b"", error.detail.encode())


def _pids(file: Path) -> list[int]:
    try:
        return [int(line) for line in file.read_text().split()]
    except OSError:
        return []  # Removed while we looked.


@dataclass(frozen=True, slots=True)
class InScope:
    """The processes of an attempt that runs in a scope; see Group. All signals are the unit's."""

    scopes: Scopes
    scope: Scope
    keeper: int | None

    def members(self, *, among: range | None = None) -> list[Process]:
        found = (process(pid) for pid in self.scopes.pids(self.scope) if pid != self.keeper)
        return [each for each in found if each is not None and each.alive]

    def signal(self, number: int) -> bool:
        # The keeper outlives every signal that it can trap; it alone is nobody to be told.
        reached = bool(self.members())
        return self.scopes.kill(self.scope, number) and reached

    def kill(self) -> bool:
        reached = False
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.members() and time.monotonic() < deadline:
            if not self.scopes.kill(self.scope, signal.SIGKILL):
                break
            reached = True
            time.sleep(0.01)
        return reached
