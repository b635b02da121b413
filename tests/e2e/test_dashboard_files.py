"""The dashboard's files, from a real host: open to all, and holding nothing of the cluster."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator

import pytest

from tests.support import needs
from tests.support.cluster import Cluster

TOKEN = "a token, for tests"
PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def closed(program: list[str]) -> Iterator[Cluster]:
    needs.needs(needs.npm(), needs.artefact())
    with Cluster(program, auth_token=TOKEN) as cluster:
        cluster.start_host()
        yield cluster


def fetch(
    cluster: Cluster, path: str, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Without a token."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=10)
    connection.request("GET", path, headers=named)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_the_page_needs_no_token_and_holds_none(closed: Cluster) -> None:
    status, headers, body = fetch(closed, "/", Accept=PAGE)
    assert status == 200
    assert b"<!doctype html>" in body
    assert TOKEN.encode() not in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy


def test_what_is_behind_the_page_needs_the_token(closed: Cluster) -> None:
    for path in ("/", "/events", "/history", "/tasks?page=1", "/batches", "/environments"):
        assert fetch(closed, path)[0] == 401, path
    assert fetch(closed, "/", Accept="application/json", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_files_are_compressed_and_not_sent_twice(closed: Cluster) -> None:
    _, headers, body = fetch(closed, "/dashboard/app.js")
    assert headers["Content-Type"].startswith("text/javascript")
    _, zipped, content = fetch(closed, "/dashboard/app.js", Accept_Encoding="gzip, br")
    assert zipped["Content-Encoding"] == "gzip"
    assert gzip.decompress(content) == body
    for coding in ("gzip;q=0", "br, gzip ; q=0.000", "identity"):
        _, plain, content = fetch(closed, "/dashboard/app.js", Accept_Encoding=coding)
        assert (plain["Content-Encoding"], content) == (None, body), coding
    tag = headers["ETag"]
    for known in (tag, f'"another", {tag}', f"W/{tag}", "*"):
        status, about, nothing = fetch(closed, "/dashboard/app.js", If_None_Match=known)
        assert (status, about["Content-Length"], nothing) == (304, None, b""), known
    assert fetch(closed, "/dashboard/app.js", If_None_Match='"another"')[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/..%2fmain.py", "/dashboard/vendor/..%2f..%2fmain.py", "/dashboard/main.py", "/dashboard/pages",
        "/dashboard/..", "/dashboard/pages/..%2fapp.js", "/dashboard/%2e%2e/main.py",
    ],
)  # fmt: skip
def test_nothing_else_is_served(closed: Cluster, path: str) -> None:
    assert fetch(closed, path)[0] == 404
