"""The last day in memory: fine for an hour, coarse before, never more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from hakuriver.host.history import FIELDS, History, cluster_point, mean, node_point
from hakuriver.host.placement import Reserved
from hakuriver.host.registry import NodeState, Registry
from hakuriver.model.errors import NotFound
from hakuriver.model.messages import Heartbeat
from hakuriver.model.node import Capacity, Vitals
from tests.host.office import node

HELD = Reserved(1500, 1 << 30, 2)


def state(cpu: float = 50.0, cores: int = 4, *, online: bool = True) -> NodeState:
    info = node(capacity=Capacity(cores, 8 << 30, 16))
    return NodeState(info, online=online, vitals=Vitals(cpu, 2 << 30, 8 << 30))


@dataclass
class Clock:
    """A registry with one node, and a history of it."""

    now: float = 1_000_000.0
    samples: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry()
        self.beats = 0
        self.registry.register(node(), now=self.now)
        self.history = History(
            self.registry, lambda: {"n1": HELD}, on_sample=self.samples.append,
            clock=lambda: self.now,
        )  # fmt: skip

    def run(self, seconds: float, cpu: float = 50.0) -> None:
        for _ in range(int(seconds / 5)):
            self.now += 5
            self.beats += 1
            beat = Heartbeat("n1", 1, self.beats, (0, 0), (), Vitals(cpu, 2 << 30, 8 << 30))
            self.registry.heartbeat(beat, now=self.now, wall=self.now)
            self.history.step()

    def silence(self) -> None:
        self.registry.silent_since(self.now + 1)


def test_a_point_says_what_there_is_what_is_held_and_what_is_used() -> None:
    point = dict(zip(FIELDS, node_point(state(), HELD), strict=True))
    assert point == {
        "cores_total": 4, "cores_reserved": 1.5, "cpu_percent": 50.0, "memory_total": 8 << 30,
        "memory_reserved": 1 << 30, "memory_used": 2 << 30, "running": 2,
    }  # fmt: skip


def test_of_a_node_that_does_not_answer_only_what_it_holds_is_known() -> None:
    point = dict(zip(FIELDS, node_point(state(online=False), HELD), strict=True))
    known = {name: value for name, value in point.items() if value is not None}
    assert known == {"cores_reserved": 1.5, "memory_reserved": 1 << 30, "running": 2}


def test_the_cluster_is_the_sum_and_its_load_counts_cores() -> None:
    points = [node_point(state(100.0, cores=1), HELD), node_point(state(0.0, cores=3), HELD)]
    gone = node_point(state(online=False), HELD)
    assert cluster_point([*points, gone]) == (4, 4.5, 25.0, 16 << 30, 3 << 30, 4 << 30, 6)
    assert cluster_point([gone]) == (None, 1.5, None, None, 1 << 30, None, 2)
    assert cluster_point([])[0] is None


def test_a_mean_is_of_what_is_known() -> None:
    points = [node_point(state(10.0), HELD), node_point(state(online=False), Reserved())]
    assert mean(points)[:3] == (4.0, 0.75, 10.0)
    assert mean([points[1]])[2] is None


def test_an_hour_is_told_in_steps_of_five_seconds() -> None:
    clock = Clock()
    clock.run(3 * 3600)
    told = clock.history.columns("n1", 1)
    assert told["step"] == 5
    assert told["t"][-1] == clock.now
    assert (len(told["t"]), told["t"][-1] - told["t"][0]) == (720, 3595)
    assert {len(told[name]) for name in FIELDS} == {720}
    assert len(clock.history.columns("n1", 0.5)["t"]) == 361


def test_a_day_is_told_in_minutes_and_nothing_before_it_is_kept() -> None:
    clock = Clock()
    clock.run(26 * 3600)
    told = clock.history.columns("", 24)
    assert told["step"] == 60
    assert len(told["t"]) == 1440
    assert {round(b - a) for a, b in zip(told["t"], told["t"][1:], strict=False)} == {60}


def test_a_minute_that_is_not_over_is_told_as_far_as_it_went() -> None:
    clock = Clock()
    clock.run(60, cpu=10)
    clock.run(20, cpu=30)
    clock.run(5, cpu=90)
    told = clock.history.columns("n1", 24)
    assert told["t"] == [clock.now - 25, clock.now]
    assert told["cpu_percent"] == [10, 42]


def test_a_gap_is_null_and_the_time_goes_on() -> None:
    clock = Clock()
    clock.run(10)
    clock.silence()
    clock.now += 5
    clock.history.step()
    told = clock.history.columns("n1", 1)
    assert told["cpu_percent"] == [50.0, 50.0, None]
    assert told["cores_reserved"] == [1.5, 1.5, 1.5]


def test_a_sample_is_one_point_of_everything() -> None:
    clock = Clock()
    clock.run(5)
    (sample,) = clock.samples
    assert sample.keys() == {"t", "cluster", "nodes"}
    assert tuple(sample["cluster"]) == tuple(sample["nodes"]["n1"]) == FIELDS
    assert sample["t"] == clock.now


def test_a_node_that_nobody_knows_is_an_error_and_one_without_points_is_empty() -> None:
    clock = Clock()
    with pytest.raises(NotFound, match="nowhere"):
        clock.history.columns("nowhere", 1)
    assert clock.history.columns("n1", 1)["t"] == []


def test_what_is_remembered_of_a_node_goes_with_it() -> None:
    clock = Clock()
    clock.run(10)
    clock.silence()
    clock.registry.remove("n1")
    clock.history.step()
    with pytest.raises(NotFound):
        clock.history.columns("n1", 1)
