"""What somebody who means harm would try; docs/security.md says what came of it."""

from __future__ import annotations

import base64
import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hakuriver import PROTOCOL
from tests.e2e.witness import prepare
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

TOKEN = "t0ken-of-this-test-0123456789"


@pytest.fixture(scope="module")
def target(program: list[str]) -> Iterator[Cluster]:
    with Cluster(program, auth_token=TOKEN) as cluster:
        cluster.start_host()
        prepare(cluster)
        cluster.start_runner()
        yield cluster


NAMES = [
    "--privileged",
    "-v",
    "../x",
    "..",
    ".",
    "a/b",
    "a b",
    "a\nb",
    "$(id)",
    "a;b",
    "\x1b[31m",
    "é",
    "A" * 300,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_never_an_option_nor_a_path(target: Cluster, name: str) -> None:
    part = quote(name, safe="")
    asked = [
        ("POST", "/docker/host/create", {"image_name": "x", "container_name": name}),
        ("POST", f"/docker/host/start/{part}", None),
        ("POST", f"/docker/host/delete/{part}", None),
        ("POST", f"/docker/create_tar/{part}", None),
        ("POST", f"/docker/delete_tar/{part}", {"version": 1}),
        ("POST", f"/docker/sync/{part}", {}),
        ("POST", f"/nodes/{part}/drain", {}),
        ("POST", "/submit", {"command": "true", "container_name": name}),
        ("POST", "/submit", {"command": "true", "targets": [name]}),
        ("GET", f"/task/{part}/stdout", None),
        ("GET", f"/status/{part}", None),
        ("GET", f"/jobs/{part}", None),
    ]
    for method, path, body in asked:
        status, _, answer = target.api(method, path, body)
        assert 400 <= status < 500, (method, path, status, answer)
        assert "\x1b" not in json.dumps(answer)


@pytest.mark.parametrize(
    "mount", ["/etc:/x,volume-driver=evil", "-v:/x", "/a:/b:rw,z", "relative:/x", "/a:relative"]
)
def test_a_mount_is_two_paths_and_nothing_more(target: Cluster, mount: str) -> None:
    body = {"command": "true", "container_name": "box", "additional_mounts": [mount]}
    status, _, answer = target.api("POST", "/submit", body)
    # A comma is part of a path; what docker gets is quoted by the rules of CSV.
    assert status == (202 if "," in mount and ":rw" not in mount else 422), answer


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_only_a_file_is_served_as_output(target: Cluster, kind: str, tmp_path: Path) -> None:
    """A task can replace its own log: with a link to what the host may read and it may not."""
    secret = tmp_path / "secret"
    secret.write_text("xyzzy")
    task_id = target.submit("true")
    target.wait_final(task_id)
    log = target.shared / "task_outputs" / f"{task_id}.out"
    log.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(log)
    elif kind == "folder":
        log.mkdir()
    else:
        log.symlink_to(secret if kind == "link" else tmp_path / "nothing")
    for query in ("", "?offset=0", "?tail=5"):
        status, _, answer = target.api("GET", f"/task/{task_id}/stdout{query}", timeout=5)
        assert status >= 400, (query, status)
        assert "xyzzy" not in str(answer)
    if kind == "folder":
        log.rmdir()


EVIL = "\x1b]0;owned\x07\r\n2026-01-01 ERROR forged\u202e\x9b31m"


def evil_node(name: str, url: str) -> dict[str, Any]:
    return {
        "name": name, "url": url, "instance": EVIL, "incarnation": 1, "boot": EVIL,
        "version": EVIL, "protocol": PROTOCOL, "driver": EVIL,
        "capacity": {"cores": 1, "memory": 1, "max_tasks": 1, "numa": {}},
        "engine": {"version": EVIL, "live_restore": False},
        "environments": {EVIL: EVIL}, "problems": [EVIL],
    }  # fmt: skip


@pytest.mark.parametrize("url", [EVIL, "", "file:///etc/passwd", "http://h ost:1", "http://[::1"])
def test_an_evil_runner_brings_neither_the_host_down_nor_a_terminal_to_do_its_will(
    target: Cluster, url: str
) -> None:
    status, _, answer = target.api("POST", "/v1/register", evil_node("evil", url))
    assert status in (200, 422), answer
    if status == 200:
        waiting = target.submit("true", targets=["evil"])
        target.client("kill", waiting)
    for verb in (["nodes"], ["health"], ["list"], ["drain", "evil", "--reason", EVIL], ["nodes"]):
        shown = target.client(*verb, check=False)
        for control in ("\x1b", "\x07", "\x9b", "\u202e", "\r"):
            assert control not in shown.out + shown.err, (verb, shown)
        assert "\n2026-01-01 ERROR forged" not in shown.out + shown.err
    assert "\x1b" not in target.host.log_text()
    assert "\n2026-01-01 ERROR forged" not in target.host.log_text()
    assert target.wait_final(target.submit("true", targets=["node1"]))["status"] == "completed"


def test_a_name_that_is_at_work_is_not_given_to_another(target: Cluster) -> None:
    target.wait_online()
    rows = {row["hostname"]: row["url"] for row in target.api("GET", "/nodes")[2]}
    body = evil_node("node1", "http://127.0.0.1:9")
    assert target.api("POST", "/v1/register", body)[0] == 409
    assert {row["hostname"]: row["url"] for row in target.api("GET", "/nodes")[2]} == rows


def test_tokens_in_a_websocket_are_not_guessed_faster(target: Cluster) -> None:
    guess = "hakuriver.token." + base64.urlsafe_b64encode(b"guess").decode().rstrip("=")
    head = (f"GET /tasks HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Protocol: {guess}\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", target.port), timeout=10) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"the token is wrong" in answer
    assert "wrong token from 127.0.0.1" in target.host.log_text()


SMUGGLED = [
    b"POST /kill/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /kill/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    b"POST /kill/1 HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    b"POST /kill/1 HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n",
    b"POST /kill/1 HTTP/1.1\r\nHost: x\r\n Authorization: Bearer x\r\n\r\n",
    b"GET /\r\n\r\n",
]


@pytest.mark.parametrize("head", SMUGGLED)
def test_a_request_that_two_readers_would_understand_differently_ends_the_connection(
    target: Cluster, head: bytes
) -> None:
    inner = f"GET /tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", target.port), timeout=10) as connection:
        connection.sendall(head + inner)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert b"HTTP/1.1 200" not in answer


def test_thousands_of_idle_connections_keep_nobody_out(target: Cluster) -> None:
    with ExitStack() as crowd:
        for _ in range(min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=10)
            crowd.enter_context(connection)
        wait_until(lambda: target.client("list", check=False).returncode == 0)
        task_id = target.client("--quiet", "--", "echo", "served").out.strip()
        assert target.wait_final(task_id)["status"] == "completed"
    assert target.client("list").returncode == 0
