"""Garbage on every route, and the requests of the first HakuRiver: host and runner live on."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from hakuriver.host.routes import ROUTES as HOST_ROUTES
from hakuriver.runner.routes import ROUTES as RUNNER_ROUTES
from hakuriver.system.router import Route
from tests.e2e.witness import seeded
from tests.support.cluster import Cluster
from tests.support.program import Program

TABLES: dict[str, tuple[Route[Any], ...]] = {"host": HOST_ROUTES, "runner": RUNNER_ROUTES}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW")
IDS = ["1", "0", "-1", "+1", "01", "1e3", "999999", "9" * 19, "9" * 400, "..",
       "9223372036854775808", "%2e%2e", "%00", "%0a", "%ff", "a%2fb",
       "..%2f..%2fetc%2fpasswd", "%D9%A1", "x" * 5000,
       "null", "%20", "1%20", ";", "{}", "stdout"]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 2**63, 2**70, -(2**70), 1e308, "", "x", "\0", "\ud800", "é" * 1000,
    "a" * 200_000,
    [], [[]], [None], [1], ["x"], [{}], {}, {"a": 1}, {"": ""}, [[1, 2]], [["x", "y"]],
    [[-1, -1]], [[2**70, 0]], "running", "kill", "node1", "node1:0", "NULL", "../x", "1",
]  # fmt: skip
RAW = [b"", b"{", b"}", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"\x00", b"{}" * 2, b"[" * 100_000,
       b'{"a":' * 50_000, b'{"command": "x", "command": "y"}', b'{"command": NaN}', b'{"n": 1e999}',
       b'{"n": ' + b"9" * 5000 + b"}", b"command=x&a=b", b'{"command": "\\ud800"}',
       b'{"command": "true", "arguments": ["' + b"x" * 300_000 + b'"]}']  # fmt: skip
FIELDS = {
    "/submit": ["command", "arguments", "env_vars", "required_cores", "required_memory_bytes", "targets",
                "container_name", "privileged", "additional_mounts", "user"],
    "/submit/preview": ["line", "targets"],
    "/v1/register": ["name", "url", "instance", "incarnation", "boot", "version", "protocol", "capacity",
                     "driver", "engine", "environments", "problems", "numactl"],
    "/v1/heartbeat": ["node", "incarnation", "n", "orders_seen", "held", "vitals", "engine", "environments",
                      "problems"],
    "/v1/reports": ["node", "incarnation", "clock", "reports"],
    "/v1/orders": ["cluster", "node", "orders", "wishes"],
    "/forget/<id>": ["user"],
    "/nodes/<name>/drain": ["reason"],
}  # fmt: skip
ENTRIES = {
    "reports": ["task", "attempt", "n", "fact", "started_at", "ended_at", "driver", "note", "wish_n"],
    "fact": ["kind", "state", "exit_code", "kill_sent", "reason", "for_good"],
    "orders": ["seq", "task", "attempt", "argv", "env", "cores", "memory", "container", "mounts", "numa"],
    "wishes": ["seq", "task", "attempt", "wish", "n"],
    "capacity": ["cores", "memory", "max_tasks", "numa"],
    "vitals": ["cpu_percent", "memory_used", "memory_total"],
}  # fmt: skip


class Caller:
    """Sends to one program, on a connection that is kept as long as the program keeps it."""

    def __init__(self, program: Program) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=20)

    def __call__(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        try:
            self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self._connection.putheader(name, value)
            self._connection.endheaders(body)
            response = self._connection.getresponse()
            return response.status, response.headers, response.read()
        except (ConnectionError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


def check_error(status: int, body: bytes, where: object) -> None:
    """Never a fault of ours, and every error has the one shape."""
    assert status < 500 or status == 503, (where, status, body[:300])
    if status >= 400 and body:
        document = json.loads(body)
        assert set(document) == {"detail", "error", "hint"}, where
        assert all(isinstance(value, str) for value in document.values()), where
        assert document["detail"], where
        assert len(body) < 16_000, where


def fill(pattern: str, value: str) -> str:
    return re.sub(r"<[a-z_]+>", lambda _: value, pattern)


@pytest.fixture(scope="module")
def alive(program: list[str]) -> Iterator[Cluster]:
    """One cluster for all garbage; Cluster itself fails the module if a log holds a Traceback."""
    with Cluster(program) as cluster:
        cluster.start_host()
        cluster.start_runner()
        yield cluster


@pytest.fixture(params=TABLES)
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of(cluster: Cluster, role: str) -> Program:
    return cluster.host if role == "host" else cluster.runners["node1"]


@pytest.fixture(autouse=True)
def lives_on(alive: Cluster) -> Iterator[None]:
    yield
    assert alive.host.running
    assert alive.runners["node1"].running
    alive.wait_online()
    task_id = alive.submit("echo", "alive")
    assert alive.wait_final(task_id)["status"] == "completed"
    for program in alive.programs:
        assert "Traceback" not in program.log_text(), program.tail()


def test_the_wrong_method_is_told_from_the_wrong_path(alive: Cluster, role: str) -> None:
    with closing(Caller(of(alive, role))) as call:
        for pattern in {route.pattern for route in TABLES[role]}:
            allowed = {route.method for route in TABLES[role] if route.pattern == pattern}
            allowed |= {"HEAD"} if "GET" in allowed else set()
            for method in METHODS:
                if method in allowed:
                    continue
                status, headers, body = call(method, fill(pattern, "1"))
                assert status == 405, (method, pattern, body)
                assert set(headers["Allow"].split(", ")) >= allowed, (method, pattern)
                if method != "HEAD":
                    assert json.loads(body)["error"] == "method_not_allowed"
        for path in (
            "/nothing",
            "/status",
            "/status/",
            "/status/1/2",
            "/v1",
            "/V1/orders",
            "/tasks/",
        ):
            status, _, body = call("GET", path)
            assert (status, json.loads(body)["error"]) == (404, "not_found"), path


def test_strange_names_in_paths_are_not_found(alive: Cluster, role: str) -> None:
    with closing(Caller(of(alive, role))) as call:
        for route in TABLES[role]:
            for value in IDS if "<" in route.pattern else ():
                path = fill(route.pattern, value)
                status, _, body = call(route.method, path)
                check_error(status, body, path)
                assert b"root:" not in body, path
                if value not in ("1", "01"):
                    # 422: a name that no environment can have; 426: a shell is no ordinary answer.
                    assert status in (400, 404, 405, 414, 422, 426, 431), (path[:80], status)


def test_strange_queries_are_refused_or_ignored(alive: Cluster) -> None:
    keys = (
        "page",
        "sort",
        "q",
        "hours",
        "environment",
        "wait",
        "since",
        "status",
        "node",
        "batch",
        "ids",
        "limit",
        "after",
        "offset",
        "tail",
        "hostname",
        "text",
    )
    values = [
        "",
        "-1",
        "x",
        "1e9",
        "nan",
        "inf",
        "1" * 400,
        "%00",
        "%ff",
        "1,2",
        ",",
        "'",
        "0.001",
        "%25",
        "_",
    ]
    with closing(Caller(alive.host)) as call:
        for path in (
            "/status/1", "/tasks", "/tasks?page=1", "/batches", "/history", "/task/1/stdout", "/health", "/nodes", "/",
        ):  # fmt: skip
            for key in keys:
                for value in values:
                    status, _, body = call(
                        "GET", f"{path}{'&' if '?' in path else '?'}{key}={value}"
                    )
                    check_error(status, body, (path, key, value))


def test_raw_garbage_as_a_body_is_refused(alive: Cluster, role: str) -> None:
    with closing(Caller(of(alive, role))) as call:
        for route in TABLES[role]:
            if route.pattern == "/events":
                continue  # its answer has no end
            for raw in RAW:
                if route.pattern == "/submit" and b'"true"' in raw:
                    continue  # that one is a task
                status, _, body = call(route.method, fill(route.pattern, "999999"), raw)
                check_error(status, body, (route.pattern, raw[:40]))
                if route.method == "POST" and route.pattern in FIELDS and raw[:1] != b"":
                    assert status >= 400 or raw in (b"", b"{}"), (route.pattern, raw[:40])


def test_values_of_the_wrong_type_are_refused(alive: Cluster, role: str) -> None:
    rng = seeded("wire")
    with closing(Caller(of(alive, role))) as call:
        for route in TABLES[role]:
            fields = FIELDS.get(route.pattern)
            if fields is None:
                continue
            good = good_body(alive, route.pattern)
            for field in [*fields, "unknown"]:
                for value in VALUES:
                    body = {**good, field: value}
                    if value is not None and field in ENTRIES and rng.random() < 0.3:
                        body[field] = [{key: rng.choice(VALUES) for key in ENTRIES[field]}]
                    raw = json.dumps(body).encode()
                    status, _, answer = call("POST", fill(route.pattern, "999999"), raw)
                    check_error(status, answer, (route.pattern, field, str(value)[:40]))
                    # What is wrong with a submission that is being typed is part of the answer.
                    if field == "unknown" and route.pattern != "/submit/preview":
                        assert status >= 400, (route.pattern, "an unknown field was let through")
            for _ in range(150):
                body = {
                    key: garbage(rng, key, 3)
                    for key in rng.sample(fields, rng.randint(1, len(fields)))
                }
                raw = json.dumps({**good, **body}).encode()
                status, _, answer = call("POST", fill(route.pattern, "999999"), raw)
                check_error(status, answer, (route.pattern, raw[:200]))


def good_body(cluster: Cluster, pattern: str) -> dict[str, Any]:
    """Nearly right, and harmless: no node, task or cluster of that name exists."""
    if pattern == "/submit":
        return {"command": "true", "targets": ["no-such-node"]}
    if pattern == "/submit/preview":
        return {"line": "true", "targets": []}
    if pattern == "/v1/orders":
        return {"cluster": "no-such-cluster", "node": "node1", "orders": [], "wishes": []}
    if pattern == "/v1/register":
        capacity = {"cores": 0, "memory": 0, "max_tasks": 0, "numa": {}}
        return {"name": "bad name!", "url": "x", "instance": "x", "incarnation": 1, "boot": "x",
                "version": "x", "protocol": 1, "capacity": capacity}  # fmt: skip
    if pattern == "/v1/heartbeat":
        return {"node": "no-such-node", "incarnation": 1, "n": 1, "orders_seen": [0, 0], "held": []}
    if pattern == "/v1/reports":
        return {"node": "no-such-node", "incarnation": 1, "clock": 0, "reports": []}
    return {}


def garbage(rng: random.Random, key: str, depth: int) -> Any:
    if depth and key in ENTRIES and rng.random() < 0.7:
        entry = {name: garbage(rng, name, depth - 1) for name in ENTRIES[key] if rng.random() < 0.8}
        return entry if key in ("capacity", "vitals", "fact") else [entry]
    return rng.choice(VALUES[:-7])


def test_bodies_and_heads_that_are_too_large_are_turned_away(alive: Cluster, role: str) -> None:
    program = of(alive, role)
    path = "/submit" if role == "host" else "/v1/orders"
    with closing(Caller(program)) as call:
        status, _, body = call("POST", path, b"", {"Content-Length": str(1 << 40)})
        assert (status, json.loads(body)["error"]) == (413, "too_large")
    for length in ("-1", "x", "1, 1", "9" * 30, "0x10", "+1"):
        with closing(Caller(program)) as call:
            status, _, body = call("POST", path, b"", {"Content-Length": length})
            assert status in (400, 413), (length, status)
    for head in (
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST " + path.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
        b"POST "
        + path.encode()
        + b" HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nbroken\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", program.port), timeout=10) as connection:
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), head[:60]
            assert not answer.startswith(b"HTTP/1.1 500"), head[:60]


def test_clients_that_die_or_dawdle_harm_nobody(alive: Cluster, role: str) -> None:
    program = of(alive, role)
    path = b"/submit" if role == "host" else b"/v1/orders"
    half = b"POST " + path + b' HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"comm'
    slow = []
    for number in range(120):
        connection = socket.create_connection(("127.0.0.1", program.port), timeout=10)
        connection.sendall(half[: 1 + number % len(half)])
        if number % 3 == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        elif number % 3 == 1:
            connection.close()
        else:
            slow.append(connection)
    with closing(Caller(program)) as call:
        assert call("GET", "/")[0] == 200
    for connection in slow:
        connection.close()


def test_many_at_once_are_answered(alive: Cluster) -> None:
    codes: list[int] = []

    def work() -> None:
        with closing(Caller(alive.host)) as call:
            codes.extend(call("GET", "/tasks?limit=5")[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 400


def test_the_requests_of_the_first_hakuriver_are_answered_as_before(alive: Cluster) -> None:
    body = {"command": "sh", "arguments": ["-c", "echo $A; while [ ! -e stop ]; do sleep 0.05; done"],
            "env_vars": {"A": "b"}, "required_cores": 1, "required_memory_bytes": None, "targets": None,
            "container_name": None, "privileged": None, "additional_mounts": None}  # fmt: skip
    status, _, answer = alive.api("POST", "/submit", body)
    assert (status, sorted(answer)) == (202, ["batch_id", "message", "task_ids"])
    (task_id,) = answer["task_ids"]
    assert isinstance(task_id, str)
    task = alive.wait_status(task_id, "running")
    names = ("task_id batch_id command arguments env_vars required_cores required_memory_bytes status"
             " assigned_node target_numa_node_id stdout_path stderr_path exit_code error_message submitted_at"
             " started_at completed_at systemd_unit_name assignment_suspicion_count")  # fmt: skip
    assert not set(names.split()) - set(task)
    assert (task["env_vars"], task["required_cores"]) == ({"A": "b"}, 1)
    assert alive.api("GET", "/tasks")[2][0]["task_id"] == task_id
    for verb, state in (("pause", "paused"), ("resume", "running")):
        status, _, answer = alive.api("POST", f"/command/{task_id}/{verb}")
        assert (status, "message" in answer) == (200, True)
        alive.wait_status(task_id, state)
    status, _, answer = alive.api("POST", f"/kill/{task_id}")
    assert (status, "message" in answer) == (202, True)
    assert alive.wait_final(task_id)["status"] == "killed"
    assert alive.api("POST", f"/kill/{task_id}")[0] == 409
    assert alive.api("GET", f"/task/{task_id}/stdout")[2] == b"b\n"
    nodes = alive.api("GET", "/nodes")[2]
    wanted = {"hostname", "url", "total_cores", "cores_in_use", "available_cores", "status", "last_heartbeat",
              "numa_topology"}  # fmt: skip
    assert not wanted - set(nodes[0])
    health = alive.api("GET", "/health")[2]
    assert set(health) == {"nodes", "aggregate"}
    record = {"hostname", "status", "last_heartbeat", "cpu_percent", "memory_percent", "memory_used_bytes",
              "memory_total_bytes", "total_cores", "numa_topology"}  # fmt: skip
    assert not record - set(health["nodes"][-1][0])
    sums = {"totalNodes", "onlineNodes", "totalCores", "totalMemBytes", "usedMemBytes", "avgCpuPercent",
            "avgMemPercent", "lastUpdated"}  # fmt: skip
    assert not sums - set(health["aggregate"][-1])
    assert alive.api("GET", "/health?hostname=node1")[2][-1]["hostname"] == "node1"
    assert alive.api("GET", "/health?hostname=none")[0] == 404
    partly = {**body, "command": "true", "arguments": [], "targets": ["node1", "gone"]}
    answer = alive.api("POST", "/submit", partly)[2]
    assert answer["failed_targets"][0]["target"] == "gone"
    assert alive.wait_final(answer["task_ids"][0])["status"] == "completed"
