"""NUMA topologies of machines that are not here, as their kernels tell of them in sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.model.node import NumaNode
from hakuriver.runner.fingerprint import numa_nodes, parse_cpulist, parse_meminfo

KIB = 1024


def meminfo(number: int, kilobytes: int) -> str:
    return (
        f"\nNode {number} MemTotal:       {kilobytes} kB\n"
        f"Node {number} MemFree:        {kilobytes // 2} kB\n"
        f"Node {number} MemUsed:        {kilobytes // 2} kB\n"
        f"Node {number} HugePages_Total:     0\n"
    )


# cpulist and kilobytes of each node.
MACHINES = {
    # Two Xeons of 52 cores with hyper-threading, and two memory expanders at CXL without cores.
    "xeon-cxl": {
        0: ("0-51,104-155", 65707008),
        1: ("52-103,156-207", 66019328),
        2: ("", 67108864),
        3: ("", 134217728),
    },
    # Two sockets of an Opteron whose second memory bank is empty.
    "empty bank": {0: ("0,2,4,6", 33554432), 1: ("1,3,5,7", 0)},
    # POWER numbers its nodes with gaps.
    "power": {0: ("0-79", 268435456), 8: ("80-159", 268435456), 255: ("", 16777216)},
}


def machine(folder: Path, name: str) -> Path:
    for number, (cpulist, kilobytes) in MACHINES[name].items():
        node = folder / f"node{number}"
        node.mkdir()
        (node / "cpulist").write_text(f"{cpulist}\n")
        (node / "meminfo").write_text(meminfo(number, kilobytes))
    for other in ("online", "possible", "has_cpu"):
        (folder / other).write_text("0-1\n")
    (folder / "power").mkdir()
    return folder


def test_hyper_threads_and_memory_without_cores(tmp_path: Path) -> None:
    nodes = numa_nodes(machine(tmp_path, "xeon-cxl"), allowed=set(range(208)))
    assert [len(node.cores) for node in nodes.values()] == [104, 104, 0, 0]
    assert nodes[1].cores[0] == 52
    assert nodes[1].cores[-1] == 207
    assert nodes[3] == NumaNode((), 134217728 * KIB)


def test_a_bank_without_memory_is_one_of_zero_bytes(tmp_path: Path) -> None:
    nodes = numa_nodes(machine(tmp_path, "empty bank"), allowed=set(range(8)))
    assert nodes == {
        0: NumaNode((0, 2, 4, 6), 33554432 * KIB),
        1: NumaNode((1, 3, 5, 7), 0),
    }


def test_numbers_with_gaps_are_kept_and_in_order(tmp_path: Path) -> None:
    assert list(numa_nodes(machine(tmp_path, "power"), allowed=set(range(160)))) == [0, 8, 255]


def test_only_cores_that_we_may_use_are_offered(tmp_path: Path) -> None:
    nodes = numa_nodes(machine(tmp_path, "power"), allowed={78, 79, 80})
    assert [node.cores for node in nodes.values()] == [(78, 79), (80,), ()]


def test_a_kernel_without_numa_has_no_nodes(tmp_path: Path) -> None:
    assert numa_nodes(tmp_path / "nothing") == {}


def test_a_node_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    folder = machine(tmp_path, "empty bank")
    (folder / "node1" / "cpulist").write_text("what\n")
    assert list(numa_nodes(folder, allowed={0})) == [0]


def test_this_machine_says_what_its_kernel_says() -> None:
    there = {
        int(path.name.removeprefix("node"))
        for path in Path("/sys/devices/system/node").glob("node[0-9]*")
    }
    assert set(numa_nodes()) == there


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("", ()),
        ("\n", ()),
        ("0\n", (0,)),
        ("0-3", (0, 1, 2, 3)),
        ("0-1,8,10-11", (0, 1, 8, 10, 11)),
    ],
)
def test_a_list_of_cores(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cpulist(text) == cores


def test_meminfo_of_the_machine_and_of_a_node() -> None:
    assert parse_meminfo("MemTotal:  16 kB\nHugePages_Total: 3\n") == {"MemTotal": 16 * KIB}
    assert parse_meminfo(meminfo(7, 32))["MemTotal"] == 32 * KIB
