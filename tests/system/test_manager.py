"""What systemd is told: by a datagram where it listens, and nothing anywhere else."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakuriver.system.daemon import tell_manager
from tests.support.cluster import Cluster


def listening(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(20)
    return manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with listening(str(tmp_path / "notify")) as manager:
        yield manager


def said(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().splitlines()


def test_a_manager_at_a_path_is_told(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    tell_manager("READY=1", "STATUS=河")
    assert said(manager) == ["READY=1", "STATUS=河"]


def test_a_manager_with_an_abstract_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"hakuriver-test-{secrets.token_hex(8)}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with listening(f"\0{name}") as manager:
        tell_manager("STOPPING=1")
        assert said(manager) == ["STOPPING=1"]


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket", "@nobody", "/" + 200 * "x"])
def test_nobody_to_be_told_is_no_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_manager("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell_manager("READY=1")


def test_host_and_runner_say_when_they_serve_what_they_do_and_when_they_stop(
    cluster: Cluster, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    host = cluster.start_host()
    assert said(manager) == ["READY=1", f"STATUS=serving on {host.url}"]
    runner = cluster.start_runner()
    first, *others = (line for _ in range(3) for line in said(manager))
    assert first == f"STATUS=serving on {runner.url}, not in contact with the host yet"
    # It serves before it has contact, and may be told of it in any order.
    assert sorted(others) == ["READY=1", f"STATUS=in contact with the host at {host.url}"]
    host.stop()
    assert said(manager) == ["STOPPING=1"]
    lines = said(manager)
    runner.stop()
    while lines[-1] != "STOPPING=1":
        lines += said(manager)
    # More than one, if it fails in more than one way.
    assert all(line.startswith("STATUS=no contact with the host: ") for line in lines[:-1])
    assert len(lines) > 1
