"""Which tasks can be bound to a NUMA node."""

from __future__ import annotations

import re

import pytest

from hakuriver.model.node import Capacity, NodeInfo, NumaNode, cannot_bind
from hakuriver.model.target import Target

NUMA = {0: NumaNode((0, 1), 1 << 30), 1: NumaNode((), 1 << 30), 2: NumaNode((2,), 0)}


def info(*, numa: dict[int, NumaNode] = NUMA, numactl: bool = True) -> NodeInfo:
    capacity = Capacity(4, 8 << 30, 16, numa)
    return NodeInfo("n1", "http://n1:1", "i", 1, "b", "1", 1, capacity, "systemd", numactl=numactl)


@pytest.mark.parametrize("in_container", [True, False])
def test_what_is_there_can_be_bound_to(in_container: bool) -> None:
    assert cannot_bind(info(), Target("n1", 0), in_container=in_container) == ""


def test_a_target_without_a_numa_node_needs_nothing() -> None:
    bare = info(numa={}, numactl=False)
    assert cannot_bind(bare, Target("n1"), in_container=False) == ""


@pytest.mark.parametrize(
    ("number", "why"),
    [(7, "no NUMA node 7 .it has: 0, 1, 2"), (1, "1 of n1 has no cores"), (2, "2 of n1 has no memory")],
)  # fmt: skip
def test_what_is_missing_is_named(number: int, why: str) -> None:
    problem = cannot_bind(info(), Target("n1", number), in_container=True)
    assert re.search(why, problem), problem


def test_a_machine_without_numa_says_so() -> None:
    problem = cannot_bind(info(numa={}), Target("n1", 0), in_container=True)
    assert problem == "node n1 has no NUMA node 0 (it has: none)"


def test_numactl_is_needed_without_a_container_only() -> None:
    bare = info(numactl=False)
    assert cannot_bind(bare, Target("n1", 0), in_container=True) == ""
    assert "has no numactl" in cannot_bind(bare, Target("n1", 0), in_container=False)
