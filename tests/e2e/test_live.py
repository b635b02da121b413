"""The stream of events and the dashboard's files, from a real host over real connections."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.certificates import make_certificates
from tests.support.cluster import Cluster

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
