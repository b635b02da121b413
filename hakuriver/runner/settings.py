"""What the configuration and the machine make of this node: its name, what it offers, where it is."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from pathlib import Path

from hakuriver.model.errors import UsageError
from hakuriver.model.node import Capacity
from hakuriver.model.target import NODE_NAME
from hakuriver.model.units import parse_size
from hakuriver.runner.fingerprint import numa_nodes, total_cores, total_memory
from hakuriver.system.config import Config
from hakuriver.system.meaning import meant

_TASKS_PER_CORE = 4


def node_name(config: Config) -> str:
    name = config.text("runner.name") or socket.gethostname()
    if NODE_NAME.fullmatch(name) is None:
        raise UsageError(
            f"'{name}' cannot be the name of a node", "Give another one: --name, or runner.name."
        )
    return name


def make_dir(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror}") from None
    return path


def capacity_of(config: Config) -> Capacity:
    cores = config.number("runner.cores") or total_cores()
    memory = config.text("runner.memory")
    return Capacity(
        cores=cores,
        memory=meant("runner.memory", parse_size, memory) if memory else total_memory(),
        max_tasks=config.whole("runner.max_tasks")
        or max(_TASKS_PER_CORE, round(_TASKS_PER_CORE * cores)),
        numa=numa_nodes(),
    )


def find_numactl(config: Config) -> str | None:
    """The program that binds tasks without a container to a NUMA node."""
    return shutil.which(config.text("paths.numactl_path") or "numactl")


def task_user(config: Config) -> pwd.struct_passwd | None:
    """The user of tasks without a container, None if it is our own. Raises UsageError."""
    name = config.text("environment.runner_user")
    if not name:
        return None
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"environment.runner_user: there is no user {name} here") from None
    if user.pw_uid == os.getuid():
        return None
    if os.getuid() != 0:
        raise UsageError(
            f"environment.runner_user = {name} needs a runner that is root",
            f"Start the runner as root, or as {name}.",
        )
    return user


def route_to_host(config: Config) -> str:
    """The address of this machine that packets to the host leave from."""
    host, port = config.text("network.host_reachable_address"), config.whole("network.host_port")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port or 1, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, proto) as probe:
            # A datagram socket's connect sends nothing; it only chooses the route.
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UsageError(
            f"cannot find a route to the host {host}: {error.strerror or error}",
            "Check network.host_reachable_address, or set network.runner_address.",
        ) from None
