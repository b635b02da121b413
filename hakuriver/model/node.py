"""A machine of the cluster, as it describes itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hakuriver.model.target import Target


@dataclass(frozen=True, slots=True)
class NumaNode:
    """Processors that share a memory; cores are the kernel's CPU numbers, memory in bytes.

    Either may be missing: there are nodes of memory alone (CXL, HBM), and of processors alone.
    """

    cores: tuple[int, ...]
    memory: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node offers to tasks; memory in bytes, max_tasks counts all of its tasks."""

    cores: float
    memory: int
    max_tasks: int
    numa: Mapping[int, NumaNode] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vitals:
    """How busy the machine is, whoever keeps it so."""

    cpu_percent: float = 0.0
    memory_used: int = 0
    memory_total: int = 0

    @property
    def memory_percent(self) -> float:
        return 100 * self.memory_used / self.memory_total if self.memory_total else 0.0


@dataclass(frozen=True, slots=True)
class Engine:
    """The node's Docker engine. live_restore: containers outlive a restart of it."""

    version: str
    live_restore: bool


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a runner tells when it registers.

    instance names the runner's state folder and never changes; incarnation rises with each start
    of the runner; boot changes when the machine restarts. driver is the one for tasks without a
    container, "" if it takes none. environments maps a name to the id of the image that is there.
    problems keep tasks away from the node until they are gone. numactl: it is there, to bind tasks
    without a container to a NUMA node.
    """

    name: str
    url: str
    instance: str
    incarnation: int
    boot: str
    version: str
    protocol: int
    capacity: Capacity
    driver: str
    engine: Engine | None = None
    environments: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    numactl: bool = True


def cannot_bind(info: NodeInfo, target: Target, *, in_container: bool) -> str:
    """Why a task for this target can never be bound to its NUMA node there; "" if it can."""
    number = target.numa
    if number is None:
        return ""
    known = info.capacity.numa
    if number not in known:
        there = ", ".join(map(str, sorted(known))) or "none"
        return f"node {info.name} has no NUMA node {number} (it has: {there})"
    if not known[number].cores:
        return f"NUMA node {number} of {info.name} has no cores that tasks may use"
    if not known[number].memory:
        return f"NUMA node {number} of {info.name} has no memory of its own"
    if not in_container and not info.numactl:
        return (
            f"node {info.name} has no numactl, which binds tasks without a container to a NUMA "
            "node: install it there, or set paths.numactl_path in its config"
        )
    return ""
