"""Tasks in containers: what is limited, mounted, hidden, refused and counted."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

import pytest

from tests.e2e.conftest import Up
from tests.e2e.witness import all_final, prepare, signal_file, until_file
from tests.support.cluster import Cluster
from tests.support.images import USER_ID, Images
from tests.support.processes import files_of_all
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker
MIB = 1 << 20


def inspect(container: str) -> dict[str, Any]:
    argv = ["docker", "inspect", container]
    found = json.loads(subprocess.run(argv, capture_output=True, timeout=30).stdout)
    return dict(found[0]) if found else {}


def finished(cluster: Cluster, *argv: str, **options: object) -> tuple[dict[str, Any], str]:
    task = cluster.wait_final(cluster.submit(*argv, **options))
    return task, cluster.output(task["task_id"]).decode()


def test_limits_are_those_that_were_asked_for(up: Up, docker_image: str) -> None:
    cluster = up(runner_cores=4, docker_shm_size="80M")
    script = """
    cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes \\
        /sys/fs/cgroup/memory.max 2>/dev/null
    echo cpu $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null)
    df -k /dev/shm | tail -1
    """
    options = {"required_cores": 1.5, "required_memory_bytes": 64 * MIB}
    task, said = finished(cluster, "sh", "-c", script, container_name=docker_image, **options)
    assert task["exit_code"] == 0, cluster.output(task["task_id"], "stderr")
    assert str(64 * MIB) in said.splitlines()
    assert "150000" in said
    assert str(80 * 1024) in said.split()
    assert (task["required_cores"], task["required_memory_bytes"]) == (1.5, 64 * MIB)


def test_without_cores_and_memory_nothing_is_limited(standing: Cluster, docker_image: str) -> None:
    cluster = standing
    task_id = cluster.submit("sleep", "600", container_name=docker_image, required_cores=0)
    task = cluster.wait_status(task_id, "running")
    limits = inspect(task["unit_name"])["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"]) == (0, 0)
    cluster.client("kill", task_id)


def test_mounts_are_there_and_read_only_where_asked(standing: Cluster, docker_image: str) -> None:
    cluster = standing
    for name in ("rw", "ro, with a comma", 'q"uote'):
        (cluster.home / name).mkdir()
        (cluster.home / name / "file").write_text(name)
    mounts = [
        f"{cluster.home}/rw:/mnt/rw",
        f"{cluster.home}/ro, with a comma:/mnt/ro:ro",
        f'{cluster.home}/q"uote:/mnt/quote',
    ]
    script = """
    pwd; cat /mnt/rw/file /mnt/ro/file /mnt/quote/file; echo
    touch /mnt/rw/new /mnt/quote/new /shared/new /local_temp/new && echo written
    touch /mnt/ro/new 2>/dev/null || echo refused
    echo $HAKURIVER_SHARED_DIR $HAKURIVER_LOCAL_TEMP_DIR
    """
    options = {"container_name": docker_image, "additional_mounts": mounts}
    task, said = finished(cluster, "sh", "-c", script, **options)
    assert said.splitlines() == [
        "/shared",
        'rwro, with a commaq"uote',
        "written",
        "refused",
        "/shared /local_temp",
    ]
    assert task["additional_mounts"] == mounts
    assert (cluster.shared / "shared_data" / "new").exists()
    assert (cluster.home / "temp" / "new").exists()


def test_a_mount_that_the_node_does_not_allow_is_refused(up: Up, docker_image: str) -> None:
    cluster = up(runner_allowed_mounts=["/srv/data"], runner_allow_privileged=False)
    for options, words in (
        ({"additional_mounts": ["/srv/database:/x"]}, "runner.allowed_mounts"),
        ({"additional_mounts": ["/etc:/x:ro"]}, "/etc"),
        ({"privileged": True}, "runner.allow_privileged"),
    ):
        task = cluster.wait_final(cluster.submit("true", container_name=docker_image, **options))
        assert (task["status"], words in task["error_message"]) == ("failed", True), task


def test_values_of_the_environment_are_on_no_command_line(
    standing: Cluster, docker_image: str
) -> None:
    cluster = standing
    stop = threading.Event()
    seen: set[bytes] = set()

    def spy() -> None:
        while not stop.is_set():
            seen.update(line for _, line in files_of_all("cmdline") if b"s3cr3t" in line)

    watcher = threading.Thread(target=spy)
    watcher.start()
    try:
        secret = {"PASSWORD": "s3cr3t"}
        script = 'sleep 0.3; [ "$PASSWORD" = "s3c""r3t" ]'
        ids = [
            cluster.submit("sh", "-c", script, env_vars=secret, container_name=name)
            for name in (docker_image, docker_image, "NULL")
        ]
        tasks = all_final(cluster, ids)
    finally:
        stop.set()
        watcher.join()
    assert {task["exit_code"] for task in tasks.values()} == {0}
    assert not seen


def test_the_user_of_the_image_can_write_its_output(
    standing: Cluster, docker_images: Images
) -> None:
    cluster = standing
    task, said = finished(
        cluster, "sh", "-c", "id -u; id -u >&2; exit 3", container_name=docker_images.nonroot
    )
    assert (task["exit_code"], said) == (3, f"{USER_ID}\n")
    assert cluster.output(task["task_id"], "stderr") == f"{USER_ID}\n".encode()
    assert task["peak_memory_bytes"] > 0


def test_one_task_cannot_reach_the_record_of_another(
    standing: Cluster, docker_images: Images
) -> None:
    cluster = standing
    other = cluster.submit("sleep", "600", container_name=docker_images.nonroot)
    cluster.wait_status(other, "running")
    script = "ls /hakuriver/*/; ls -d /hakuriver/* ; ls /shared/../task_outputs"
    _, said = finished(cluster, "sh", "-c", script, container_name=docker_images.nonroot)
    assert f"{other}.out" not in said
    assert cluster.task(other)["status"] == "running"


def test_the_entrypoint_of_an_image_does_not_get_in_between(
    standing: Cluster, docker_images: Images
) -> None:
    cluster = standing
    task, said = finished(cluster, "echo", "mine", container_name=docker_images.entrypoint)
    assert (task["exit_code"], said) == (0, "mine\n")


def test_an_image_without_a_shell_is_named_and_not_tried_again(
    standing: Cluster, docker_images: Images
) -> None:
    cluster = standing
    task, said = finished(cluster, "/bin/true", container_name=docker_images.shellless)
    assert (task["status"], task["exit_code"], said) == ("failed", None, "")
    image = docker_images.image(docker_images.shellless)
    assert f"image {image} has no /bin/sh" in task["error_message"]


def test_an_image_that_is_nowhere_fails_at_once_and_says_how_to_make_it(standing: Cluster) -> None:
    cluster = standing
    task = cluster.wait_final(cluster.submit("true", container_name="no-such-env"), timeout=5)
    assert task["status"] == "failed"
    for words in ("no-such-env", "hakuriver/no-such-env:base", "docker create-tar", "node1"):
        assert words in task["error_message"], task
    waited = cluster.client("--container", "no-such-env", "--wait", "--", "true", check=False)
    assert waited.returncode == 125


def test_out_of_memory_is_told_from_other_ends(standing: Cluster, docker_image: str) -> None:
    cluster = standing
    hog = "dd if=/dev/zero of=/dev/null bs=256M count=1"
    limit = {"container_name": docker_image, "required_memory_bytes": 32 * MIB}
    scripts = {
        f"exec {hog}": ("killed_oom", 137),
        f"{hog} || exit 9": ("killed_oom", 9),
        f"{hog} || exit 0": ("completed", 0),
        "kill -9 $$": ("failed", 137),
        "exit 137": ("failed", 137),
    }
    ids = {cluster.submit("sh", "-c", script, **limit): script for script in scripts}
    for task_id, task in all_final(cluster, ids).items():
        wanted = scripts[ids[task_id]]
        assert (task["status"], task["exit_code"]) == wanted, (ids[task_id], task)
        if wanted[0] == "killed_oom":
            assert "--memory" in task["error_message"]
            assert task["peak_memory_bytes"] > 30 * MIB


def test_a_kill_is_not_taken_for_out_of_memory(standing: Cluster, docker_image: str) -> None:
    cluster = standing
    script = "dd if=/dev/zero of=/dev/null bs=256M count=1; trap 'exit 9' TERM; echo now; "
    script += "while :; do sleep 0.05; done"
    options = {"container_name": docker_image, "required_memory_bytes": 32 * MIB}
    task_id = cluster.submit("sh", "-c", script, **options)
    cluster.wait_status(task_id, "running")
    wait_until(lambda: cluster.output(task_id) == b"now\n")
    cluster.client("kill", task_id)
    task = cluster.wait_final(task_id)
    assert (task["status"], task["exit_code"]) == ("killed", 9)


def test_memory_and_cpu_time_are_recorded(standing: Cluster, docker_image: str) -> None:
    cluster = standing
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    task, _ = finished(cluster, "sh", "-c", script, container_name=docker_image)
    assert 64 * MIB < task["peak_memory_bytes"] < 256 * MIB
    assert 0.05 < task["cpu_seconds"] < 60
    assert task["driver"] == "docker"


def test_a_task_without_a_container_counts_nothing_that_is_not_its_own(standing: Cluster) -> None:
    cluster = standing
    task, _ = finished(cluster, "sh", "-c", "exit 137")
    assert (task["status"], task["peak_memory_bytes"], task["driver"]) == (
        "failed",
        None,
        "process",
    )


def test_containers_are_labelled_hardened_and_removed(standing: Cluster, docker_image: str) -> None:
    cluster = standing
    task_id = cluster.submit("sleep", "600", container_name=docker_image)
    task = cluster.wait_status(task_id, "running")
    facts = inspect(task["unit_name"])
    labels = facts["Config"]["Labels"]
    assert labels["hakuriver.cluster"] == cluster.cluster_id()
    assert [labels[f"hakuriver.{key}"] for key in ("node", "task", "attempt")] == [
        "node1",
        task_id,
        "1",
    ]
    assert task["unit_name"] == facts["Name"].strip("/") == f"hakuriver-task-{task_id}"
    host = facts["HostConfig"]
    assert [name.removeprefix("CAP_") for name in host["CapAdd"]] == ["SYS_NICE"]
    assert (host["Privileged"], host["NetworkMode"]) == (False, "host")
    assert (host["Init"], host["LogConfig"]["Type"]) == (True, "none")
    cluster.client("kill", task_id)
    cluster.wait_final(task_id)
    wait_until(lambda: not inspect(task["unit_name"]), message="the container is removed")


def test_two_clusters_on_one_engine_leave_each_other_alone(
    up: Up, program: list[str], docker_image: str
) -> None:
    one = up()
    with Cluster(program) as other:
        other.start_host()
        prepare(other)
        other.start_runner()
        for cluster in (one, other):
            task_id = cluster.submit(
                "sh", "-c", f"{until_file('go')}; exit 7", container_name=docker_image
            )
            assert task_id == "1"
            cluster.wait_status("1", "running")
        names = {one.task("1")["unit_name"], other.task("1")["unit_name"]}
        short = f"hakuriver-task-1-{other.cluster_id()[:4]}-1"
        assert names == {"hakuriver-task-1", short}
        for cluster in (one, other):
            cluster.runners["node1"].restart()
        assert other.task("1")["unit_name"] == short
        other.client("kill", "1")
        assert other.wait_final("1")["status"] == "killed"
        signal_file(one, "go")
        assert one.wait_final("1")["exit_code"] == 7


def test_a_name_that_a_stranger_holds_is_left_to_it(up: Up, docker_image: str) -> None:
    image = Images.image(docker_image)
    argv = ["docker", "create", "--name=hakuriver-task-1", image, "true"]
    stranger = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    try:
        cluster = up()
        task, said = finished(cluster, "echo", "hi", container_name=docker_image)
        assert (task["status"], said) == ("completed", "hi\n")
        assert task["unit_name"] == f"hakuriver-task-1-{cluster.cluster_id()[:4]}-1"
        assert inspect(stranger)
    finally:
        subprocess.run(["docker", "rm", "-f", stranger], capture_output=True)


def test_the_default_environment_is_used_or_its_absence_told(
    up: Up, docker_image: str, cluster: Cluster
) -> None:
    cluster.settings["docker_default_container_name"] = docker_image
    cluster.settings["docker_initial_base_image"] = "localhost:1/nothing:there"
    up()
    task, said = finished(cluster, "sh", "-c", "pwd")
    assert (said, task["container_name"]) == ("/shared\n", docker_image)
    cluster.settings["docker_default_container_name"] = "not-made-yet"
    cluster.host.environ.update(HAKURIVER_DOCKER_DEFAULT_CONTAINER_NAME="not-made-yet")
    cluster.host.environ.update(cluster.environ())
    cluster.host.restart()
    cluster.wait_online()

    def refused() -> str:
        done = cluster.client("--", "true", check=False)
        return done.err if done.returncode == 5 else ""

    assert "not-made-yet" in wait_until(refused, timeout=40, message="it could not be made")
