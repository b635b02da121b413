"""Containers that run although their engine says that it never started them.

An engine that ends in the middle of a start may have handed the container to containerd and not have
noted it yet. When it is back, with live-restore or without, it calls the container "created", tells no
end and signals nothing; the task runs. The kernel knows: the engine puts each container into a cgroup that
has its id in the path (moby: `/docker/ID`, `docker-ID.scope`).
"""

from __future__ import annotations

import logging
import signal

from hakuriver.runner.drivers.proctree import in_cgroup, send
from hakuriver.system.command import CommandFailed, run

log = logging.getLogger(__name__)

_SECONDS = 30.0


def is_forgotten(container: str) -> bool:
    """Whether a container that the engine calls "created" runs; by its whole id."""
    return bool(in_cgroup(container))


def signal_forgotten(container: str, number: int, *, sudo: bool) -> bool:
    """Whether there was anybody to be told, and they were: what `docker kill` does for all others."""
    found = in_cgroup(container)
    if number != signal.SIGKILL:
        # Its init alone, which passes it on: see TINI_KILL_PROCESS_GROUP.
        inside = {each.pid for each in found}
        found = [each for each in found if each.parent not in inside]
    try:
        for each in () if sudo else found:
            send(each, number)
        if sudo and found:
            name = signal.Signals(number).name.removeprefix("SIG")
            pids = [str(each.pid) for each in found]
            run(["sudo", "-n", "kill", "-s", name, "--", *pids], timeout=_SECONDS)
    except (PermissionError, CommandFailed) as error:
        log.warning("cannot signal container %s: %s", container[:12], error)
        return False
    return bool(found)
