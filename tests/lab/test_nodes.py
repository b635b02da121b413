"""What the lab promises: a node is a machine, and what happens to one can happen here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.node import SHARED, STATE, Node
from tests.support.images import system_tar


def test_a_node_is_a_machine_with_systemd_and_an_engine(node: Node) -> None:
    assert node.sh("cat /proc/1/comm").strip() == "systemd"
    assert node.run("hostname").out.strip() == "node1"
    assert node.run("docker", "info", "--format", "{{.LiveRestoreEnabled}}").out.strip() == "true"
    assert node.sh("systemctl --failed --no-legend --plain") == ""


def test_the_shared_directory_is_shared_and_can_go_away(lab: Lab, node: Node) -> None:
    (lab.shared / "seen").write_text("by all")
    assert node.run("cat", f"{SHARED}/seen").out == "by all"
    node.run("systemctl", "stop", "shared.mount")
    assert node.run("ls", SHARED).out == ""
    node.run("systemctl", "start", "shared.mount")
    assert node.run("cat", f"{SHARED}/seen").out == "by all"


def test_a_disk_fills_up_and_is_freed(node: Node) -> None:
    node.fill_disk()
    assert node.run("sh", "-c", f"echo more >{STATE}/more", check=False).code != 0
    node.free_disk()
    node.run("sh", "-c", f"echo more >{STATE}/more && rm {STATE}/more")


def test_a_cable_is_cut_and_joined_at_the_same_address(lab: Lab, node: Node) -> None:
    node.cut()
    assert "eth" not in node.sh("ip -brief link | grep -v ^lo || true")
    node.join()
    assert node.address in node.sh("ip -brief address")


def test_a_frozen_node_stands_still_with_its_containers(node: Node) -> None:
    node.run("docker", "import", "--change", "ENV PATH=/bin", "-", "inner", input=system_tar())
    inner = node.sh("docker run -d --network none inner sleep 600").strip()
    pid = node.run("docker", "inspect", "--format", "{{.State.Pid}}", inner).out.strip()
    group = node.sh(f"grep :freezer: /proc/{pid}/cgroup").strip().rpartition(":")[2]
    state = Path(f"/sys/fs/cgroup/freezer{group}/freezer.state")
    assert state.read_text().strip() == "THAWED"
    node.freeze()
    frozen = state.read_text().strip()
    node.thaw()
    assert frozen == "FROZEN", "it went on while the node was frozen"
    node.run("docker", "rm", "--force", inner)


@pytest.mark.parametrize("hard", [False, True], ids=["orderly", "power cut"])
def test_a_reboot_is_told_by_the_boot_identity(node: Node, hard: bool) -> None:
    script = (
        "import sys; sys.path.insert(0, '/src')\n"
        "from hakuriver.runner.fingerprint import boot_identity; print(boot_identity())"
    )
    before = node.run("python3", "-c", script).out
    assert node.run("python3", "-c", script).out == before
    node.reboot(hard=hard)
    assert node.run("python3", "-c", script).out != before
    assert node.run("ls", f"{SHARED}").code == 0
