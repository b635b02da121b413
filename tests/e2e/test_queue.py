"""A full cluster queues: never more than there is room for, in order, and it says why."""

from __future__ import annotations

import threading
from typing import Any

from tests.e2e.conftest import Up
from tests.e2e.witness import all_final, prepare, signal_file, until_file
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

GIB = 1 << 30
NOTE = "read -r now _ </proc/uptime; echo $now >>spans/$HAKURIVER_TASK_ID"
SPAN = f"{NOTE}; sleep 0.1; {NOTE}"


def most_at_once(cluster: Cluster, weights: dict[str, float]) -> float:
    """The largest sum of weights of tasks that ran at the same time, by what they wrote themselves."""
    changes = []
    for task_id, weight in weights.items():
        lines = (cluster.shared / "shared_data" / "spans" / task_id).read_text().split("\n")
        begin, end = (float(line) for line in lines[:2])
        changes += [(begin, weight), (end, -weight)]
    total = most = 0.0
    for _, change in sorted(changes):
        total += change
        most = max(most, total)
    return most


def test_a_burst_never_takes_more_cores_than_there_are(up: Up, where: dict[str, object]) -> None:
    cluster = up(runner_cores=2, runner_max_tasks=64)
    (cluster.shared / "shared_data" / "spans").mkdir(mode=0o777)
    in_use: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.is_set():
            node = cluster.node()
            assert node is not None
            in_use.append(node["cores_in_use"])

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        weights = {}
        for number in range(30 if where["container_name"] == "NULL" else 12):
            cores = (1, 0.5, 2)[number % 3]
            weights[cluster.submit("sh", "-c", SPAN, required_cores=cores, **where)] = float(cores)
        tasks = all_final(cluster, weights)
    finally:
        stop.set()
        sampler.join()
    assert {task["status"] for task in tasks.values()} == {"completed"}
    assert max(in_use) <= 2
    assert 1 < most_at_once(cluster, weights) <= 2 + 1e-9


def test_memory_is_reserved_like_cores(up: Up) -> None:
    cluster = up(runner_cores=8, runner_memory="4G")
    big = {"required_memory_bytes": 3 * GIB}
    first = cluster.submit("sh", "-c", until_file("go"), **big)
    cluster.wait_status(first, "running")
    second = cluster.submit("true", **big)
    small = cluster.submit("true")
    assert cluster.task(second)["status"] == "pending"
    node = cluster.node()
    assert node is not None
    assert node["memory_in_use_bytes"] == 3 * GIB
    reason = cluster.task(second)["error_message"]
    assert "1G of 4G memory are free, the task wants 3G" in reason, reason
    signal_file(cluster, "go")
    tasks = all_final(cluster, [first, second, small])
    assert {task["status"] for task in tasks.values()} == {"completed"}


def test_status_says_why_a_task_waits(cluster: Cluster) -> None:
    cluster.start_host()
    prepare(cluster)

    def why(*argv: str, **options: object) -> str:
        task_id = cluster.submit(*(argv or ("true",)), **options)
        task = cluster.task(task_id)
        assert task["status"] == "pending", task
        shown = cluster.client("status", task_id).out
        assert task["error_message"] in shown
        cluster.client("kill", task_id)
        return str(task["error_message"])

    assert why() == "no node has registered yet"
    cluster.start_runner("node1", runner_cores=2)
    runner = cluster.start_runner("node2", runner_cores=1, runner_allow_null_container=False)
    busy = cluster.submit("sleep", "600", required_cores=2)
    cluster.wait_status(busy, "running")
    reason = why()
    assert "node1: 0 of 2 cores are free, the task wants 1" in reason
    assert "node2: takes no tasks without a container" in reason
    assert "has 2 cores, the task wants 64" in why(required_cores=64)
    assert "the task wants" in why(required_memory_bytes=1 << 50)
    cluster.client("drain", "node1")
    assert "drained" in why(targets=["node1"])
    cluster.client("undrain", "node1")
    runner.stop()
    wait_until(lambda: (cluster.node("node2") or {}).get("status") == "offline")
    assert why(targets=["node2"], container_name="x") == "node2: offline"


def test_waiting_tasks_start_in_order_when_there_is_room(up: Up) -> None:
    cluster = up(runner_cores=1)
    ids = [cluster.submit("sh", "-c", "echo $HAKURIVER_TASK_ID >>order") for _ in range(12)]
    all_final(cluster, ids)
    assert (cluster.shared / "shared_data" / "order").read_text().split() == ids


def test_a_big_task_is_not_starved_by_small_ones(up: Up) -> None:
    cluster = up(runner_cores=2)
    first = cluster.submit("sleep", "0.5")
    big = cluster.submit("sh", "-c", "echo big >>order", required_cores=2)
    small = [cluster.submit("sh", "-c", "echo small >>order") for _ in range(3)]
    all_final(cluster, [first, big, *small])
    order = (cluster.shared / "shared_data" / "order").read_text().split()
    assert order == ["big", "small", "small", "small"]


def test_no_more_than_max_tasks_run_whatever_they_ask_for(up: Up) -> None:
    cluster = up(runner_max_tasks=2)
    ids = [cluster.submit("sleep", "600", required_cores=0) for _ in range(3)]
    for task_id in ids[:2]:
        cluster.wait_status(task_id, "running")
    assert "its maximum" in cluster.task(ids[2])["error_message"]
    cluster.client("kill", *ids)
    all_final(cluster, ids)


def test_several_targets_make_one_batch(cluster: Cluster) -> None:
    cluster.start_host()
    prepare(cluster)
    for name in ("node1", "node2"):
        cluster.start_runner(name, runner_cores=4)
    flags = [word for name in ("node1", "node2", "node1", "gone") for word in ("--target", name)]
    done = cluster.client(*flags, "--json", "--", "sh", "-c", "echo $HAKURIVER_NODE")
    (failed,) = json_of(done.out)["failed_targets"]
    assert failed["target"] == "gone"
    ids = json_of(done.out)["task_ids"]
    tasks = all_final(cluster, ids)
    assert [tasks[i]["assigned_node"] for i in ids] == ["node1", "node2", "node1"]
    assert {task["batch_id"] for task in tasks.values()} == {ids[0]}
    assert [cluster.output(i) for i in ids] == [b"node1\n", b"node2\n", b"node1\n"]
    other = cluster.submit("true")
    cluster.wait_final(other)
    listed = cluster.client("list", "--batch", ids[0], "--quiet").out.split()
    assert listed == ids[::-1]


def json_of(text: str) -> Any:
    import json

    return json.loads(text)


def test_lists_are_filtered_and_paged(up: Up) -> None:
    cluster = up(runner_cores=64)
    ids = [cluster.submit("sh", "-c", f"exit {n % 2}", "marker" * (n == 3), user=f"u{n % 3}")
           for n in range(25)]  # fmt: skip
    all_final(cluster, ids)
    assert cluster.client("list", "--quiet", "--limit", "10").out.split() == ids[:14:-1]
    assert (
        cluster.client("list", "--quiet", "--limit", "10", "--after", ids[15]).out.split()
        == ids[14:4:-1]
    )
    assert cluster.client("list", "--quiet", "--all").out.split() == ids[::-1]
    assert (
        cluster.client("list", "-q", "--status", "failed", "--all").out.split() == ids[1::2][::-1]
    )
    assert cluster.client("list", "-q", "--user", "u0", "--all").out.split() == ids[0::3][::-1]
    assert cluster.client("list", "-q", "--text", "marker").out.split() == [ids[3]]
    assert cluster.client("list", "-q", "--node", "node1", "--all").out.split() == ids[::-1]
    assert cluster.client("list", "-q", "--node", "nowhere").out == ""
    pages = []
    after = ""
    while True:
        _, headers, page = cluster.api("GET", f"/tasks?limit=7{after}")
        pages += [task["task_id"] for task in page]
        if "X-Hakuriver-Next" not in headers:
            break
        after = f"&after={headers['X-Hakuriver-Next']}"
    assert pages == ids[::-1]
    assert cluster.client("list", "--status", "nonsense", check=False).returncode == 5


def test_a_drained_node_gets_nothing_new_and_finishes_what_it_has(up: Up) -> None:
    cluster = up()
    running = cluster.submit("sh", "-c", until_file("go"))
    cluster.wait_status(running, "running")
    cluster.client("drain", "node1")
    waiting = cluster.submit("true")
    cluster.host.kill9()
    cluster.host.start()
    signal_file(cluster, "go")
    assert cluster.wait_final(running)["status"] == "completed"
    cluster.wait_online()
    assert "drained" in cluster.task(waiting)["error_message"], "over a restart too"
    cluster.client("undrain", "node1")
    assert cluster.wait_final(waiting)["status"] == "completed"


def test_a_long_poll_answers_at_the_change(up: Up) -> None:
    cluster = up()
    task_id = cluster.submit("sh", "-c", until_file("go"))
    task = cluster.wait_status(task_id, "running")
    answers: list[Any] = []

    def follow() -> None:
        # Any change is an answer; the node may have told twice that it runs.
        seen = task
        while seen["status"] == "running":
            path = f"/status/{task_id}?wait=30&since={seen['revision']}"
            seen = cluster.api("GET", path)[2]
        answers.append(seen)

    poll = threading.Thread(target=follow)
    poll.start()
    assert not answers
    signal_file(cluster, "go")
    poll.join(10)
    assert answers, "it slept through the change"
    assert answers[0]["status"] == "completed"
    assert cluster.api("GET", f"/status/{task_id}?wait=30")[2]["status"] == "completed"
