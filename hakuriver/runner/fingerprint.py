"""What this machine is: cores, memory, NUMA nodes, and which boot of it this is.

Facts are from proc(5), and from Documentation/ABI/stable/sysfs-devices-node of the kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Set as AbstractSet
from pathlib import Path

from hakuriver.model.node import NumaNode

_NODES = Path("/sys/devices/system/node")


def total_cores() -> int:
    """Cores that this process may use: a container or taskset may have taken some away."""
    return len(os.sched_getaffinity(0))


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo (and a NUMA node's, whose lines begin with "Node N") in bytes."""
    found = re.findall(r"^(?:Node \d+ )?(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return {name: int(value) * 1024 for name, value in found}


def total_memory() -> int:
    return parse_meminfo(Path("/proc/meminfo").read_text())["MemTotal"]


def parse_cpulist(text: str) -> tuple[int, ...]:
    """ "0-3,8,10-11" as the numbers that it means."""
    cores: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    return tuple(cores)


def parse_numa_node(cpulist: str, meminfo: str, allowed: AbstractSet[int]) -> NumaNode:
    """allowed: the cores that this process may use. Raises ValueError for what no kernel writes."""
    cores = tuple(core for core in parse_cpulist(cpulist) if core in allowed)
    return NumaNode(cores, parse_meminfo(meminfo).get("MemTotal", 0))


def numa_nodes(
    folder: Path = _NODES, allowed: AbstractSet[int] | None = None
) -> dict[int, NumaNode]:
    """NUMA nodes by number; empty where the kernel tells of none.

    `numactl --hardware` reads the same files, so there is nothing to ask it for.
    """
    nodes = {}
    usable = os.sched_getaffinity(0) if allowed is None else allowed
    for path in folder.glob("node[0-9]*"):
        try:
            cpulist, meminfo = (path / "cpulist").read_text(), (path / "meminfo").read_text()
            nodes[int(path.name.removeprefix("node"))] = parse_numa_node(cpulist, meminfo, usable)
        except (OSError, ValueError):
            continue
    return dict(sorted(nodes.items()))


def boot_identity() -> str:
    """Another one after a restart of the machine, or of the container that plays one.

    boot_id alone is the kernel's: containers that restart keep it. The start time of PID 1
    (field 22 of its stat) changes then.
    """
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    stat = Path("/proc/1/stat").read_text()
    return f"{boot_id} {stat[stat.rindex(')') + 2 :].split()[19]}"
