"""The command line and the environment of a task directly on the node, as pure data."""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hakuriver.runner.drivers import Assignment, CannotStart
from hakuriver.runner.record import keeper_argv
from hakuriver.runner.taskenv import carriers, our_variables


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """user None means the runner's own; grace in seconds; numactl None: not on this machine."""

    cluster: str
    node: str
    shared_data: Path
    local_temp_dir: Path
    grace: float
    numactl: str | None = None
    user: pwd.struct_passwd | None = None
    program: Path | None = None


def keeper_command(
    settings: ProcessSettings, assignment: Assignment, *, counters: bool = False
) -> list[str]:
    """The keeper with its task; counters: it has a cgroup of its own. Raises CannotStart."""
    order = assignment.order
    return [
        "/bin/sh",
        "-c",
        *keeper_argv(
            record=str(assignment.record),
            out=str(assignment.stdout),
            err=str(assignment.stderr),
            workdir=str(settings.shared_data),
            counters=counters,
            env_names=[name for name, _ in order.env],
            argv=[*bound_to(order.numa, settings.numactl), *order.argv],
        ),
    ]


def as_user(user: pwd.struct_passwd | None) -> list[str]:
    """With all groups of that user, and none of ours. Raises CannotStart."""
    if user is None:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotStart("runner_user needs the program setpriv (package util-linux)")
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--"]


def bound_to(numa: int | None, numactl: str | None) -> list[str]:
    """On the processors and the memory of one NUMA node. Raises CannotStart."""
    if numa is None:
        return []
    if numactl is None:
        raise CannotStart(
            f"NUMA node {numa} was asked for and there is no numactl on this node;"
            " install it or set paths.numactl_path"
        )
    return [numactl, f"--cpunodebind={numa}", f"--membind={numa}", "--"]


def environment(
    settings: ProcessSettings, assignment: Assignment, login: Mapping[str, str]
) -> dict[str, str]:
    """What the keeper gets: nothing of the runner's but what is in login."""
    order = assignment.order
    path = login["PATH"] if settings.program is None else f"{login['PATH']}:{settings.program}"
    return {
        **login,
        "PATH": path,
        **our_variables(
            order,
            cluster=settings.cluster,
            node=settings.node,
            shared_dir=str(settings.shared_data),
            local_temp_dir=str(settings.local_temp_dir),
        ),
        **carriers(order),
    }
