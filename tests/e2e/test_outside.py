"""Containers that others stop, remove or leave, and the program that tells us of it."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.e2e.conftest import Up
from tests.e2e.test_engine import containers
from tests.e2e.witness import all_final, assert_ran_once, signal_file, until_file, witness
from tests.support.cluster import Cluster
from tests.support.processes import files_of_all
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker
OUTSIDE = {
    "stop": ["stop", "--time=1"],
    "kill": ["kill"],
    "rm": ["rm", "--force"],
}


@pytest.mark.parametrize("verb", OUTSIDE)
def test_a_container_that_somebody_ends_is_told_as_such(
    up: Up, docker_image: str, verb: str
) -> None:
    cluster = up(runner_cores=8)
    argv = OUTSIDE[verb]
    ids = [cluster.submit("sleep", "600", container_name=docker_image) for _ in range(2)]
    for task_id in ids:
        cluster.wait_status(task_id, "running")
    name = cluster.task(ids[0])["unit_name"]
    subprocess.run(["docker", *argv, name], check=True, capture_output=True, timeout=30)
    task = cluster.wait_final(ids[0])
    assert task["status"] == "failed", task
    assert "outside" in task["error_message"], task
    assert cluster.task(ids[1])["status"] == "running"


def test_a_container_that_somebody_removes_while_the_runner_is_away_is_missed(
    up: Up, docker_image: str
) -> None:
    cluster = up()
    task_id = cluster.submit("sleep", "600", container_name=docker_image)
    cluster.wait_status(task_id, "running")
    cluster.runners["node1"].kill9()
    name = cluster.task(task_id)["unit_name"]
    subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True, timeout=30)
    cluster.runners["node1"].start()
    task = cluster.wait_final(task_id)
    assert task["status"] == "failed"
    assert task["error_message"], task


def test_a_killed_events_program_is_replaced(up: Up, docker_image: str) -> None:
    cluster = up()
    task_id = cluster.submit(*witness(f"{until_file('go')}; exit 3"), container_name=docker_image)
    cluster.wait_status(task_id, "running")
    (listener,) = listeners(cluster)
    os.kill(listener, signal.SIGKILL)
    wait_until(lambda: listeners(cluster) not in ([], [listener]), message="there is a new one")
    signal_file(cluster, "go")
    assert_ran_once(cluster, all_final(cluster, [task_id]), code=3)


def listeners(cluster: Cluster) -> list[int]:
    """`docker events` programs of this cluster."""
    mark = cluster.cluster_id().encode()
    return [
        pid
        for pid, line in files_of_all("cmdline")
        if line.startswith(b"docker\0events\0") and mark in line
    ]


def test_a_runner_that_is_killed_leaves_no_program_of_ours_behind(
    up: Up, docker_image: str
) -> None:
    cluster = up()
    runner = cluster.runners["node1"]
    task_id = cluster.submit(*witness(until_file("go")), container_name=docker_image)
    cluster.wait_status(task_id, "running")
    wait_until(lambda: listeners(cluster), message="it listens to the engine")
    runner.kill9()
    wait_until(lambda: not listeners(cluster), message="nobody listens any more")
    runner.start()
    signal_file(cluster, "go")
    assert_ran_once(cluster, all_final(cluster, [task_id]))
    wait_until(lambda: listeners(cluster))
    runner.stop()
    assert not listeners(cluster)


def test_strangers_with_our_labels_are_removed(up: Up, docker_image: str) -> None:
    """A start that went wrong half-way leaves a container of an attempt that nobody knows."""
    cluster = up()
    labels = {"cluster": cluster.cluster_id(), "node": "node1", "task": "999", "attempt": "1"}
    options = [f"--label=hakuriver.{key}={value}" for key, value in labels.items()]
    image = f"hakuriver/{docker_image}:base"
    subprocess.run(
        ["docker", "run", "-d", "--network=none", *options, image, "sleep", "600"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    cluster.runners["node1"].restart()
    wait_until(lambda: not containers(cluster), message="the stranger is gone")
