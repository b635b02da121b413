"""`init service` as its user sees it: copy the file, write the units, and let systemd do the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import PROGRAM
from tests.lab.lab import Lab
from tests.lab.node import SHARED, Node
from tests.support.images import system_tar
from tests.support.wait import wait_until

CONFIG = "/etc/haku river/config.toml"
HOME = "/root/.hakuriver"
TOKEN = "lab-token"
SERVICES = ("hakuriver-host", "hakuriver-runner")
_SECONDS = 60.0


def client(node: Node, *words: str, check: bool = True) -> str:
    return node.run(PROGRAM, "client", "--config", CONFIG, *words, check=check).out


def rows(node: Node, *words: str) -> Any:
    return json.loads(client(node, "--json", *words))


def task(node: Node, task_id: str) -> dict[str, Any]:
    return dict(rows(node, "status", task_id))


def submit(node: Node, container: str, script: str, *options: str) -> str:
    words = ("--quiet", "--container", container, "--cores", "0", *options)
    return client(node, *words, "--", "sh", "-c", script).strip()


def states(node: Node, ids: list[str]) -> list[str]:
    return [task(node, task_id)["status"] for task_id in ids]


def wait_states(node: Node, ids: list[str], status: str) -> None:
    def reached() -> bool:
        return set(states(node, ids)) == {status}

    wait_until(reached, timeout=_SECONDS, message=f"{ids} are {status}: {states(node, ids)}")


def online(node: Node) -> bool:
    done = node.run(PROGRAM, "client", "--config", CONFIG, "--json", "nodes", check=False)
    found = json.loads(done.out) if done.code == 0 else []
    return any(each["status"] == "online" and not each["problems"] for each in found)


def properties(node: Node, service: str, *names: str) -> dict[str, str]:
    argv = ("systemctl", "show", service, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in node.run(*argv).out.splitlines())


@pytest.fixture(scope="module")
def served(node: Node) -> Iterator[Node]:
    """What the README tells: init config, init service --all, systemctl enable --now."""
    node.run(PROGRAM, "init", "config", "--output", CONFIG)
    config = node.sh(f"cat '{CONFIG}'")
    for key, value in {
        "shared_dir": f'"{SHARED}"',
        "default_container_name": '"NULL"',
        "runner_state_dir": '"/var/lib/hakuriver/runners"',
        "heartbeat_interval": "0.5",
    }.items():
        lines = config.splitlines()
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{key} =")]
        lines[place] = f"{key} = {value}"
        config = "\n".join(lines) + "\n"
    node.put(CONFIG, config, mode=0o600)
    tar = system_tar()
    node.run("docker", "import", "--change", "ENV PATH=/bin", "-", "hakuriver/lab:base", input=tar)
    said = node.run(PROGRAM, "init", "service", "--all", "--config", CONFIG)
    assert "done: systemctl daemon-reload" in said.out
    assert f"systemctl enable --now {' '.join(SERVICES)}" in said.err
    node.run("systemctl", "enable", "--now", *SERVICES)
    yield node
    node.run("systemctl", "disable", "--now", *SERVICES, check=False)


def test_the_units_are_good_in_the_eyes_of_systemd(served: Node) -> None:
    paths = [f"/etc/systemd/system/{name}.service" for name in SERVICES]
    done = served.run("systemd-analyze", "verify", *paths, check=False)
    assert (done.code, done.out, done.err) == (0, "", "")
    again = served.run(PROGRAM, "init", "service", "--all", "--config", CONFIG)
    assert again.out.splitlines() == [f"unchanged: {path}" for path in paths]


def test_paths_arrive_whole_however_they_are_written(served: Node) -> None:
    """In the very folder that systemd has the most ideas about."""
    folder = '/opt/50% of $HOME "x" \\y'
    program = f"{folder}/haku river.pyz"
    served.run("mkdir", "-p", folder)
    served.run("cp", PROGRAM, program)
    served.run("cp", CONFIG, f"{folder}/config.toml")
    argv = ("init", "service", "--host", "--config", f"{folder}/config.toml")
    try:
        served.run("python3", program, *argv, "--output-dir", "/run/systemd/system/odd")
        text = served.sh("cat /run/systemd/system/odd/hakuriver-host.service")
        odd = text.replace(" host --config", " host --help --config").replace("notify", "oneshot")
        odd = "\n".join(line for line in odd.splitlines() if "Restart=" not in line)
        served.put("/etc/systemd/system/odd.service", odd)
        served.run("systemctl", "daemon-reload")
        served.run("systemctl", "start", "odd.service")
        assert "usage: hakuriver host" in served.journal("odd.service")
    finally:
        served.sh("rm -rf /etc/systemd/system/odd.service /run/systemd/system/odd /opt/50*")
        served.run("systemctl", "daemon-reload")


def test_a_service_is_active_when_it_serves_and_not_before(served: Node) -> None:
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")
    for service in SERVICES:
        found = properties(served, service, "ActiveState", "Type", "NotifyAccess", "StatusText")
        assert found["ActiveState"] == "active"
        assert found["StatusText"]
    # systemctl returns when the host is ready; nothing is waited for in between.
    served.run("systemctl", "restart", "hakuriver-host")
    client(served, "nodes")
    # A config that it cannot work with: never ready, and so never active.
    served.run("systemctl", "stop", "hakuriver-host")
    served.put("/etc/systemd/system/hakuriver-host.service.d/x.conf",
               "[Service]\nEnvironment=HAKURIVER_DATABASE_DB_FILE=/proc/nowhere/x.db\n")  # fmt: skip
    served.run("systemctl", "daemon-reload")
    try:
        assert served.run("systemctl", "start", "hakuriver-host", check=False).code != 0
        assert properties(served, "hakuriver-host", "ActiveState")["ActiveState"] != "active"
    finally:
        served.run("rm", "-r", "/etc/systemd/system/hakuriver-host.service.d")
        served.run("systemctl", "daemon-reload")
        served.run("systemctl", "restart", "hakuriver-host")
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online again")


def test_restarts_of_the_services_leave_every_task_alone(served: Node) -> None:
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")
    script = 'echo "$$ began"; while [ ! -e "$GO" ]; do sleep 0.2; done; echo ended; exit 7'
    go = f"{SHARED}/shared_data/go"
    ids = [
        submit(served, "NULL", script, "--env", f"GO={go}"),
        submit(served, "lab", script, "--env", "GO=/shared/go"),
    ]
    wait_states(served, ids, "running")
    drivers = {task(served, task_id)["driver"] for task_id in ids}
    assert drivers == {"systemd", "docker"}
    for service in (*SERVICES, "hakuriver-runner"):
        served.run("systemctl", "restart", service)
    served.run("systemctl", "stop", *SERVICES)
    served.run("systemctl", "start", *SERVICES)
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")
    wait_states(served, ids, "running")
    served.run("touch", go)
    wait_states(served, ids, "failed")
    assert [task(served, task_id)["exit_code"] for task_id in ids] == [7, 7]
    for task_id in ids:
        said = client(served, "logs", task_id).splitlines()
        assert [line.split()[-1] for line in said] == ["began", "ended"], "it ran twice, or not on"
    served.run("rm", go)


def test_a_runner_that_crashes_is_started_again_and_its_tasks_go_on(served: Node) -> None:
    (task_id,) = ids = [submit(served, "NULL", "sleep 600; exit 1")]
    wait_states(served, ids, "running")
    served.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "hakuriver-runner")

    def again() -> bool:
        found = properties(served, "hakuriver-runner", "ActiveState", "NRestarts")
        return found == {"ActiveState": "active", "NRestarts": "1"}

    wait_until(again, timeout=_SECONDS, message="systemd started it again")
    client(served, "kill", task_id)
    wait_states(served, ids, "killed")
    assert task(served, task_id)["exit_code"] == 143


def test_tasks_as_plain_processes_outlive_the_service_too(served: Node) -> None:
    """With a runner that cannot use systemd they are in its own group."""
    drop_in = "/etc/systemd/system/hakuriver-runner.service.d/x.conf"
    served.run("useradd", "--system", "plain", check=False)
    served.put(drop_in, "[Service]\nUser=plain\nEnvironment=HAKURIVER_HOME=/run/plain\n"
               "Environment=HAKURIVER_PATHS_RUNNER_STATE_DIR=/run/plain/runners\n"
               "Environment=HAKURIVER_PATHS_LOCAL_TEMP_DIR=/run/plain/temp\n"
               "Environment=HAKURIVER_RUNNER_NAME=plain\n")  # fmt: skip
    served.sh(f"mkdir -p /run/plain && chown plain /run/plain && chmod 755 '/etc/haku river'"
              f" && chmod 644 '{CONFIG}' && chmod 777 {SHARED}/task_*")  # fmt: skip
    served.run("systemctl", "daemon-reload")
    try:
        served.run("systemctl", "restart", "hakuriver-runner")

        def there() -> bool:
            nodes = rows(served, "nodes")
            return any(
                each["hostname"] == "plain" and each["driver"] == "process" for each in nodes
            )

        wait_until(there, timeout=_SECONDS, message="the plain runner is there")
        script = 'echo "$$"; while [ ! -e go ]; do sleep 0.1; done; exit 9'
        (task_id,) = ids = [submit(served, "NULL", script, "--target", "plain")]
        wait_states(served, ids, "running")
        wait_until(lambda: client(served, "logs", task_id).strip(), message="it has begun")
        pid = client(served, "logs", task_id).strip()
        group = properties(served, "hakuriver-runner", "ControlGroup")["ControlGroup"]
        assert group in served.sh(f"cat /proc/{pid}/cgroup"), "it is in the runner's group"
        served.run("systemctl", "restart", "hakuriver-runner")
        served.run("systemctl", "stop", "hakuriver-runner")
        served.run("test", "-d", f"/proc/{pid}")
        served.run("touch", f"{SHARED}/shared_data/go")
        wait_until(lambda: not served.sh(f"ls -d /proc/{pid}", check=False), message="it ended")
        served.run("systemctl", "start", "hakuriver-runner")
        wait_states(served, ids, "failed")
        assert task(served, task_id)["exit_code"] == 9
    finally:
        served.sh(
            f"rm -rf {drop_in.rpartition('/')[0]} {SHARED}/shared_data/go; chmod 600 '{CONFIG}'"
        )
        served.run("systemctl", "daemon-reload")
        served.run("systemctl", "restart", "hakuriver-runner")
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")


def test_a_mount_that_goes_away_is_told_on_the_row_and_heals_by_itself(
    lab: Lab, served: Node
) -> None:
    """The runner's mount; the host is told another place of the same directory."""
    served.run("systemctl", "stop", *SERVICES)
    drop_in = "/etc/systemd/system/hakuriver-host.service.d"
    served.put(f"{drop_in}/x.conf",
               "[Service]\nExecStartPre=\nEnvironment=HAKURIVER_PATHS_SHARED_DIR=/export/shared\n")  # fmt: skip
    served.run("systemctl", "daemon-reload")
    served.run("systemctl", "start", *SERVICES)
    try:
        wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")
        running = submit(served, "NULL", "sleep 600")
        wait_states(served, [running], "running")
        served.run("umount", "--lazy", SHARED)

        def problem() -> str:
            (row,) = [each for each in rows(served, "nodes") if each["hostname"] == served.name]
            assert row["status"] == "online", "the runner went away with its mount"
            return "; ".join(row["problems"])

        wait_until(lambda: "is not mounted" in problem(), timeout=_SECONDS)
        waiting = submit(served, "NULL", "exit 3", "--target", served.name)
        wait_until(lambda: "is not mounted" in str(task(served, waiting)["error_message"]))
        assert states(served, [running, waiting]) == ["running", "pending"]
        served.run("systemctl", "start", "shared.mount")
        wait_states(served, [waiting], "failed")
        assert task(served, waiting)["exit_code"] == 3
        assert problem() == ""
        client(served, "kill", running)
        wait_states(served, [running], "killed")
    finally:
        served.run("systemctl", "start", "shared.mount")
        served.run("rm", "-r", drop_in)
        served.run("systemctl", "daemon-reload")
        served.run("systemctl", "restart", *SERVICES)
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")


def test_a_host_does_not_begin_below_a_mount_that_is_missing(served: Node) -> None:
    served.run("systemctl", "stop", *SERVICES)
    drop_in = "/etc/systemd/system/shared.mount.d"
    served.put(f"{drop_in}/x.conf", "[Unit]\nConditionPathExists=/no/server\n")
    served.run("systemctl", "daemon-reload")
    served.run("umount", "--lazy", SHARED)
    try:
        assert served.run("systemctl", "start", "hakuriver-host", check=False).code != 0
        assert served.run("ls", "-A", SHARED).out == "", "it wrote below the mount"
        served.run("rm", "-r", drop_in)
        served.run("systemctl", "daemon-reload")
        served.run("systemctl", "start", "shared.mount")

        def active() -> bool:
            return properties(served, "hakuriver-host", "ActiveState")["ActiveState"] == "active"

        wait_until(active, timeout=_SECONDS, message="it began by itself once the mount was there")
    finally:
        served.run("rm", "-rf", drop_in)
        served.run("systemctl", "daemon-reload")
        served.run("systemctl", "start", "shared.mount", *SERVICES)
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")


def test_a_reboot_brings_everything_back(served: Node) -> None:
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is online")
    ids = [submit(served, "NULL", "sleep 600"), submit(served, "lab", "sleep 600")]
    wait_states(served, ids, "running")
    served.reboot()
    wait_until(lambda: online(served), timeout=_SECONDS, message="the node is back by itself")
    # By the TERM of an orderly shutdown, or with it: told is what became of each.
    wait_states(served, ids, "failed")
    after = submit(served, "NULL", "exit 4")
    wait_states(served, [after], "failed")
    assert task(served, after)["exit_code"] == 4
