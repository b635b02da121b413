"""Nothing accepted is lost, nothing runs twice: host and runner die at any moment, tasks do not."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.conftest import Up
from tests.e2e.witness import (
    Burst,
    all_final,
    assert_ran_once,
    prepare,
    ran,
    random_moment,
    seeded,
    signal_file,
    until_file,
    wait_ran,
    witness,
)
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

VICTIMS = {"host": ("host",), "runner": ("runner",), "both": ("host", "runner")}


@pytest.mark.parametrize("victims", VICTIMS)
def test_kill_9_in_a_burst_of_submissions_loses_and_repeats_nothing(up: Up, victims: str) -> None:
    cluster = up(runner_cores=8)
    rng = seeded(f"burst {victims}")
    programs = {"host": cluster.host, "runner": cluster.runners["node1"]}
    burst = Burst(cluster, witness("sleep 0.0$HAKURIVER_TASK_ID; exit 3"), count=80)
    with burst.running():
        for _ in range(5):
            random_moment(rng, 0.4)
            chosen = [programs[name] for name in VICTIMS[victims]]
            for program in chosen:
                program.kill9()
            for program in rng.sample(chosen, len(chosen)):
                program.start()
    tasks = all_final(cluster, burst.acknowledged.values())
    assert len(set(burst.acknowledged.values())) == 80, "an id was given twice"
    _, _, everything = cluster.api("GET", "/tasks?limit=1000")
    assert {task["task_id"] for task in everything} == set(tasks), "a task nobody was told of"
    assert_ran_once(cluster, tasks, code=3)


@pytest.mark.parametrize("victims", VICTIMS)
def test_tasks_run_on_while_host_and_runner_are_killed(
    up: Up, where: dict[str, object], victims: str
) -> None:
    cluster = up(runner_cores=8)
    rng = seeded(f"run {victims}")
    programs = {"host": cluster.host, "runner": cluster.runners["node1"]}
    count = (
        "i=0; while [ ! -e go ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo $i; echo err >&2"
    )
    ids = [cluster.submit(*witness(f"{count}; exit 9"), **where) for _ in range(4)]
    for task_id in ids:
        cluster.wait_status(task_id, "running")
    for _ in range(2):
        for name in VICTIMS[victims]:
            programs[name].kill9()
        random_moment(rng, 0.2)
        for name in VICTIMS[victims]:
            programs[name].start()
        random_moment(rng, 0.5)
    signal_file(cluster, "go")
    tasks = all_final(cluster, ids)
    assert_ran_once(cluster, tasks, code=9)
    for task_id in ids:
        lines = cluster.output(task_id).split()
        assert lines == [b"%d" % number for number in range(len(lines))], "output has gaps"
        assert cluster.output(task_id, "stderr") == b"err\n"


def test_ends_that_nobody_listened_to_arrive(up: Up, where: dict[str, object]) -> None:
    """Host away, runner away, both away: the exit codes and times arrive in the end."""
    cluster = up(runner_cores=8)
    runner = cluster.runners["node1"]
    for number, (host_away, runner_away) in enumerate([(1, 0), (0, 1), (1, 1)], 1):
        task_id = cluster.submit(*witness(f"{until_file(f'go{number}')}; exit {number}"), **where)
        cluster.wait_status(task_id, "running")
        away = [*([cluster.host] if host_away else []), *([runner] if runner_away else [])]
        for program in away:
            program.kill9()
        signal_file(cluster, f"go{number}")
        wait_ran(cluster, task_id, 2)
        for program in away:
            program.start()
        task = cluster.wait_final(task_id)
        assert (task["status"], task["exit_code"]) == ("failed", number), task
        assert task["error_message"] == f"exit code {number}"
        assert task["started_at"] <= task["completed_at"]


def test_a_node_that_is_away_for_long_leaves_its_tasks_lost_until_it_returns(
    cluster: Cluster,
) -> None:
    cluster.settings["timing_heartbeat_timeout_factor"] = 3
    cluster.start_host()
    prepare(cluster)
    runner = cluster.start_runner(runner_cores=8)
    running = cluster.submit(*witness(until_file("go")))
    killed = cluster.submit("sleep", "600")
    for task_id in (running, killed):
        cluster.wait_status(task_id, "running")
    waiting = cluster.popen_client("wait", running)
    runner.kill9()
    lost = cluster.wait_status(running, "lost")
    assert "does not answer" in lost["error_message"]
    assert cluster.api("POST", f"/kill/{killed}")[0] == 202
    told = cluster.wait_status(killed, "lost")
    assert (told["wish"], "will be killed" in told["error_message"]) == ("kill", True)
    assert waiting.poll() is None, "lost is not over"
    signal_file(cluster, "go")
    runner.start()
    assert cluster.wait_final(running)["status"] == "completed"
    assert cluster.wait_final(killed)["status"] == "killed"
    assert waiting.wait(15) == 0
    assert ran(cluster, running) == ["start", "end"]


def test_requeue_of_a_lost_task_kills_the_old_attempt(cluster: Cluster) -> None:
    cluster.settings["timing_heartbeat_timeout_factor"] = 3
    cluster.start_host()
    prepare(cluster)
    runner = cluster.start_runner("node1")
    task_id = cluster.submit(*witness(f"echo one; {until_file('go')}"))
    cluster.wait_status(task_id, "running")
    runner.kill9()
    cluster.wait_status(task_id, "lost")
    cluster.start_runner("node2")
    cluster.client("requeue", task_id)
    again = cluster.wait_status(task_id, "running")
    assert (again["attempt"], again["assigned_node"]) == (2, "node2")
    runner.start()
    wait_until(
        lambda: "given up by the host" in runner.log_text(), message="the old attempt is killed"
    )
    signal_file(cluster, "go")
    task = cluster.wait_final(task_id)
    assert (task["status"], task["attempt"]) == ("completed", 2)
    assert task["stdout_path"].endswith(f"{task_id}.2.out")
    assert cluster.output(task_id) == b"one\n"


def test_a_forgotten_task_is_killed_when_its_node_returns(cluster: Cluster) -> None:
    cluster.settings["timing_heartbeat_timeout_factor"] = 3
    cluster.start_host()
    runner = cluster.start_runner("node1")
    task_id = cluster.submit(
        "sh", "-c", "trap 'echo end; exit 7' TERM; while :; do sleep 0.05; done"
    )
    cluster.wait_status(task_id, "running")
    runner.kill9()
    cluster.wait_status(task_id, "lost")
    cluster.client("forget", task_id)
    assert cluster.task(task_id)["status"] == "failed"
    runner.start()
    wait_until(lambda: cluster.output(task_id) == b"end\n", message="it is told to end")
    wait_until(lambda: cluster.task(task_id)["exit_code"] == 7, message="the code is filled in")
    assert cluster.task(task_id)["status"] == "failed"


def test_a_runner_with_an_emptied_state_folder_came_back_without_its_tasks(
    up: Up, where: dict[str, object]
) -> None:
    cluster = up()
    runner = cluster.runners["node1"]
    task_id = cluster.submit(*witness("sleep 600"), **where)
    cluster.wait_status(task_id, "running")
    runner.kill9()
    shutil.rmtree(cluster.home / "runners" / "node1")
    runner.start()
    task = cluster.wait_final(task_id)
    assert (task["status"], task["exit_code"]) == ("failed", None)
    assert "came back without it" in task["error_message"]
    wait_until(lambda: not leftovers(cluster), message="what is left of it is killed")
    again = cluster.submit("true", **where)
    assert cluster.wait_final(again)["status"] == "completed"


def leftovers(cluster: Cluster) -> list[str]:
    from tests.support.cluster import task_processes

    return [str(pid) for pid in task_processes(cluster.cluster_id())]


def test_an_older_database_never_gives_an_id_again(up: Up) -> None:
    cluster = up()
    first = cluster.submit("true")
    cluster.wait_final(first)
    cluster.host.stop()
    folder = cluster.home / "host"
    shutil.copytree(folder, cluster.home / "copy")
    cluster.host.start()
    later = [cluster.submit("echo", "later") for _ in range(5)]
    all_final(cluster, later)
    cluster.host.stop()
    shutil.rmtree(folder)
    shutil.copytree(cluster.home / "copy", folder)
    cluster.host.start()
    cluster.wait_online()
    new = [cluster.submit("echo", "new") for _ in range(5)]
    assert not set(new) & {first, *later}
    assert {task["status"] for task in all_final(cluster, new).values()} == {"completed"}
    assert all(cluster.output(task_id) == b"new\n" for task_id in new)


def test_a_new_database_never_gives_an_id_again(up: Up) -> None:
    cluster = up()
    old = [cluster.submit("echo", "old") for _ in range(3)]
    all_final(cluster, old)
    cluster.host.stop()
    shutil.rmtree(cluster.home / "host")
    cluster.host.start()
    cluster.wait_online()
    new = cluster.submit("echo", "new")
    assert int(new) > max(map(int, old))
    assert cluster.wait_final(new)["status"] == "completed"
    assert cluster.output(new) == b"new\n"
