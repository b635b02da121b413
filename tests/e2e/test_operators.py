"""What whoever runs a cluster does with it: nodes that leave, disks that fill, what nodes refuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up
from tests.support.cluster import Cluster, task_processes
from tests.support.wait import wait_until


def offline(cluster: Cluster, name: str = "node1") -> None:
    wait_until(lambda: (cluster.node(name) or {}).get("status") == "offline", timeout=30)


# Draining


def test_a_drained_node_finishes_what_it_has_and_gets_nothing_new(up: Up) -> None:
    cluster = up()
    running = cluster.submit("sh", "-c", "while [ ! -e go ]; do sleep 0.1; done; exit 6")
    cluster.wait_status(running, "running")
    said = cluster.client("drain", "node1", "--reason", "new disk").out
    assert said == "Node node1 gets no new tasks.\n"
    waiting = cluster.submit("true")
    cluster.runners["node1"].stop()
    cluster.runners["node1"].start()
    cluster.wait_online()
    assert "drained: new disk" in cluster.task(waiting)["error_message"]
    assert "new disk" in cluster.client("nodes").out
    (cluster.shared / "shared_data" / "go").touch()
    assert cluster.wait_final(running)["exit_code"] == 6
    assert cluster.task(waiting)["status"] == "pending"
    cluster.client("undrain", "node1")
    assert cluster.wait_final(waiting)["status"] == "completed"
    assert cluster.client("drain", "node9", check=False).returncode == 4


# Removing


def test_a_node_that_left_for_good_is_removed_and_one_that_is_there_is_not(up: Up) -> None:
    cluster = up()
    cluster.start_runner("node2")
    there = cluster.client("remove", "node2", "--force", check=False)
    assert (there.returncode, "node2 is online" in there.err) == (5, True)
    assert "hakuriver-runner" in there.err
    cluster.runners["node2"].stop()
    offline(cluster, "node2")
    assert cluster.client("remove", "node2").out == "Node node2 removed.\n"
    assert cluster.node("node2") is None
    again = cluster.client("remove", "node2", check=False)
    assert (again.returncode, "not registered" in again.err) == (4, True)
    cluster.host.kill9()
    cluster.host.start()
    cluster.wait_online("node1")
    assert cluster.node("node2") is None


def test_tasks_of_a_node_are_given_up_by_force_and_killed_if_it_comes_back(up: Up) -> None:
    cluster = up()
    task_id = cluster.submit("sleep", "600")
    cluster.wait_status(task_id, "running")
    cluster.client("drain", "node1")
    # Neither the task nor its keeper notices.
    cluster.runners["node1"].kill9()
    offline(cluster)
    held = cluster.client("remove", "node1", check=False)
    assert (held.returncode, f"holds 1 task: {task_id}" in held.err) == (5, True)
    said = json.loads(cluster.client("--json", "remove", "node1", "--force").out)
    assert said["task_ids"] == [task_id]
    task = cluster.task(task_id)
    assert task["status"] == "failed"
    assert "forgotten by" in task["error_message"]
    assert cluster.node() is None
    assert task_processes(cluster.cluster_id())
    cluster.runners["node1"].start()
    cluster.wait_online()
    wait_until(lambda: not task_processes(cluster.cluster_id()), message="it was killed")
    assert (cluster.node() or {})["drained"] is None
    after = cluster.submit("sh", "-c", "exit 4")
    assert cluster.wait_final(after)["exit_code"] == 4, "a new node like any other"
    assert cluster.task(task_id)["status"] == "failed"


# Retention


def test_old_tasks_go_by_hand_with_their_output(up: Up) -> None:
    cluster = up()
    done = cluster.submit("sh", "-c", "echo 123456789; echo 1234 >&2")
    cluster.wait_final(done)
    running = cluster.submit("sh", "-c", "echo here; sleep 600")
    wait_until(lambda: cluster.client("logs", running).out == "here\n")
    assert "no task ended" in cluster.client("prune", "--dry-run").out
    asked = cluster.client("prune", "--older-than", "0s", check=False)
    assert (asked.returncode, "--yes" in asked.err) == (2, True)
    would = cluster.client("prune", "--older-than", "0s", "--dry-run").out
    assert would == "Would be deleted: 1 task that ended more than 0s ago, 15B of output.\n"
    cluster.client("prune", "--older-than", "0s", "--logs-only", "--yes")
    assert not list(cluster.shared.glob(f"task_*/{done}.*"))
    logs = cluster.client("logs", done, check=False)
    assert (logs.returncode, "was deleted to make room" in logs.err) == (4, True)
    assert cluster.api("GET", f"/task/{done}/stdout")[0] == 404
    assert cluster.task(done)["logs_pruned"] is True
    cluster.client("prune", "--older-than", "0s", "--yes")
    gone = cluster.client("status", done, check=False)
    assert (gone.returncode, "keep_history" in gone.err) == (4, True)
    assert cluster.client("logs", running).out == "here\n"
    assert cluster.task(running)["status"] == "running"


def test_old_tasks_go_by_themselves_if_the_host_is_told_so(up: Up) -> None:
    cluster = up()
    done = cluster.submit("echo", "hi")
    cluster.wait_final(done)
    cluster.host.stop()
    cluster.host.environ.update(HAKURIVER_DATABASE_KEEP_HISTORY="0.0000001")
    cluster.host.start()
    wait_until(lambda: cluster.client("status", done, check=False).returncode == 4)
    assert not list(cluster.shared.glob(f"task_*/{done}.*"))


# What a node refuses


def refusal(cluster: Cluster, **options: object) -> str:
    """What `status` says of a task that the node does not take."""
    task_id = cluster.submit("true", **options)
    task = cluster.wait_final(task_id)
    assert (task["status"], task["started_at"]) == ("failed", None), task
    shown = cluster.client("status", task_id).out
    assert task["error_message"] in shown
    return shown


def test_a_node_mounts_what_it_allows_and_nothing_through_a_back_door(
    up: Up, docker_image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    for name in ("data", "data2"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "note").write_text("allowed")
    (tmp_path / "data2" / "note").write_text("secret")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data2")
    cluster = up(runner_allowed_mounts=[str(tmp_path / "data")], runner_allow_privileged=False)
    for source in ("data2", "data/link", "/data2", "."):
        said = refusal(
            cluster, container_name=docker_image, additional_mounts=[f"{tmp_path}/{source}:/x:ro"]
        )
        assert "runner.allowed_mounts" in said
    up_and_down = {"command": "true", "container_name": docker_image}
    status, _, answer = cluster.api(
        "POST", "/submit", {**up_and_down, "additional_mounts": [f"{tmp_path}/data/../data2:/x"]}
    )
    assert (status, "'..'" in answer["detail"]) == (422, True)
    assert "runner.allow_privileged" in refusal(
        cluster, container_name=docker_image, privileged=True
    )
    good = cluster.submit(
        "cat", "/x/note", container_name=docker_image, additional_mounts=[f"/{tmp_path}//data:/x"]
    )
    cluster.wait_final(good)
    assert cluster.output(good) == b"allowed"


def test_a_node_without_null_tasks_says_so_to_those_that_wait_for_it(up: Up) -> None:
    cluster = up(runner_allow_null_container=False)
    task_id = cluster.submit("true", container_name="NULL")
    assert cluster.task(task_id)["error_message"] == "node1: takes no tasks without a container"
    assert "takes no tasks without a container" in cluster.client("status", task_id).out


# The shared directory


@pytest.fixture
def mounted(cluster: Cluster, tmp_path: Path) -> Path:
    """A runner's own way to the shared directory, which can be taken away."""
    way = tmp_path / "mnt"
    way.symlink_to(cluster.shared)
    cluster.start_host()
    cluster.start_runner(paths_shared_dir=str(way))
    return way


def point(way: Path, target: Path) -> None:
    fresh = way.with_name("fresh")
    fresh.symlink_to(target)
    os.replace(fresh, way)


def problems(cluster: Cluster) -> str:
    node: dict[str, Any] = cluster.node() or {}
    assert node["status"] == "online"
    return "; ".join(node["problems"])


@pytest.mark.parametrize("what", ["nothing", "another cluster's", "a silent one"])
def test_a_runner_without_its_shared_directory_says_so_and_heals_by_itself(
    cluster: Cluster, mounted: Path, tmp_path: Path, what: str
) -> None:
    running = cluster.submit("sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.1; done; exit 8',
                             str(tmp_path / "go"))  # fmt: skip
    cluster.wait_status(running, "running")
    other = tmp_path / "other"
    other.mkdir()
    marker, says = other / ".hakuriver.json", "is not mounted"
    if what == "another cluster's":
        shutil.copy(cluster.shared / ".hakuriver.json", marker)
        document = json.loads(marker.read_text())
        marker.write_text(json.dumps({**document, "cluster": "stranger"}))
        says = "belongs to another cluster, stranger"
    elif what == "a silent one":
        # Reading it blocks, as on a network mount whose server is gone.
        os.mkfifo(marker)
        says = "does not answer"
    point(mounted, other)
    wait_until(lambda: says in problems(cluster), timeout=30)
    assert says in cluster.client("nodes").out
    waiting = cluster.submit("sh", "-c", "exit 9")
    assert f"node1: {problems(cluster)}" == cluster.task(waiting)["error_message"]
    assert cluster.task(running)["status"] == "running"
    point(mounted, cluster.shared)
    if what == "a silent one":
        marker.write_text("{}")
    assert cluster.wait_final(waiting)["exit_code"] == 9
    assert problems(cluster) == ""
    (tmp_path / "go").touch()
    assert cluster.wait_final(running)["exit_code"] == 8


def test_a_runner_stops_although_its_shared_directory_does_not_answer(
    cluster: Cluster, mounted: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    os.mkfifo(other / ".hakuriver.json")
    point(mounted, other)
    wait_until(lambda: "does not answer" in problems(cluster), timeout=30)
    assert cluster.runners["node1"].stop() is not None
    assert cluster.runners["node1"].problems == []


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [
        ("host", "docker.default_container_name", "A B"),
        ("host", "docker.additional_mounts", "/only-one"),
        ("runner", "runner.memory", "much"),
    ],
)
def test_what_is_wrong_inside_a_value_names_its_setting(
    cluster: Cluster, role: str, name: str, value: str
) -> None:
    environ: Any = {f"HAKURIVER_{name.replace('.', '_').upper()}": value}
    done = cluster.run(role, check=False, timeout=15, **environ)
    assert done.returncode == 2, done.err
    assert f"error: {name}: " in done.err
    assert value in done.err
