"""The points of charts: what they hold, how long they are kept."""

from __future__ import annotations

import pytest

from hakuriver.host.history import SAMPLE_SECONDS, History, cluster_point, mean
from hakuriver.host.placement import Reserved
from hakuriver.host.registry import Registry
from hakuriver.model.errors import NotFound
from tests.host.office import node

UP = (8, 2.0, 50.0, 100, 10, 40, 3)
DOWN = (None, 1.0, None, None, 5, None, 1)


def test_a_cluster_is_the_sum_of_its_nodes_and_load_counts_by_cores() -> None:
    assert cluster_point([UP, (2, 0.0, 0.0, 50, 0, 5, 0)]) == (10, 2.0, 40.0, 150, 10, 45, 3)


def test_of_silent_nodes_what_they_hold_still_counts() -> None:
    assert cluster_point([UP, DOWN]) == (8, 3.0, 50.0, 100, 15, 40, 4)
    assert cluster_point([DOWN]) == (None, 1.0, None, None, 5, None, 1)
    assert cluster_point([]) == (None, 0, None, None, 0, None, 0)


def test_a_mean_is_of_what_is_known() -> None:
    assert mean([UP, DOWN])[0] == 8
    assert mean([UP, DOWN])[1] == 1.5
    assert mean([DOWN, DOWN])[0] is None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def filled(hours: float) -> tuple[History, Clock]:
    registry, clock = Registry(), Clock()
    registry.register(node(), now=0)
    history = History(registry, lambda: {"n1": Reserved(1500, 7, 2)}, clock=clock)
    for _ in range(int(hours * 3600 / SAMPLE_SECONDS)):
        clock.now += SAMPLE_SECONDS
        history.step()
    return history, clock


def test_an_hour_is_fine_and_a_day_coarse_and_neither_grows() -> None:
    history, clock = filled(26)
    fine, coarse = history.columns("", 1), history.columns("n1", 24)
    assert (fine["step"], len(fine["t"])) == (5, 720)
    assert (coarse["step"], len(coarse["t"])) == (60, 1440)
    assert fine["t"][-1] == coarse["t"][-1] == clock.now
    assert {len(column) for name, column in coarse.items() if name != "step"} == {1440}
    assert fine["cores_reserved"][0] == 1.5
    assert fine["running"][0] == 2


def test_less_is_less() -> None:
    history, clock = filled(1)
    assert len(history.columns("", 0.5)["t"]) == 361
    clock.now += 3600
    assert history.columns("", 0.5)["t"] == []


def test_an_unknown_node_is_not_found_and_a_new_one_has_no_past() -> None:
    registry = Registry()
    history = History(registry, dict)
    with pytest.raises(NotFound):
        history.columns("n1", 1)
    registry.register(node(), now=0)
    assert history.columns("n1", 1)["t"] == []
