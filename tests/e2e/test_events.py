"""What a page follows: the stream of events and the history, on a real host with a real runner."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up
from tests.support.certificates import make_certificates
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

TOKEN = "t0ken-of-this-test-0123456789"


class Stream:
    """A page's stream; told: the last event of each kind."""

    def __init__(self, connection: http.client.HTTPConnection, **headers: str) -> None:
        self._connection = connection
        connection.request("GET", "/events", headers=headers)
        self.response = connection.getresponse()
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def events(self) -> Iterator[tuple[str, Any]]:
        """The next ones, until the stream ends."""
        kind = ""
        for line in self.response:
            text = line.decode("ascii").rstrip("\n")
            if text.startswith("event: "):
                kind = text.removeprefix("event: ")
            elif text.startswith("data: "):
                self.told[kind] = json.loads(text.removeprefix("data: "))
                yield kind, self.told[kind]

    def until(self, wanted: str, so: Callable[[Any], bool] = lambda data: True) -> Any:
        """The data of the next event of a kind that is so."""
        deadline = time.monotonic() + 30
        for kind, data in self.events():
            if kind == wanted and so(data):
                return data
            assert time.monotonic() < deadline, f"no {wanted} like that: {self.told}"
        raise AssertionError(f"the stream ended without {wanted}: {self.told}")

    def until_task(self, task_id: str, status: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def so(data: Any) -> bool:
            found.extend(
                task
                for task in data["tasks"]
                if (task["task_id"], task["status"]) == (task_id, status)
            )
            return bool(found)

        self.until("tasks", so)
        return found[0]


def follow(cluster: Cluster, **headers: str) -> Stream:
    return Stream(http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=30), **headers)


def test_a_page_is_told_of_a_task_from_its_start_to_its_end(up: Up) -> None:
    cluster = up()
    with follow(cluster) as page:
        assert page.response.status == 200
        assert page.response.headers["Content-Type"] == "text/event-stream"
        assert page.response.headers["Cache-Control"] == "no-store"
        hello = page.until("hello")
        (node,) = page.until("nodes")["nodes"]
        assert (node["hostname"], node["status"]) == ("node1", "online")
        task_id = cluster.submit("sleep", "600")
        assert page.until_task(task_id, "running")["revision"] > hello["revision"]
        assert page.told["counts"]["by_status"]["running"] == 1, "told before its tasks"
        cluster.api("POST", f"/kill/{task_id}")
        page.until_task(task_id, "killed")
        assert page.told["counts"]["by_status"]["killed"] == 1
        sample = page.until("sample")
        assert sample["nodes"]["node1"]["cores_total"] == node["total_cores"]


def test_a_page_is_told_of_nodes_that_are_drained_and_stopped(up: Up) -> None:
    cluster = up()
    with follow(cluster) as page:
        page.until("nodes")
        cluster.api("POST", "/nodes/node1/drain", {"reason": "a new disk"})
        page.until("nodes", lambda data: data["nodes"][0]["drained"] == "a new disk")
        cluster.runners["node1"].kill9()
        page.until("nodes", lambda data: data["nodes"][0]["status"] == "offline")


def test_a_restart_of_the_host_ends_the_stream_and_the_next_one_says_so(cluster: Cluster) -> None:
    cluster.start_host()
    with follow(cluster) as page:
        before = page.until("hello")
        cluster.host.stop()
        assert [kind for kind, _ in page.events()] != []
    cluster.start_host()
    with follow(cluster) as page:
        after = page.until("hello")
    assert after["cluster"] == before["cluster"]
    assert after["epoch"] > before["epoch"]


def test_pages_that_were_closed_leave_their_places(cluster: Cluster) -> None:
    cluster.start_host()
    pages = [follow(cluster) for _ in range(64)]
    for page in pages:
        page.until("hello")
    status, _, answer = cluster.api("GET", "/events")
    assert (status, answer["error"]) == (503, "unavailable")
    assert "64 pages are open already" in answer["detail"]
    assert cluster.api("HEAD", "/events")[0] == 200
    assert cluster.client("list").returncode == 0
    for page in pages:
        page.close()

    def room() -> bool:
        with follow(cluster) as page:
            return page.response.status == 200

    wait_until(room, timeout=20, message="their places are free")


def test_a_page_that_does_not_read_holds_up_nobody(cluster: Cluster) -> None:
    cluster.start_host()
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=10) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{cluster.port}\r\n\r\n".encode())
        with follow(cluster) as page:
            page.until("hello")
            for _ in range(3):
                cluster.submit_all("true", "x" * 100_000, targets=[])
                assert page.until("tasks")["tasks"]
    cluster.client("list")


def test_the_history_is_of_the_cluster_or_of_a_node(up: Up) -> None:
    cluster = up()
    wait_until(lambda: cluster.api("GET", "/history?node=node1")[2]["cpu_percent"][-1:] != [])
    for query in ("", "?node=node1", "?node=node1&hours=24"):
        status, _, told = cluster.api("GET", f"/history{query}")
        assert status == 200
        assert told["step"] == (60 if "24" in query else 5)
        columns = {name: values for name, values in told.items() if name != "step"}
        assert {len(values) for values in columns.values()} == {len(told["t"])}
    assert told["cores_total"][-1] == cluster.node()["total_cores"]  # type: ignore[index]
    assert cluster.api("GET", "/history?node=nowhere")[0] == 404
    for hours in ("0", "25", "x"):
        assert cluster.api("GET", f"/history?hours={hours}")[0] == 400


@pytest.fixture
def secure(program: list[str], tmp_path: Path) -> Iterator[tuple[Cluster, ssl.SSLContext]]:
    made = make_certificates(tmp_path)
    files: dict[str, Any] = {"network_tls_cert": made.cert, "network_tls_key": made.key,
                             "network_tls_ca": made.ca}  # fmt: skip
    with Cluster(program, auth_token=TOKEN, **files) as cluster:
        cluster.start_host()
        context = ssl.create_default_context(cafile=str(made.ca))
        # Python 3.13 asks more of an authority than what openssl makes by default.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        yield cluster, context


def test_it_goes_through_tls_and_needs_the_token(secure: tuple[Cluster, ssl.SSLContext]) -> None:
    cluster, context = secure

    def page(**headers: str) -> Stream:
        to = http.client.HTTPSConnection("127.0.0.1", cluster.port, timeout=30, context=context)
        return Stream(to, **headers)

    with page() as stranger:
        assert stranger.response.status == 401
    with page(Authorization=f"Bearer {TOKEN}") as known:
        known.until("hello")
        cluster.client("--quiet", "--", "true")
        known.until("tasks")
        cluster.host.stop()
        list(known.events())
