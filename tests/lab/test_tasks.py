"""Tasks without a container on a real node: what systemd limits, counts, hides and ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import ENVIRONMENT, PROGRAM, LabCluster
from tests.lab.image import USER
from tests.lab.lab import Lab
from tests.lab.node import STATE
from tests.support.wait import wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(lab: Lab, pyz: Path) -> Iterator[LabCluster]:
    made = LabCluster(lab, pyz, runners=1)
    try:
        made.start()
        yield made
    finally:
        made.close()


def ran(cluster: LabCluster, *argv: str, **options: object) -> tuple[dict[str, object], str]:
    task = cluster.wait_final(cluster.submit(*argv, **options))
    return task, cluster.output(task).decode()


def test_nodes_show_the_driver_and_what_is_there(cluster: LabCluster) -> None:
    row = cluster.node_rows()["node1"]
    assert (row["driver"], row["live_restore"]) == ("systemd", True)
    assert "systemd" in cluster.command("client", "nodes")


def test_a_task_is_a_unit_with_limits_and_figures(cluster: LabCluster) -> None:
    script = "cat /sys/fs/cgroup/memory$(grep :memory: /proc/self/cgroup | cut -d: -f3)/memory.limit_in_bytes"
    task, out = ran(cluster, "sh", "-c", script, required_memory_bytes=64 * MIB, required_cores=0.5)
    assert task["exit_code"] == 0, cluster.output(task, "stderr")
    assert int(out) == 64 * MIB
    assert task["driver"] == "systemd"
    assert task["unit_name"] == f"hakuriver-task-{task['task_id']}.scope"
    assert isinstance(task["peak_memory_bytes"], int)
    assert isinstance(task["cpu_seconds"], float)


def test_too_much_memory_ends_the_task_and_says_so(cluster: LabCluster) -> None:
    eater = ["python3", "-c", "x = bytearray(400 << 20); print(len(x))"]
    task, _ = ran(cluster, *eater, required_memory_bytes=64 * MIB)
    assert (task["status"], task["exit_code"]) == ("killed_oom", 137)


def test_a_limit_that_nothing_can_start_within_ends_the_task_and_says_so(
    cluster: LabCluster,
) -> None:
    task = cluster.wait_final(cluster.submit("true", required_memory_bytes=512))
    assert (task["status"], task["attempt"]) == ("failed", 1)
    assert "cannot even start within 512B" in str(task["error_message"])


def test_the_environment_is_seen_by_the_task_alone(cluster: LabCluster) -> None:
    task_id = cluster.submit("sleep", "300", env_vars={"SECRET": "xyzzy-42"})
    try:
        wait_until(lambda: cluster.api("GET", f"/status/{task_id}")[1]["status"] == "running")
        node = cluster.runners["node1"]
        assert "xyzzy" not in node.sh("ps axww -o args")
        shown = node.run("systemctl", "show", f"hakuriver-task-{task_id}.scope").out
        assert "xyzzy" not in shown
    finally:
        cluster.command("client", "kill", task_id)
        cluster.wait_final(task_id)


def test_pause_stops_all_of_it_and_kill_ends_all_of_it(cluster: LabCluster) -> None:
    node = cluster.runners["node1"]
    # A child in a session of its own, and one that ignores SIGTERM.
    script = "setsid sleep 7001 & (trap '' TERM; exec sleep 7002) & wait"
    task_id = cluster.submit("sh", "-c", script)
    wait_until(lambda: node.run("pgrep", "-fx", "sleep 7002", check=False).code == 0)
    cluster.command("client", "pause", task_id)

    def states() -> set[str]:
        return set(node.sh("ps -o state= -p $(pgrep -d, -fx 'sleep 700[12]')").split())

    wait_until(lambda: states() == {"T"}, message=lambda: str(states()))
    cluster.command("client", "resume", task_id)
    wait_until(lambda: states() == {"S"}, message=lambda: str(states()))
    cluster.command("client", "kill", task_id)
    assert cluster.wait_final(task_id)["status"] == "killed"
    assert node.run("pgrep", "-fx", "sleep 700[12]", check=False).code == 1
    listed = node.sh("systemctl list-units --all --plain --no-legend 'hakuriver-task-*'")
    assert f"hakuriver-task-{task_id}.scope" not in listed


def test_a_restart_of_the_services_does_not_touch_a_task(cluster: LabCluster) -> None:
    kinds: list[dict[str, object]] = [{"container_name": "NULL"}, {"container_name": ENVIRONMENT}]
    script = "until [ -e go-on ]; do sleep 0.1; done; echo $HAKURIVER_ATTEMPT; exit 7"
    ids = [cluster.submit("sh", "-c", script, **kind) for kind in kinds]
    for task_id in ids:
        wait_until(
            lambda task_id=task_id: cluster.api("GET", f"/status/{task_id}")[1]["status"] == "running",
            timeout=30,
        )  # fmt: skip
    cluster.runners["node1"].run("systemctl", "restart", "hakuriver-runner")
    cluster.host.run("systemctl", "restart", "hakuriver-host")
    cluster.wait_answer()
    cluster.wait_online("node1")
    (cluster.lab.shared / "shared_data" / "go-on").touch()
    for task_id in ids:
        task = cluster.wait_final(task_id)
        assert (task["status"], task["exit_code"]) == ("failed", 7), task
        assert cluster.output(task) == b"1\n"


def test_a_task_is_bound_to_a_numa_node_that_is_there(cluster: LabCluster) -> None:
    show = "grep -E '(Cpus|Mems)_allowed_list' /proc/self/status; echo $HAKURIVER_TARGET_NUMA_NODE"
    for container in ("NULL", ENVIRONMENT):
        task, out = ran(cluster, "sh", "-c", show, targets=["node1:0"], container_name=container)
        assert task["exit_code"] == 0, cluster.output(task, "stderr")
        assert "Mems_allowed_list:\t0" in out
        assert out.splitlines()[-1] == "0"


def test_a_numa_node_that_is_not_there_is_refused_when_it_is_asked_for(cluster: LabCluster) -> None:
    done = cluster.host.run(
        "python3", PROGRAM, "client", "--target", "node1:7", "--", "true",
        check=False, HAKURIVER_CONFIG="/etc/hakuriver/config.toml",
    )  # fmt: skip
    assert done.code == 5
    assert "node1 has no NUMA node 7 (it has: 0)" in done.err


RUNNER_UNIT = "hakuriver-runner.service"


@pytest.fixture
def as_labu(cluster: LabCluster) -> Iterator[LabCluster]:
    """Tasks run as another user while the runner is root."""
    yield from _with_setting(cluster, "environment", f'runner_user = "{USER}"')


def _with_setting(cluster: LabCluster, section: str, line: str) -> Iterator[LabCluster]:
    node = cluster.runners["node1"]
    path = "/etc/hakuriver/config.toml"
    before = node.run("cat", path).out
    merged = (
        before.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
        if f"[{section}]\n" in before
        else f"{before}[{section}]\n{line}\n"
    )
    node.put(path, merged, mode=0o600)
    node.run("systemctl", "restart", RUNNER_UNIT)
    cluster.wait_online("node1")
    yield cluster
    node.put(path, before, mode=0o600)
    node.run("systemctl", "restart", RUNNER_UNIT)
    cluster.wait_online("node1")


def test_runner_user_has_that_users_own_groups_and_home(as_labu: LabCluster) -> None:
    (as_labu.lab.shared / "shared_data").chmod(0o1777)
    task, out = ran(as_labu, "sh", "-c", "id -un; id -Gn; echo $HOME $LOGNAME; umask; env")
    assert task["exit_code"] == 0, as_labu.output(task, "stderr")
    lines = out.splitlines()
    assert lines[:4] == [USER, f"{USER} video", f"/home/{USER} {USER}", "0022"]
    assert "TOKEN" not in out
    assert not any(line.startswith(("SUDO", "NOTIFY", "PYTHON")) for line in lines)
    # systemd-run gives the unit's own; the runner's would be something of the runner's.
    shown = as_labu.runners["node1"].run("systemctl", "show", "-p", "InvocationID", RUNNER_UNIT).out
    assert shown.strip().partition("=")[2] not in out


def test_a_runner_that_is_not_root_uses_sudo_where_it_may(cluster: LabCluster) -> None:
    """The service runs as a user who may use sudo without a password."""
    node = cluster.runners["node1"]
    drop_in = "/etc/systemd/system/hakuriver-runner.service.d/user.conf"
    node.run("systemctl", "stop", RUNNER_UNIT)
    node.put(drop_in, f"[Service]\nUser={USER}\nEnvironment=HAKURIVER_RUNNER_USE_SUDO=true\n")
    node.sh(f"chown -R {USER} /etc/hakuriver {STATE}/runners {STATE}/temp; systemctl daemon-reload")
    for name in ("task_outputs", "task_errors", "shared_data"):
        (cluster.lab.shared / name).chmod(0o1777)
    node.run("systemctl", "start", RUNNER_UNIT)
    try:
        cluster.wait_online("node1")
        assert cluster.node_rows()["node1"]["driver"] == "systemd"
        options = {"required_memory_bytes": 64 * MIB, "env_vars": {"WORD": 'it\'s $HOME\n"here"'}}
        script = "id -un; id -Gn; printf '%s' \"$WORD\"; exit 3"
        task, out = ran(cluster, "sh", "-c", script, **options)
        assert (task["exit_code"], task["driver"]) == (3, "systemd"), cluster.output(task, "stderr")
        assert out == f'{USER}\n{USER} video\nit\'s $HOME\n"here"'
        inside, out = ran(cluster, "echo", "in a container", container_name=ENVIRONMENT)
        assert (inside["exit_code"], out) == (0, "in a container\n")
        sleeper = cluster.submit("sleep", "7003")
        wait_until(lambda: node.run("pgrep", "-fx", "sleep 7003", check=False).code == 0)
        cluster.command("client", "kill", sleeper)
        assert cluster.wait_final(sleeper)["status"] == "killed"
        assert node.run("pgrep", "-fx", "sleep 7003", check=False).code == 1
    finally:
        node.run("systemctl", "stop", RUNNER_UNIT)
        node.run("rm", "-r", "/etc/systemd/system/hakuriver-runner.service.d")
        node.sh("chown -R root /etc/hakuriver /var/lib/hakuriver; systemctl daemon-reload")
        node.run("systemctl", "start", RUNNER_UNIT)
        cluster.wait_online("node1")


def test_without_root_and_without_sudo_the_node_says_what_is_missing(cluster: LabCluster) -> None:
    node = cluster.runners["node1"]
    script = (
        "import sys; sys.path.insert(0, '/opt/hakuriver/hakuriver.pyz')\n"
        "from hakuriver.runner.drivers.choice import choose\n"
        "import json; found = choose(sudo=False); print(json.dumps([found.name, found.why]))"
    )
    name, why = json.loads(node.run("python3", "-c", script, user=USER).out)
    assert name == "process"
    assert "root" in why
    assert "runner.use_sudo" in why
