"""nodes, health, drain, undrain."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.conftest import Client
from tests.client.fake_host import FakeHost, error

NODE: dict[str, Any] = {
    "hostname": "node1", "url": "http://10.0.0.1:8001", "total_cores": 16, "cores_in_use": 2.5,
    "available_cores": 13.5, "memory_total_bytes": 64 << 30, "memory_in_use_bytes": 4 << 30,
    "status": "online", "drained": False, "driver": "process", "docker": "24.0.7", "problems": [],
    "environments": {}, "last_heartbeat": "2026-01-02T03:04:05+00:00", "heartbeat_age": 1.5,
    "numa_topology": {"0": {"cores": [0, 1], "memory_bytes": 1}, "1": {"cores": [2], "memory_bytes": 1}},
    "version": "1", "protocol": 1, "running_tasks": 3, "max_tasks": 64, "cpu_percent": 12.4,
    "memory_percent": 40.0, "memory_used_bytes": 8 << 30,
}  # fmt: skip
FRESH: dict[str, Any] = {
    "hostname": "node2", "status": "offline", "total_cores": 4, "cores_in_use": "N/A",
    "drained": "disk is\x07 full", "driver": None, "docker": None, "numa_topology": None,
    "last_heartbeat": None, "heartbeat_age": None, "problems": ["no Docker engine"],
}  # fmt: skip
RECORD = {**NODE, "memory_total_bytes": 64 << 30}
TOTALS = {
    "totalNodes": 2, "onlineNodes": 1, "totalCores": 20, "totalMemBytes": 64 << 30,
    "usedMemBytes": 8 << 30, "avgCpuPercent": 12.4, "avgMemPercent": 12.5,
    "lastUpdated": "2026-01-02T03:04:05+00:00",
}  # fmt: skip


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.mark.parametrize("argv", [["nodes"], ["--list-nodes"]])
def test_nodes_are_a_table_and_their_problems(
    host: FakeHost, client: Client, argv: list[str]
) -> None:
    host.on("GET /nodes", [NODE, FRESH])
    titles, one, two, *problems = client(*argv).out.splitlines()
    assert cells(titles) == [
        "NODE", "STATUS", "DRIVER", "DOCKER", "CORES", "MEM", "TASKS", "NUMA", "HEARTBEAT",
    ]  # fmt: skip
    assert cells(one) == [
        "node1", "online", "process", "24.0.7", "2.5/16", "4G/64G", "3/64", "0:2 1:1", "1.5s ago",
    ]  # fmt: skip
    assert cells(two) == ["node2", "offline+drained", "-", "-", "-/4", "-/-", "-/-", "-", "-"]
    assert problems == ["node2: drained: disk is\\x07 full", "node2: no Docker engine"]


def test_nodes_in_other_modes(host: FakeHost, client: Client) -> None:
    host.on("GET /nodes", [NODE, FRESH])
    assert client("nodes", "-q").out == "node1\nnode2\n"
    assert client("nodes", "--json").json == [NODE, FRESH]


def test_a_cluster_without_nodes_says_what_to_do(host: FakeHost, client: Client) -> None:
    host.on("GET /nodes", [])
    ended = client("nodes")
    assert (ended.code, len(ended.out.splitlines())) == (0, 1)
    assert "hakuriver.pyz runner" in ended.err


@pytest.mark.parametrize("argv", [["health"], ["--health"]])
def test_health_is_the_newest_of_each_node_and_of_all(
    host: FakeHost, client: Client, argv: list[str]
) -> None:
    old = {**RECORD, "cpu_percent": 99.0}
    host.on("GET /health", {"nodes": [[old], [RECORD, FRESH]], "aggregate": [{}, TOTALS]})
    titles, one, two, totals = client(*argv).out.splitlines()
    assert cells(titles) == ["NODE", "STATUS", "CPU", "MEM", "MEM USED", "CORES", "HEARTBEAT"]
    assert cells(one)[:6] == ["node1", "online", "12%", "40%", "8G/64G", "16"]
    assert cells(two) == ["node2", "offline", "-", "-", "-/-", "4", "-"]
    assert totals == "Cluster: 1/2 nodes online, 20 cores, CPU 12%, memory 8G/64G (12%)"


def test_health_of_one_node_is_its_newest_record(host: FakeHost, client: Client) -> None:
    host.on("GET /health", [{**RECORD, "cpu_percent": 99.0}, RECORD])
    lines = client("--health", "node1").out.splitlines()
    assert len(lines) == 2
    assert cells(lines[1])[:3] == ["node1", "online", "12%"]
    assert host.seen[0].query == {"hostname": "node1"}


def test_health_in_other_modes(host: FakeHost, client: Client) -> None:
    history = {"nodes": [[RECORD, FRESH]], "aggregate": [TOTALS]}
    host.on("GET /health", history)
    assert client("health", "--json").json == history
    assert client("health", "-q").out == "node1 online\nnode2 offline\n"


@pytest.mark.parametrize(
    "answer", [{"nodes": [], "aggregate": []}, {"nodes": [[]], "aggregate": []}]
)
def test_health_of_an_empty_cluster_is_no_error(
    host: FakeHost, client: Client, answer: dict[str, Any]
) -> None:
    host.on("GET /health", answer)
    ended = client("health")
    assert (ended.code, ended.err) == (0, "No node has sent anything yet.\n")


def test_health_of_an_unknown_node_is_an_error(host: FakeHost, client: Client) -> None:
    host.on("GET /health", error(404, "not_found", "there is no node 'n9'"))
    assert client("health", "n9").code == 4


def test_drain_and_undrain_say_what_the_host_says(host: FakeHost, client: Client) -> None:
    host.on("POST /nodes/n%201/drain", {"message": "draining"})
    host.on("POST /nodes/n1/undrain", {"message": "back"})
    assert client("drain", "n 1", "--reason", "new disk").out == "draining\n"
    assert client("undrain", "n1", "--json").json == {"message": "back"}
    assert client("undrain", "n1", "-q").out == ""
    assert host.seen[0].body == {"reason": "new disk"}


@pytest.mark.parametrize(
    ("address", "warned"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("head.lab", False),
     ("192.168.1.10", False)],
)  # fmt: skip
def test_lines_that_no_other_machine_can_use_are_told_to_be_so(
    host: FakeHost, client: Client, address: str, warned: bool
) -> None:
    start = f"python3 hakuriver.pyz runner --join http://{address}:8000"
    host.on("GET /join-snippet", {"commands": ["fetch", start]})
    for argv in (["join"], ["join", "-q"]):
        ended = client(*argv)
        assert ended.out == f"fetch\n{start}\n"
        assert ("no other machine finds the host" in ended.err) is warned
