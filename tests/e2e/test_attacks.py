"""What somebody who means harm would try; docs/security.md says what came of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.witness import prepare
from tests.support.cluster import Cluster

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


def test_a_thousand_idle_connections_keep_nobody_out(target: Cluster) -> None:
    with ExitStack() as crowd:
        for _ in range(1000):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=10)
            crowd.enter_context(connection)
        assert target.client("list").returncode == 0
