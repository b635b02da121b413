"""Messages that are lost, repeated, late or overtaken change nothing; neither do half-made starts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up
from tests.e2e.witness import (
    all_final,
    assert_ran_once,
    prepare,
    ran,
    random_moment,
    seeded,
    witness,
)
from tests.support.cluster import Cluster
from tests.support.program import Program
from tests.support.wait import wait_until

SECONDS = {"process": 0.15, "docker": 0.6}  # in which a start has its windows


def to_runner(runner: Program, body: object) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", runner.port, timeout=20)
    try:
        connection.request("POST", "/v1/orders", json.dumps(body))
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    # Its registration is known here a moment before it is known there.
    return to_runner(runner, body) if response.status == 503 else (response.status, answer)


def message(cluster: Cluster, orders: list[object], wishes: list[object]) -> dict[str, object]:
    return {"cluster": cluster.cluster_id(), "node": "node1", "orders": orders, "wishes": wishes}


def order(task: int, seq: tuple[int, int], argv: list[str]) -> dict[str, object]:
    return {"seq": list(seq), "task": task, "attempt": 1, "argv": argv, "cores": 1}


def test_a_request_that_timed_out_and_is_sent_again_is_one_submission(up: Up) -> None:
    cluster = up()
    body = {"command": "sh", "arguments": witness()[1:]}
    key = {"Idempotency-Key": "the same"}
    cluster.host.freeze()
    with pytest.raises(TimeoutError):
        cluster.api("POST", "/submit", body, key, timeout=0.3)
    cluster.host.thaw()
    answers = [cluster.api("POST", "/submit", body, key) for _ in range(3)]
    assert [answer[0] for answer in answers] == [202] * 3
    assert answers[0][2] == answers[1][2] == answers[2][2]
    (task_id,) = answers[0][2]["task_ids"]
    assert_ran_once(cluster, all_final(cluster, [task_id]))
    assert len(cluster.api("GET", "/tasks")[2]) == 1
    cluster.host.kill9()
    cluster.host.start()
    assert cluster.api("POST", "/submit", body, key)[2] == answers[0][2], "after a restart too"
    status, _, answer = cluster.api("POST", "/submit", {**body, "required_cores": 2}, key)
    assert (status, answer["error"]) == (422, "refused")
    assert "the same" in answer["detail"]


def test_one_key_from_many_at_once_is_one_submission(up: Up) -> None:
    cluster = up()
    body = {"command": "true", "targets": ["node1", "node1", "nowhere"]}
    answers: list[Any] = []

    def send() -> None:
        answers.append(cluster.api("POST", "/submit", body, {"Idempotency-Key": "x"}))

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer[0] for answer in answers} == {202}
    assert len({json.dumps(answer[2], sort_keys=True) for answer in answers}) == 1
    assert answers[0][2]["failed_targets"][0]["target"] == "nowhere"
    assert len(cluster.api("GET", "/tasks")[2]) == 2


def test_a_client_whose_host_is_killed_in_mid_request_submits_once(up: Up) -> None:
    cluster = up()
    cluster.host.freeze()
    client = cluster.popen_client("--wait", "--", *witness("exit 5"))
    wait_until(
        lambda: connected_to(cluster.port, client.pid), message="the client has sent its request"
    )
    cluster.host.kill9()
    cluster.host.start()
    code = client.wait(30)
    tasks = cluster.api("GET", "/tasks")[2]
    if code == 125:  # the host was away for all its tries, and then it said so
        assert client.stderr is not None
        assert b"client list" in client.stderr.read() or not tasks
    else:
        assert (code, len(tasks)) == (5, 1)
        assert_ran_once(cluster, all_final(cluster, [tasks[0]["task_id"]]), code=5)


def connected_to(port: int, pid: int) -> bool:
    """Whether the process has an established connection to the port: its socket is in /proc/net/tcp."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(link).removeprefix("socket:[").rstrip("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(r[2].endswith(f":{port:04X}") and r[3] == "01" and r[9] in own for r in rows)


def test_a_kill_for_a_frozen_runner_is_carried_out(up: Up, where: dict[str, object]) -> None:
    cluster = up()
    runner = cluster.runners["node1"]
    runner.freeze()
    ids = [cluster.submit(*witness("sleep 600"), **where) for _ in range(2)]
    wait_until(lambda: cluster.task(ids[0])["status"] == "assigning")
    for task_id in ids:
        assert cluster.api("POST", f"/kill/{task_id}")[0] == 202
    runner.thaw()
    for task in all_final(cluster, ids).values():
        assert task["status"] == "killed", task
        assert len(ran(cluster, task["task_id"])) < 2


def test_a_kill_that_overtakes_its_order_wins(up: Up) -> None:
    cluster = up()
    runner = cluster.runners["node1"]
    seq = (10**6, 1)
    wish = {"seq": list(seq), "task": 77, "attempt": 1, "wish": "kill", "n": 1}
    assert to_runner(runner, message(cluster, [], [wish])) == (
        200,
        {"orders": [], "wishes": [[77, 1, 1]]},
    )
    for _ in range(2):
        late = message(cluster, [order(77, seq, witness())], [])
        assert to_runner(runner, late) == (200, {"orders": [list(seq)], "wishes": []})
    runner.kill9()
    runner.start()
    assert to_runner(runner, late) == (200, {"orders": [list(seq)], "wishes": []})
    after = cluster.submit("true")
    cluster.wait_final(after)
    assert ran(cluster, "77") == []


def test_an_order_that_comes_again_runs_nothing(up: Up, where: dict[str, object]) -> None:
    """Before its end, after it was acknowledged, and after a restart of the runner."""
    cluster = up()
    runner = cluster.runners["node1"]
    task_id = cluster.submit(*witness("while [ ! -e go ]; do sleep 0.05; done"), **where)
    cluster.wait_status(task_id, "running")
    epoch = json.loads((cluster.shared / ".hakuriver.json").read_text())["epoch"]
    again = order(int(task_id), (epoch, 1), witness())
    again["container"] = None if where["container_name"] == "NULL" else where["container_name"]

    def repeat() -> None:
        status, answer = to_runner(runner, message(cluster, [again], []))
        assert (status, answer["orders"]) == (200, [[epoch, 1]])

    repeat()
    (cluster.shared / "shared_data" / "go").touch()
    tasks = all_final(cluster, [task_id])
    repeat()
    beats = runner_heartbeats(cluster)
    wait_until(lambda: runner_heartbeats(cluster) > beats, message="the order is closed for ever")
    repeat()
    runner.kill9()
    runner.start()
    repeat()
    cluster.wait_final(cluster.submit("true", **where))
    assert_ran_once(cluster, tasks)


def runner_heartbeats(cluster: Cluster) -> str:
    node = cluster.node()
    assert node is not None
    return str(node["last_heartbeat"])


def test_an_order_for_another_cluster_or_node_is_refused(up: Up) -> None:
    cluster = up()
    body = message(cluster, [order(1, (1, 1), ["true"])], [])
    for wrong in ({"cluster": "other"}, {"node": "node2"}):
        status, answer = to_runner(cluster.runners["node1"], {**body, **wrong})
        assert (status, answer["error"]) == (409, "conflict")


def test_a_runner_killed_in_mid_start_with_its_programs_starts_nothing_twice(
    up: Up, where: dict[str, object]
) -> None:
    """Its docker programs die with it in every other round and outlive it in the others."""
    docker = where["container_name"] != "NULL"
    cluster = up(runner_cores=8)
    runner = cluster.runners["node1"]
    rng = seeded(f"start {docker}")
    ids = []
    for number in range(8):
        ids += [cluster.submit(*witness("exit 4"), **where) for _ in range(2)]
        random_moment(rng, SECONDS["docker" if docker else "process"])
        runner.freeze()
        programs = children_of(runner.pid)
        if number % 2:
            for pid in programs:
                os.kill(pid, signal.SIGKILL)
        runner.kill9()
        runner.start()
    tasks = all_final(cluster, ids)
    assert_ran_once(cluster, tasks, code=4)


def test_ctrl_c_of_a_runner_in_mid_start_harms_no_task(up: Up, docker_image: str) -> None:
    """A terminal sends SIGINT to the whole process group."""
    cluster = up(runner_cores=8)
    runner = cluster.runners["node1"]
    rng = seeded("ctrl-c")
    ids = []
    for _ in range(5):
        ids += [cluster.submit(*witness("exit 4"), container_name=docker_image) for _ in range(3)]
        random_moment(rng, SECONDS["docker"])
        os.killpg(runner.pid, signal.SIGINT)
        assert runner.wait_end() in (0, 130)
        runner.start()
    assert_ran_once(cluster, all_final(cluster, ids), code=4)


def test_records_that_belong_to_nothing_are_removed_in_time(up: Up) -> None:
    cluster = up()
    runner = cluster.runners["node1"]
    task_id = cluster.submit(*witness("while [ ! -e go ]; do sleep 0.05; done"))
    cluster.wait_status(task_id, "running")
    records = cluster.home / "runners" / "node1" / "records"
    (running,) = records.iterdir()
    old, young = records / "998.1.1", records / "999.1.1"
    for folder in (old, young):
        folder.mkdir()
        (folder / "started").write_text("runner\n")
    for folder in (running, old):
        os.utime(folder, (0, 0))
    runner.restart()
    wait_until(lambda: not old.exists())
    assert {running, young} == set(records.iterdir())
    (cluster.shared / "shared_data" / "go").touch()
    assert_ran_once(cluster, all_final(cluster, [task_id]))


def children_of(pid: int) -> list[int]:
    """Docker programs among them; keepers of the process driver are tasks, not programs of ours."""
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for text in lists for child in text.split()]
    return [c for c in children if b"docker" in Path(f"/proc/{c}/cmdline").read_bytes()[:40]]


def test_a_runner_may_be_started_before_its_host(cluster: Cluster) -> None:
    early = cluster.start_runner("early")
    wait_until(lambda: "no contact with the host" in early.log_text())
    cluster.start_host()
    prepare(cluster)
    cluster.wait_online("early")
    assert_ran_once(cluster, all_final(cluster, [cluster.submit(*witness())]))


def test_a_second_host_or_runner_on_the_same_data_is_refused(up: Up) -> None:
    cluster = up()
    runner = cluster.runners["node1"]
    host = cluster.run("host", "--port", "0", check=False)
    assert host.returncode == 2, host.err
    assert f"{cluster.host.pid}" in host.err
    second = cluster.run("runner", "--name", "node1", "--port", "0", check=False)
    assert second.returncode == 2, second.err
    assert f"{runner.pid}" in second.err
    for program in (cluster.host, runner):
        program.kill9()
        program.start()
    cluster.wait_online()


def test_a_second_runner_of_a_name_is_refused_by_the_host(up: Up) -> None:
    cluster = up()
    other = cluster.home / "elsewhere"
    second = cluster.start_runner("node1-double", online=False, runner_name="node1",
                                  paths_runner_state_dir=other)  # fmt: skip
    wait_until(lambda: "is at work already" in second.log_text())
    assert cluster.wait_final(cluster.submit("true"))["status"] == "completed"


def test_two_runners_on_one_machine_leave_each_others_tasks_alone(
    cluster: Cluster, where: dict[str, object]
) -> None:
    cluster.start_host()
    prepare(cluster)
    runners = [cluster.start_runner(name, runner_cores=2) for name in ("node1", "node2")]
    script = witness("while [ ! -e go ]; do sleep 0.05; done; exit 6")
    ids = [cluster.submit(*script, targets=[name], **where) for name in ("node1", "node2")]
    for task_id in ids:
        cluster.wait_status(task_id, "running")
    for runner in runners:
        runner.kill9()
        runner.start()
    third = cluster.submit("sleep", "600", targets=["node1"], **where)
    cluster.wait_status(third, "running")
    cluster.client("kill", third)
    cluster.wait_final(third)
    (cluster.shared / "shared_data" / "go").touch()
    tasks = all_final(cluster, ids)
    assert_ran_once(cluster, tasks, code=6)
    assert {task["assigned_node"] for task in tasks.values()} == {"node1", "node2"}
