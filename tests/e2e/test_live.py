"""The stream of events and the dashboard's files, from a real host over real connections."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hakuriver.host.feed import READERS_MAX
from tests.support.certificates import make_certificates
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

TOKEN = "a token, for tests"


@contextmanager
def stream(port: int, *, ca: Path | None = None, token: str = "") -> Iterator[Any]:
    """The answer to GET /events."""
    connection: http.client.HTTPConnection
    if ca is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        context = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    connection.request(
        "GET", "/events", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def next_event(answer: Any, kind: str) -> dict[str, Any]:
    """The data of the next event of that kind."""
    while line := answer.readline():
        if line == f"event: {kind}\n".encode():
            return dict(json.loads(answer.readline().removeprefix(b"data: ")))
    raise AssertionError(f"the stream ended before a {kind}")


def test_a_stream_tells_everything_and_then_what_happens(up: Any) -> None:
    cluster = up()
    with stream(cluster.port) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert next_event(answer, "hello")["cluster"] == cluster.cluster_id()
        assert [node["hostname"] for node in next_event(answer, "nodes")["nodes"]] == ["node1"]
        task_id = cluster.submit("sh", "-c", "exit 3")
        seen: list[str] = []
        while "failed" not in seen:
            seen += [task["status"] for task in next_event(answer, "tasks")["tasks"]]
        assert cluster.task(task_id)["exit_code"] == 3
        sample = next_event(answer, "sample")
        assert sample["cluster"]["cores_total"] == sample["nodes"]["node1"]["cores_total"]


def test_a_stream_ends_with_the_host_and_holds_it_up_no_longer_than_that(up: Any) -> None:
    cluster = up()
    with stream(cluster.port) as answer:
        next_event(answer, "hello")
        begun = time.monotonic()
        cluster.host.stop()
        assert time.monotonic() - begun < 5
        with pytest.raises(AssertionError, match="ended"):
            next_event(answer, "never")


def test_streams_have_a_bound_and_places_come_free(up: Any) -> None:
    cluster = up()
    streams = [stream(cluster.port) for _ in range(READERS_MAX)]
    answers = [each.__enter__() for each in streams]
    for answer in answers:
        next_event(answer, "hello")
    status, _, told = cluster.api("GET", "/events")
    assert (status, told["error"]) == (503, "unavailable")
    assert cluster.client("nodes").returncode == 0
    for each in streams:
        each.__exit__(None, None, None)

    def free() -> bool:
        with stream(cluster.port) as answer:
            return bool(answer.status == 200)

    wait_until(free, timeout=30)


def test_a_head_request_takes_no_place(up: Any) -> None:
    cluster = up()
    for _ in range(READERS_MAX + 5):
        connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=10)
        connection.request("HEAD", "/events")
        assert connection.getresponse().status == 200
        connection.close()
    with stream(cluster.port) as answer:
        next_event(answer, "hello")


def test_streams_need_the_token_and_go_through_tls(program: list[str], tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls")
    files: dict[str, Any] = {"network_tls_cert": made.cert, "network_tls_key": made.key, "network_tls_ca": made.ca}  # fmt: skip
    with Cluster(program, auth_token=TOKEN, **files) as cluster:
        cluster.start_host()
        with stream(cluster.port, ca=made.ca) as answer:
            assert answer.status == 401
        with stream(cluster.port, ca=made.ca, token=TOKEN) as answer:
            next_event(answer, "hello")
            next_event(answer, "sample")


def test_the_page_and_its_files_need_no_token_and_hold_none(program: list[str]) -> None:
    with Cluster(program, auth_token=TOKEN) as cluster:
        cluster.start_host()

        def fetch(path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=10)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer.status, answer.headers, body

        status, headers, body = fetch("/", Accept="text/html,*/*")
        assert status == 200
        assert b"<!doctype html>" in body
        assert TOKEN.encode() not in body
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe-eval" not in headers["Content-Security-Policy"]
        status, headers, body = fetch("/dashboard/app.js")
        assert headers["Content-Type"].startswith("text/javascript")
        zipped = fetch("/dashboard/app.js", **{"Accept-Encoding": "gzip, br"})
        assert zipped[1]["Content-Encoding"] == "gzip"
        assert gzip.decompress(zipped[2]) == body
        assert fetch("/dashboard/app.js", **{"If-None-Match": headers["ETag"]})[0] == 304
        # What programs ask for at the same place needs it as before, and so does all that is behind.
        for path in ("/", "/events", "/history", "/tasks?page=1", "/batches", "/environments"):
            assert fetch(path)[0] == 401, path
        for path in (
            "/dashboard/..%2fmain.py",
            "/dashboard/vendor/..%2f..%2fmain.py",
            "/dashboard/main.py",
        ):
            assert fetch(path)[0] == 404, path
