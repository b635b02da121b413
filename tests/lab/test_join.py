"""A bare machine becomes a node for good: the file, the token, the host's address, and one command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import ENVIRONMENT, PROGRAM, TOKEN, LabCluster
from tests.lab.lab import Lab

TOKEN_FILE = "/etc/hakuriver-token"


@pytest.fixture(scope="module")
def cluster(lab: Lab, pyz: Path) -> Iterator[LabCluster]:
    made = LabCluster(lab, pyz, runners=0)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_machine_joins_as_a_service_and_stays(cluster: LabCluster, pyz: Path) -> None:
    node = cluster.lab.add("bare")
    node.put(PROGRAM, pyz.read_bytes(), mode=0o755)
    node.put(TOKEN_FILE, f"{TOKEN}\n", mode=0o600)
    url = f"http://{cluster.host.address}:8000"
    argv = ("init", "service", "--runner", "--join", url, "--token-file", TOKEN_FILE)
    node.run("python3", PROGRAM, *argv)
    node.run("systemctl", "enable", "--now", "--quiet", "hakuriver-runner")
    cluster.wait_online("bare")
    assert cluster.node_rows()["bare"]["driver"] == "systemd"
    assert (
        TOKEN
        not in node.sh("ps axww -o args") + node.run("systemctl", "cat", "hakuriver-runner").out
    )
    for container in ("NULL", ENVIRONMENT):
        task = cluster.wait_final(cluster.submit("pwd", targets=["bare"], container_name=container))
        assert cluster.output(task).decode() in ("/shared/shared_data\n", "/shared\n"), task
    node.reboot()
    cluster.wait_online("bare")
    task = cluster.wait_final(cluster.submit("sh", "-c", "exit 6", targets=["bare"]))
    assert task["exit_code"] == 6
