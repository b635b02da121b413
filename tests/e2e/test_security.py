"""Closed by default: nothing is served to others without a token, and nothing of it leaks."""

from __future__ import annotations

import http.client
import json
import re
import socket
from typing import Any

import pytest

from hakuriver.host.routes import ROUTES as HOST_ROUTES
from hakuriver.runner.routes import ROUTES as RUNNER_ROUTES
from hakuriver.system.router import Route
from tests.support.cluster import Cluster
from tests.support.processes import files_of_all
from tests.support.program import Program
from tests.support.wait import wait_until

TOKEN = "t0ken-of-this-test-0123456789"
OPEN: dict[str, Any] = {"network_host_bind_ip": "0.0.0.0", "network_runner_bind_ip": "0.0.0.0"}
TABLES: dict[str, tuple[Route[Any], ...]] = {"host": HOST_ROUTES, "runner": RUNNER_ROUTES}


def ask(
    program: Program, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, http.client.HTTPMessage, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def path_of(pattern: str) -> str:
    return re.sub(r"<[a-z_]+>", "1", pattern)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7"])
@pytest.mark.parametrize("role", ["host", "runner"])
def test_without_a_token_only_the_loopback_interface_is_served(
    cluster: Cluster, role: str, address: str
) -> None:
    environ: Any = {f"HAKURIVER_NETWORK_{role.upper()}_BIND_IP": address}
    done = cluster.run(role, check=False, timeout=15, **environ)
    assert done.returncode == 2, done.err
    assert "token" in done.err
    assert "Traceback" not in done.err


def test_a_token_or_a_written_word_opens_the_address(cluster: Cluster) -> None:
    opening: list[dict[str, Any]] = [{"auth_token": TOKEN}, {"auth_auth": "none"}]
    for settings in opening:
        host = cluster.start_host(**OPEN, **settings)
        assert "no other machine finds this host at 127.0.0.1" in host.log_text()
        runner = cluster.start_runner("node1", online=False, **OPEN, **settings,
                                      network_runner_address="127.0.0.1")  # fmt: skip
        for program in (runner, host):
            assert program.stop() in (0, 143, -15)
        del cluster.runners["node1"]


@pytest.fixture
def guarded(cluster: Cluster) -> Cluster:
    cluster.settings["auth_token"] = TOKEN
    cluster.start_host(**OPEN)
    cluster.start_runner(**OPEN)
    return cluster


def test_every_route_asks_for_the_token(guarded: Cluster) -> None:
    programs = {"host": guarded.host, "runner": guarded.runners["node1"]}
    bad = [
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"X-Token": TOKEN},
        {"Cookie": f"token={TOKEN}"},
    ]
    for role, table in TABLES.items():
        assert table
        closed = [route for route in table if not route.open]
        for place, route in enumerate(closed):
            # Wrong tokens are answered slowly: each in each way would take minutes.
            for headers in bad if place == 0 else bad[:1]:
                answer = ask(programs[role], route.method, path_of(route.pattern), headers, b"{}")
                status, fields, body = answer
                where = (role, route.method, route.pattern, headers)
                assert status == 401, (where, body)
                assert fields["WWW-Authenticate"] == "Bearer", where
                document = json.loads(body)
                assert document["error"] == "unauthorized", where
                assert TOKEN[:10] not in body.decode(), where
        for path in ("/", "/nothing/here", "/status/../x", "/?token=" + TOKEN):
            assert ask(programs[role], "GET", path, {})[0] == 401, "unknown paths tell nothing"
        assert ask(programs[role], "GET", "/", {"Authorization": f"Bearer {TOKEN}"})[0] == 200
    assert guarded.api("GET", "/tasks")[2] == []


def test_with_the_token_everything_works_and_without_it_the_client_says_why(
    guarded: Cluster,
) -> None:
    assert guarded.client("--wait", "--", "true").returncode == 0
    assert guarded.output("1") == b""
    for token in ("", "wrong"):
        refused = guarded.run("client", "list", check=False, HAKURIVER_TOKEN=token)
        assert refused.returncode == 6, refused.err
        assert "token" in refused.err


def test_a_runner_with_a_wrong_token_is_refused_and_says_so(cluster: Cluster) -> None:
    cluster.settings["auth_token"] = TOKEN
    cluster.start_host()
    runner = cluster.start_runner(online=False, auth_token="another-token-0123456789")
    wait_until(lambda: "token" in runner.log_text(), message="it says why")
    assert cluster.node() is None


def test_a_secret_is_in_no_log_and_on_no_command_line(guarded: Cluster) -> None:
    secret = "pa55-of-a-task"
    task_id = guarded.submit("sh", "-c", "sleep 0.5", env_vars={"PASSWORD": secret})
    guarded.wait_status(task_id, "running")
    ask(guarded.host, "GET", "/tasks", {"Authorization": f"Bearer {TOKEN}-almost"})
    seen = [line for _, line in files_of_all("cmdline")]
    assert not [line for line in seen if secret.encode() in line or TOKEN.encode() in line]
    guarded.wait_final(task_id)
    for program in guarded.programs:
        text = program.log_text()
        assert TOKEN not in text
        assert secret not in text


def test_a_stranger_cannot_speak_for_a_node_or_its_tasks(guarded: Cluster) -> None:
    """A runner reports on tasks of its own only."""
    guarded.start_runner("node2", **OPEN)
    task_id = guarded.submit(
        "sh", "-c", "while [ ! -e go ]; do sleep 0.05; done", targets=["node1"]
    )
    guarded.wait_status(task_id, "running")
    fact = {"kind": "ended", "exit_code": 0, "kill_sent": False, "oom": False}
    report = {"task": int(task_id), "attempt": 1, "n": 2**52, "fact": fact}
    body = {"node": "node2", "incarnation": 1, "clock": 0, "reports": [report]}
    status, _, answer = guarded.api("POST", "/v1/reports", body)
    assert (status, answer["acknowledged"]) == (200, [])
    assert guarded.task(task_id)["status"] == "running"
    (guarded.shared / "shared_data" / "go").touch()
    assert guarded.wait_final(task_id)["status"] == "completed"


def test_control_characters_of_a_task_reach_no_terminal_and_no_log(guarded: Cluster) -> None:
    evil = "\x1b]0;owned\x07\r\n2026-01-01 ERROR forged"
    task_id = guarded.submit("echo", evil, user=evil)
    guarded.wait_final(task_id)
    for arguments in (["list"], ["status", task_id]):
        shown = guarded.client(*arguments).stdout
        assert b"\x1b" not in shown
        assert b"\nforged" not in shown
    connection = socket.create_connection(("127.0.0.1", guarded.host.port), timeout=10)
    with connection:
        connection.sendall(f"GET /{evil} HTTP/1.1\r\n\r\n".encode())
        connection.recv(1000)
    for program in guarded.programs:
        assert "\x1b" not in program.log_text()
        assert "\n2026-01-01 ERROR forged" not in program.log_text()
