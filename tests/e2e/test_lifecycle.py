"""Kill, pause, resume and wait: in every state, for every driver, as a user does it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from tests.e2e.conftest import Up
from tests.e2e.witness import (
    all_final,
    ran,
    random_moment,
    seeded,
    signal_file,
    until_file,
    witness,
)
from tests.support.cluster import Cluster, task_processes
from tests.support.wait import wait_until

LOOP = "while :; do sleep 0.05; done"
DYING = f"trap 'echo last words; exit 7' TERM; echo ready; {LOOP}"
DEAF = f"trap '' TERM; echo ready; {LOOP}"


def started(cluster: Cluster, *argv: str, **options: object) -> str:
    """A task whose command has said that it is ready."""
    task_id = cluster.submit(*argv, **options)
    cluster.wait_status(task_id, "running")
    wait_until(lambda: b"ready" in cluster.output(task_id), message="the command is ready")
    return task_id


def gone(cluster: Cluster) -> bool:
    return not task_processes(cluster.cluster_id())


def test_a_waiting_task_is_killed_at_once(up: Up) -> None:
    cluster = up(runner_cores=1)
    first = cluster.submit("sleep", "600")
    waiting = cluster.submit(*witness())
    done = cluster.client("kill", waiting)
    assert waiting in done.out
    task = cluster.task(waiting)
    assert (task["status"], task["exit_code"]) == ("killed", None)
    assert task["error_message"] == "killed before it started"
    cluster.client("kill", first)
    cluster.wait_final(first)
    assert ran(cluster, waiting) == []


def test_a_kill_at_any_moment_of_a_start_is_carried_out(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    rng = seeded("kill")
    ids = []
    for number in range(8):
        ids.append(cluster.submit(*witness("sleep 600"), **where))
        random_moment(rng, number * 0.1)
        assert cluster.api("POST", f"/kill/{ids[-1]}")[0] == 202
    for task in all_final(cluster, ids).values():
        assert task["status"] == "killed", task
    wait_until(lambda: gone(cluster), message="nothing of them is left")


def test_a_running_task_gets_to_say_its_last_words(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    task_id = started(cluster, "sh", "-c", DYING, **where)
    cluster.client("kill", task_id)
    task = cluster.wait_final(task_id)
    assert (task["status"], task["exit_code"], task["wish"]) == ("killed", 7, None)
    assert cluster.output(task_id) == b"ready\nlast words\n"
    assert task["error_message"] == "killed on request"


def test_a_task_that_ignores_term_is_killed_after_its_grace(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    task_id = started(cluster, "sh", "-c", DEAF, **where)
    cluster.client("kill", task_id)
    asked = time.monotonic()
    assert cluster.task(task_id)["status"] == "running", "a status is what was confirmed"
    assert cluster.task(task_id)["wish"] == "kill"
    task = cluster.wait_final(task_id)
    assert 0.9 < time.monotonic() - asked < 5
    assert (task["status"], task["exit_code"]) == ("killed", 137)
    wait_until(lambda: gone(cluster))


def test_a_kill_reaches_the_whole_process_tree(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    tree = "setsid sleep 600 & timeout 600 sleep 600 & (sleep 600 &) "
    task_id = started(cluster, "sh", "-c", f"{tree}; echo ready; {LOOP}", **where)
    cluster.client("kill", task_id)
    assert cluster.wait_final(task_id)["status"] == "killed"
    wait_until(lambda: gone(cluster))


def test_a_paused_task_stands_still_until_it_is_resumed_or_killed(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    count = "echo ready; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"
    task_id = started(cluster, "sh", "-c", f"trap 'exit 7' TERM; {count}", **where)
    assert cluster.client("pause", task_id).returncode == 0
    cluster.wait_status(task_id, "paused")
    wait_until(lambda: cluster.task(task_id)["wish"] is None, message="the wish is fulfilled")
    size = len(cluster.output(task_id))
    cluster.wait_final(cluster.submit("sleep", "0.3"))
    assert len(cluster.output(task_id)) == size, "it went on"
    cluster.client("resume", task_id)
    cluster.wait_status(task_id, "running")
    wait_until(lambda: len(cluster.output(task_id)) > size)
    cluster.client("pause", task_id)
    cluster.wait_status(task_id, "paused")
    cluster.client("kill", task_id)
    task = cluster.wait_final(task_id)
    assert (task["status"], task["exit_code"]) == ("killed", 7)


def test_a_paused_task_stays_paused_over_restarts(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    task_id = started(cluster, "sh", "-c", DYING, **where)
    cluster.client("pause", task_id)
    cluster.wait_status(task_id, "paused")
    for program in (cluster.host, cluster.runners["node1"]):
        program.kill9()
        program.start()
    cluster.wait_online()
    after = cluster.submit("true", **where, required_cores=0)
    cluster.wait_final(after)
    assert cluster.task(task_id)["status"] == "paused"
    cluster.client("resume", task_id)
    cluster.wait_status(task_id, "running")
    cluster.client("kill", task_id)
    assert cluster.wait_final(task_id)["exit_code"] == 7


def test_a_kill_asked_for_while_the_runner_was_away_is_gentle_too(
    up: Up, where: dict[str, object]
) -> None:
    cluster = up(runner_kill_grace=5)
    runner = cluster.runners["node1"]
    task_id = started(cluster, "sh", "-c", DYING, **where)
    runner.kill9()
    cluster.client("kill", task_id)
    runner.start()
    task = cluster.wait_final(task_id)
    assert (task["status"], task["exit_code"]) == ("killed", 7)
    assert cluster.output(task_id).endswith(b"last words\n")


def test_the_last_wish_wins(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    task_id = started(cluster, "sh", "-c", DYING, **where)
    runner = cluster.runners["node1"]
    runner.freeze()
    for verb in ("pause", "resume", "pause", "resume", "pause"):
        assert cluster.api("POST", f"/command/{task_id}/{verb}")[0] == 200
    assert cluster.task(task_id)["status"] == "running"
    runner.thaw()
    cluster.wait_status(task_id, "paused")
    runner.freeze()
    assert cluster.api("POST", f"/kill/{task_id}")[0] == 202
    assert cluster.api("POST", f"/command/{task_id}/resume")[0] == 409
    runner.thaw()
    assert cluster.wait_final(task_id)["exit_code"] == 7


def test_what_is_over_or_unknown_cannot_be_changed(up: Up) -> None:
    cluster = up(runner_cores=1)
    over = cluster.submit("true")
    cluster.wait_final(over)
    for verb in ("kill", "pause", "resume", "requeue", "forget"):
        assert cluster.client(verb, over, check=False).returncode == 5, verb
        assert cluster.client(verb, "999", check=False).returncode == 4, verb
    assert cluster.client("status", "999", check=False).returncode == 4
    running = cluster.submit("sleep", "600")
    waiting = cluster.submit("true")
    assert cluster.client("pause", waiting, check=False).returncode == 5
    assert cluster.client("forget", running, check=False).returncode == 5


def test_wait_returns_the_tasks_own_code(standing: Cluster) -> None:
    cluster = standing
    for code in (0, 3, 125, 255):
        argv = ["--json", "--wait", "--", "sh", "-c", f"exit {code}"]
        done = cluster.client(*argv, check=False)
        assert done.returncode == code
        task = json.loads(done.out)
        assert cluster.client("wait", task["task_id"], check=False).returncode == code


def asleep(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2] == "S"


def test_ctrl_c_of_a_wait_leaves_the_task_running_and_says_how_to_return(
    standing: Cluster,
) -> None:
    cluster = standing
    waiting = cluster.popen_client("--wait", "--", "sh", "-c", until_file("go"))
    assert waiting.stdout is not None
    task_id = waiting.stdout.readline().decode().split()[1]
    # Python looks for signals between its own steps, not in the moment before it begins to sleep.
    wait_until(lambda: asleep(waiting.pid), message="it waits for the host")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=15)
    assert waiting.returncode == 130
    assert f"client wait {task_id}" in said.decode(), said
    assert b"Traceback" not in said
    assert cluster.wait_status(task_id, "running")
    signal_file(cluster, "go")
    assert cluster.client("wait", task_id).returncode == 0


def test_following_a_log_ends_with_the_task(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; echo err >&2; exit 3"
    task_id = cluster.submit("sh", "-c", script, **where)
    follower = cluster.popen_client("logs", "-f", task_id)
    out, _ = follower.communicate(timeout=30)
    assert out == b"".join(b"line %d\n" % number for number in range(1, 6))
    assert cluster.task(task_id)["status"] == "failed", "the end came first"
    assert cluster.client("logs", "--stderr", task_id).out == "err\n"
    assert cluster.client("logs", "--tail", "2", task_id).out == "line 4\nline 5\n"
    status, headers, body = cluster.api("GET", f"/task/{task_id}/stdout?offset=7&limit=4")
    assert (status, body, headers["X-Hakuriver-Final"]) == (200, b"line", "1")
    assert (headers["X-Hakuriver-Offset"], headers["X-Hakuriver-Size"]) == ("7", "35")
