"""The Docker engine stops, dies and returns; containers are stopped by others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Up
from tests.e2e.engine import PrivateEngine, private_engine
from tests.e2e.witness import (
    all_final,
    assert_ran_once,
    ran,
    signal_file,
    until_file,
    wait_ran,
    witness,
)
from tests.support import needs
from tests.support.cluster import Cluster
from tests.support.images import made_images
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker
ENDS = {"stopped": PrivateEngine.stop, "killed": PrivateEngine.kill9}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "live-restore"])
def engine(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    needs.needs(needs.docker(), needs.root(), needs.static_busybox())
    with private_engine(live_restore=request.param) as made:
        yield made


@pytest.fixture
def own_engine(
    engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PrivateEngine, str, bool]]:
    """(engine, environment on it, whether it has live-restore); all of the test talks to it."""
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    with made_images() as images:
        yield engine, images.base, engine.live_restore


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("runner_away", [False, True], ids=["runner-there", "runner-away"])
def test_an_engine_that_ends_fails_its_tasks_unless_it_keeps_them(
    own_engine: tuple[PrivateEngine, str, bool], up: Up, end: str, runner_away: bool
) -> None:
    engine, environment, live_restore = own_engine
    cluster = up(runner_cores=8)
    node = cluster.node()
    assert node is not None
    assert node["live_restore"] is live_restore
    runner = cluster.runners["node1"]
    ids = [
        cluster.submit(*witness(f"{until_file('go')}; exit 5"), container_name=environment)
        for _ in range(2)
    ]
    mourned = cluster.submit(
        "sh", "-c", "trap 'echo bye; exit 0' TERM; while [ ! -e go ]; do sleep 0.05; done",
        container_name=environment,
    )  # fmt: skip
    for task_id in (*ids, mourned):
        cluster.wait_status(task_id, "running")
    for task_id in ids:
        wait_ran(cluster, task_id, 1)
    if runner_away:
        runner.kill9()
    ENDS[end](engine)
    engine.start()
    if runner_away:
        runner.start()
    if live_restore:
        signal_file(cluster, "go")
        tasks = all_final(cluster, ids)
        assert_ran_once(cluster, tasks, code=5)
        assert cluster.wait_final(mourned)["status"] == "completed"
    else:
        for task in all_final(cluster, ids).values():
            assert task["status"] == "failed", task
            assert "the Docker engine stopped" in task["error_message"], task
            assert ran(cluster, task["task_id"]) == ["start"]
        task = cluster.wait_final(mourned)
        assert cluster.output(mourned) == b"bye\n"
        assert (task["status"], task["exit_code"]) == ("completed", 0), task
    again = cluster.submit(*witness(), container_name=environment)
    assert_ran_once(cluster, all_final(cluster, [again]))
    wait_until(lambda: not containers(cluster), message="no container is left")


def test_a_kill_while_the_engine_is_away_is_carried_out(
    own_engine: tuple[PrivateEngine, str, bool], up: Up
) -> None:
    engine, environment, live_restore = own_engine
    cluster = up()
    task_id = cluster.submit("sleep", "600", container_name=environment)
    cluster.wait_status(task_id, "running")
    engine.kill9()
    cluster.client("kill", task_id)
    engine.start()
    task = cluster.wait_final(task_id)
    assert task["status"] == "killed" or not live_restore, task
    wait_until(lambda: not containers(cluster))


def test_a_task_that_the_engine_never_began_is_run_when_it_returns(
    own_engine: tuple[PrivateEngine, str, bool], up: Up
) -> None:
    engine, environment, _ = own_engine
    cluster = up(runner_cores=8)
    engine.kill9()
    ids = [cluster.submit(*witness(), container_name=environment) for _ in range(3)]
    cluster.runners["node1"].kill9()
    cluster.runners["node1"].start()
    engine.start()
    assert_ran_once(cluster, all_final(cluster, ids))


@pytest.mark.parametrize("end", ["ends", "is killed"])
def test_a_task_that_the_engine_has_forgotten_to_have_started_is_still_a_task(
    own_engine: tuple[PrivateEngine, str, bool], up: Up, end: str
) -> None:
    engine, environment, _ = own_engine
    cluster = up(runner_kill_grace=5)
    runner = cluster.runners["node1"]
    script = f"echo start >>ran/$HAKURIVER_TASK_ID; {until_file('go')}"
    argv = {
        "ends": witness(f"{until_file('go')}; exit 5"),
        "is killed": ["sh", "-c", f"trap 'echo bye; exit 7' TERM; {script}"],
    }
    task_id = cluster.submit(*argv[end], container_name=environment)
    wait_ran(cluster, task_id, 1)
    (container,) = containers(cluster)
    # As it is after an engine that died between starting it and noting that it had.
    runner.kill9()
    engine.kill9()
    engine.forget_start(container)
    engine.start()
    runner.start()
    later = cluster.submit(*witness(), container_name=environment)
    assert_ran_once(cluster, all_final(cluster, [later]))
    assert cluster.task(task_id)["status"] == "running"
    if end == "is killed":
        cluster.client("kill", task_id)
        task = cluster.wait_final(task_id)
        assert (task["status"], task["exit_code"]) == ("killed", 7), task
        assert task["error_message"] == "killed on request", task
        assert cluster.output(task_id) == b"bye\n"
    else:
        signal_file(cluster, "go")
        assert_ran_once(cluster, all_final(cluster, [task_id]), code=5)
    wait_until(lambda: not containers(cluster), message="no container is left")


def containers(cluster: Cluster) -> list[str]:
    argv = ["docker", "ps", "-aq", "--filter", f"label=hakuriver.cluster={cluster.cluster_id()}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.split()
