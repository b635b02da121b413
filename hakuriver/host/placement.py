"""Which waiting task goes to which node: one pure function, and the reason for the others.

Order of submission decides. A task that has to wait holds back later ones only on nodes that
it could itself use; among the nodes with room the one with the most free cores is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hakuriver.model.node import Capacity
from hakuriver.model.target import Target
from hakuriver.model.units import counted, format_number, format_size, milli


@dataclass(frozen=True, slots=True)
class Waiting:
    """What placement needs to know of a task."""

    id: int
    cores: float
    memory: int | None
    container: str | None
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """What assigning, running, paused and lost tasks hold of a node; cores in thousandths."""

    cores: int = 0
    memory: int = 0
    tasks: int = 0
    numa_cores: Mapping[int, int] = field(default_factory=dict)
    numa_memory: Mapping[int, int] = field(default_factory=dict)

    def plus(self, task: Waiting) -> Reserved:
        cores, memory = milli(task.cores), task.memory or 0
        more = replace(
            self,
            cores=self.cores + cores,
            memory=self.memory + memory,
            tasks=self.tasks + 1,
        )
        if task.target is None or task.target.numa is None:
            return more
        numa = task.target.numa
        return replace(
            more,
            numa_cores={**self.numa_cores, numa: self.numa_cores.get(numa, 0) + cores},
            numa_memory={**self.numa_memory, numa: self.numa_memory.get(numa, 0) + memory},
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A node as placement sees it.

    unfit says why nothing can be given to it now ("offline", "drained: moving house"), "" if
    something can. environments are the images that lie there; None for driver: no NULL tasks.
    """

    name: str
    capacity: Capacity
    reserved: Reserved = field(default_factory=Reserved)
    unfit: str = ""
    driver: str = ""
    has_engine: bool = False
    environments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Placement:
    task: int
    node: str


@dataclass(frozen=True, slots=True)
class Supply:
    """Environments that any node can get by itself, and those being made, with what to say of them."""

    published: frozenset[str] = frozenset()
    making: Mapping[str, str] = field(default_factory=dict)


NO_SUPPLY = Supply()


def place(
    waiting: Iterable[Waiting], places: Iterable[Place], supply: Supply = NO_SUPPLY
) -> list[Placement]:
    """The tasks that can start now. Reads `waiting` only as far as any node may have room."""
    nodes = {place.name: place for place in places}
    open_nodes = {name for name, node in nodes.items() if not node.unfit}
    placements: list[Placement] = []
    # Room only shrinks here: where one found none, another of its kind will find none either.
    hopeless: set[tuple[object, ...]] = set()
    for task in waiting:
        if not open_nodes:
            break
        kind = (task.cores, task.memory, task.container, task.target)
        if kind in hopeless or _being_made(task, nodes, supply):
            continue
        usable = [
            nodes[name] for name in _wanted(task, open_nodes) if not _cannot(task, nodes[name])
        ]
        usable = _with_image(task, usable, nodes, supply)
        free = [node for node in usable if not _no_room(task, node)]
        if not free:
            open_nodes -= {node.name for node in usable}
            hopeless.add(kind)
            continue
        chosen = min(free, key=lambda node: (-_free_cores(node), node.reserved.tasks, node.name))
        nodes[chosen.name] = replace(chosen, reserved=chosen.reserved.plus(task))
        placements.append(Placement(task.id, chosen.name))
    return placements


def explain(task: Waiting, places: Iterable[Place], supply: Supply = NO_SUPPLY) -> str:
    """Why a task waits, for people: one reason if all nodes share it, else one per node."""
    nodes = {place.name: place for place in places}
    if _being_made(task, nodes, supply):
        return supply.making[task.container or ""]
    if not nodes:
        return "no node has registered yet"
    wanted = sorted(_wanted(task, set(nodes)))
    if not wanted and task.target is not None:
        return f"node {task.target.node} is not registered"
    reasons = {}
    for name in wanted:
        node = nodes[name]
        reasons[name] = node.unfit or _cannot(task, node) or _no_room(task, node)
    if task.target is None and all(_cannot(task, nodes[name]) for name in wanted):
        reasons = {name: _cannot(task, nodes[name]) for name in wanted}
    blocked = {name: reason or "an earlier task waits for it" for name, reason in reasons.items()}
    kinds = set(blocked.values())
    if len(kinds) == 1 and len(blocked) > 1:
        return f"all nodes: {kinds.pop()}"
    return "; ".join(f"{name}: {reason}" for name, reason in sorted(blocked.items()))


def _being_made(task: Waiting, nodes: Mapping[str, Place], supply: Supply) -> bool:
    """Its environment is packed for the first time, and no node has the image yet."""
    return task.container in supply.making and not any(
        task.container in node.environments for node in nodes.values()
    )


def _wanted(task: Waiting, names: set[str]) -> set[str]:
    return names if task.target is None else names & {task.target.node}


def _with_image(
    task: Waiting, usable: list[Place], nodes: Mapping[str, Place], supply: Supply
) -> list[Place]:
    """An environment without a tarball can run only where its image lies.

    If it lies nowhere, any node will do: it is the one that says how to make it.
    """
    if task.container is None or task.container in supply.published:
        return usable
    if not any(task.container in node.environments for node in nodes.values()):
        return usable
    return [node for node in usable if task.container in node.environments]


def _cannot(task: Waiting, node: Place) -> str:
    """Why this node could never run the task, whatever else runs; "" if it could."""
    capacity = node.capacity
    if task.container is None and not node.driver:
        return "takes no tasks without a container"
    if task.container is not None and not node.has_engine:
        return "has no Docker engine"
    numa = task.target.numa if task.target else None
    if numa is not None:
        if numa not in capacity.numa:
            return f"has no NUMA node {numa}"
        return _too_big(task, len(capacity.numa[numa].cores), capacity.numa[numa].memory)
    return _too_big(task, capacity.cores, capacity.memory)


def _too_big(task: Waiting, cores: float, memory: int) -> str:
    if milli(task.cores) > milli(cores):
        return f"has {format_number(cores)} cores, the task wants {format_number(task.cores)}"
    if (task.memory or 0) > memory:
        return (
            f"has {format_size(memory)} of memory, the task wants {format_size(task.memory or 0)}"
        )
    return ""


def _free_cores(node: Place) -> int:
    return milli(node.capacity.cores) - node.reserved.cores


def _no_room(task: Waiting, node: Place) -> str:
    """Why the task has to wait for this node, which could run it; "" if it need not."""
    if node.reserved.tasks >= node.capacity.max_tasks:
        return f"runs {counted(node.reserved.tasks, 'task')} already, its maximum"
    free_cores, free_memory = _free_cores(node), node.capacity.memory - node.reserved.memory
    numa = task.target.numa if task.target else None
    if numa is not None:
        here = node.capacity.numa[numa]
        free_cores = min(free_cores, milli(len(here.cores)) - node.reserved.numa_cores.get(numa, 0))
        free_memory = min(free_memory, here.memory - node.reserved.numa_memory.get(numa, 0))
    if task.cores and milli(task.cores) > free_cores:
        return (
            f"{format_number(max(free_cores, 0) / 1000)} of {format_number(node.capacity.cores)} cores"
            f" are free, the task wants {format_number(task.cores)}"
        )
    if task.memory and task.memory > free_memory:
        return (
            f"{format_size(max(free_memory, 0))} of {format_size(node.capacity.memory)} memory are free,"
            f" the task wants {format_size(task.memory)}"
        )
    return ""
