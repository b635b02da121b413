"""What the end-to-end tests share: clusters that are up, and one environment per driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.witness import prepare
from tests.support.cluster import Cluster

Up = Callable[..., Cluster]


@pytest.fixture
def up(cluster: Cluster) -> Up:
    """up(**settings of the runner) starts host and node1; returns the cluster."""

    def start(**settings: Any) -> Cluster:
        cluster.start_host()
        prepare(cluster)
        cluster.start_runner(**settings)
        return cluster

    return start


@pytest.fixture(scope="module")
def standing(program: list[str]) -> Iterator[Cluster]:
    """One cluster with plenty of room for a whole module, for tests that leave it as it was."""
    with Cluster(program) as cluster:
        cluster.start_host()
        prepare(cluster)
        cluster.start_runner(runner_cores=64, runner_max_tasks=64)
        yield cluster


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def where(request: pytest.FixtureRequest) -> dict[str, object]:
    """Fields of a submission that choose the driver."""
    if request.param == "process":
        return {"container_name": "NULL"}
    return {"container_name": request.getfixturevalue("docker_image")}
