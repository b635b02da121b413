from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from hakuriver.model.errors import Conflict, Internal, Unreachable, UsageError
from hakuriver.system.httpc import HttpClient
from hakuriver.system.httpd import HttpServer, Limits
from hakuriver.system.router import Request, Response, Route, Router
from tests.support.wait import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """Accepts connections, and on each answers request after request from its script.

    A script is a list of answers; after the last one the connection is closed, at once after the
    last request has arrived if the answer is empty. `got` is what arrived, one item per request.
    """

    def __init__(self, scripts: Sequence[Sequence[bytes]]) -> None:
        self.got: list[bytes] = []
        self.finished = 0  # connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._scripts = list(scripts)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _run(self) -> None:
        for script in self._scripts:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(10)
                for answer in script:
                    self.got.append(self._request(connection))
                    connection.sendall(answer)
            self.finished += 1
        self._listener.close()

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            assert piece, "the client closed instead of asking"
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        while lengths and len(body) < lengths[0]:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def finish(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive(), "connections of the script were not used"


@contextmanager
def peer(*scripts: Sequence[bytes]) -> Iterator[tuple[Peer, HttpClient]]:
    """A peer with a script for each connection, all of which have to be used; and its client."""
    scripted = Peer(scripts)
    client = HttpClient(scripted.url, timeout=5, hint="Start it.")
    try:
        yield scripted, client
        scripted.finish()
    finally:
        client.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class TestAddresses:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "host:8000",
            "http://host",
            "http://:8000",
            "ftp://host:8000",
            "http://host:x",
            "http://host:99999",
            "http://u:p@host:80",
            "http://host:80/path",
            "http://host:80/?q",
            "http://ho st:80",
            "http://host:80\r\n",
            "http://[::1:80",
        ],
    )
    def test_anything_but_http_host_port_is_refused(self, url: str) -> None:
        with pytest.raises(UsageError, match="not the address of"):
            HttpClient(url)

    @pytest.mark.parametrize("url", ["http://host:80", "http://host:80/", "http://[::1]:80"])
    def test_host_and_port_are_enough(self, url: str) -> None:
        HttpClient(url).close()

    @pytest.mark.parametrize("path", ["x", "", "/a b", "/\r\n", "/é"])
    def test_a_path_that_was_not_quoted_is_refused(self, path: str) -> None:
        with pytest.raises(UsageError):
            HttpClient("http://127.0.0.1:1").request("GET", path)


class TestExchange:
    def test_requests_carry_token_headers_and_json(self) -> None:
        scripted = Peer([[OK]])
        client = HttpClient(scripted.url, token="s3crét")
        body = {"text": "é\udc80"}
        reply = client.request("POST", "/x?y=1", body=body, headers={"Idempotency-Key": "k"})
        client.close()
        assert (reply.status, reply.headers["content-length"], reply.json()) == (200, "2", {})
        head, _, sent = scripted.got[0].partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /x?y=1 HTTP/1.1"
        assert "Authorization: Bearer s3crét".encode() in lines
        assert b"Idempotency-Key: k" in lines
        assert b"Content-Type: application/json" in lines
        assert json.loads(sent) == body

    def test_one_connection_serves_many_requests(self) -> None:
        with peer([OK] * 5) as (_, client):
            for _ in range(5):
                assert client.call("GET", "/") == {}

    def test_a_connection_that_the_peer_wants_closed_is_not_used_again(self) -> None:
        closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        with peer([closing], [OK]) as (_, client):
            client.call("POST", "/")
            client.call("POST", "/")

    def test_redirects_are_not_followed(self) -> None:
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        with peer([moved]) as (_, client):
            assert client.request("GET", "/").status == 302

    def test_proxies_of_the_environment_are_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with peer([OK]) as (_, client):
            assert client.request("GET", "/").status == 200

    def test_small_requests_are_not_delayed(self) -> None:
        with peer([OK]) as (_, client):
            client.request("GET", "/")
            assert client._connection is not None
            assert client._connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_errors_of_the_peer_are_raised_as_they_were(self) -> None:
        body = b'{"detail":"final","error":"conflict","hint":"no"}'
        answer = b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        with peer([answer]) as (_, client), pytest.raises(Conflict) as caught:
            client.call("POST", "/")
        assert (caught.value.detail, caught.value.hint) == ("final", "no")

    @pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"502 Bad Gateway"])
    def test_an_answer_that_is_not_json_is_not_from_us(self, status: bytes) -> None:
        answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 6\r\n\r\n<html>"
        with peer([answer]) as (_, client), pytest.raises(Internal, match="not from HakuRiver"):
            client.call("GET", "/")

    def test_an_answer_that_came_before_the_whole_body_was_taken_is_read(self) -> None:
        router: Router[None] = Router([Route("GET", "/", lambda *_: Response.json({}))])
        limits = Limits(body_bytes=10)
        server = HttpServer(("127.0.0.1", 0), router, None, limits=limits, name="test")
        server.start()
        client = HttpClient(f"http://127.0.0.1:{server.port}")
        try:
            assert client.request("POST", "/", body="x" * 8_000_000).status == 413
        finally:
            client.close()
            server.stop()


class TestFailures:
    def test_only_a_refused_connection_is_certain_not_to_have_arrived(self) -> None:
        port = free_port()
        with pytest.raises(Unreachable) as caught:
            HttpClient(f"http://127.0.0.1:{port}", hint="Start it.").call("GET", "/x?q=1")
        assert caught.value.detail == f"http://127.0.0.1:{port}/x: connection refused"
        assert caught.value.hint == "Start it."
        assert caught.value.refused

    def test_an_unknown_name_is_told(self) -> None:
        with pytest.raises(
            Unreachable, match=r"the name no\.such\.name\.invalid is not known"
        ) as e:
            HttpClient("http://no.such.name.invalid:1").call("GET", "/")
        assert not e.value.refused

    def test_silence_is_a_timeout(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(Unreachable, match=r"timed out after 0\.05 s") as caught:
                client.call("GET", "/", timeout=0.05)
        assert not caught.value.refused

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            b"\x00\x01\x02\r\n\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"HTTP/1.1 xxx\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
        ],
        ids=lambda answer: repr(answer[:50]),
    )
    def test_a_broken_or_garbled_answer_is_unreachable_and_not_asked_again(
        self, answer: bytes
    ) -> None:
        with (
            peer([answer]) as (_, client),
            pytest.raises(Unreachable, match="connection broken") as caught,
        ):
            client.call("GET", "/")
        assert not caught.value.refused
        assert caught.value.detail.isprintable()

    def test_after_a_failure_the_next_request_starts_afresh(self) -> None:
        with peer([b"HTTP"], [OK]) as (_, client):
            with pytest.raises(Unreachable):
                client.call("GET", "/")
            assert client.call("GET", "/") == {}


class TestKeptConnections:
    """The peer closes a connection that it had kept: between requests, or on receiving one."""

    def test_one_that_was_closed_meanwhile_is_replaced_whatever_the_method(self) -> None:
        with peer([OK], [OK]) as (scripted, client):
            client.call("POST", "/")
            wait_until(lambda: scripted.finished == 1)
            client.call("POST", "/")

    def test_a_get_is_sent_again_once(self) -> None:
        with peer([OK, b""], [OK]) as (scripted, client):
            client.call("POST", "/1")
            assert client.call("GET", "/2") == {}
        assert [request.split()[1] for request in scripted.got] == [b"/1", b"/2", b"/2"]

    def test_but_not_twice(self) -> None:
        with peer([OK, b""], [b""]) as (_, client):
            client.call("GET", "/")
            with pytest.raises(Unreachable):
                client.call("GET", "/")

    def test_a_post_is_sent_again_only_if_the_caller_says_so(self) -> None:
        with peer([OK, b""]) as (_, client):
            client.call("POST", "/")
            with pytest.raises(Unreachable) as caught:
                client.call("POST", "/")
            assert not caught.value.refused
        with peer([OK, b""], [OK]) as (_, client):
            client.call("POST", "/")
            assert client.call("POST", "/", retry=True) == {}

    def test_a_get_is_not_if_the_caller_says_so(self) -> None:
        with peer([OK, b""]) as (_, client):
            client.call("GET", "/")
            with pytest.raises(Unreachable):
                client.call("GET", "/", retry=False)

    def test_nothing_is_sent_again_once_an_answer_has_begun(self) -> None:
        with peer([OK, b"H"]) as (_, client):
            client.call("GET", "/")
            with pytest.raises(Unreachable):
                client.call("GET", "/")

    def test_a_first_try_may_have_arrived_even_if_the_second_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with peer([OK, b""]) as (_, client):
            client.call("GET", "/")
            monkeypatch.setattr(client, "_port", free_port())
            with pytest.raises(Unreachable, match="connection refused") as caught:
                client.call("GET", "/")
        assert not caught.value.refused


class Gate:
    def __init__(self) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()


def wait_at(_request: Request, gate: Gate) -> Response:
    gate.inside.set()
    assert gate.open.wait(10)
    return Response.json({})


@pytest.mark.parametrize("before", [False, True], ids=["fresh connection", "kept connection"])
def test_close_ends_a_request_of_another_thread_and_leaves_the_client_usable(
    before: bool,
) -> None:
    gate = Gate()
    routes = [Route("GET", "/wait", wait_at), Route("GET", "/", lambda *_: Response.json({}))]
    server = HttpServer(("127.0.0.1", 0), Router(routes), gate, name="test")
    server.start()
    client = HttpClient(f"http://127.0.0.1:{server.port}")
    failures: list[Unreachable] = []

    def poll() -> None:
        try:
            client.call("GET", "/wait")
        except Unreachable as error:
            failures.append(error)

    if before:
        client.call("GET", "/")
    thread = threading.Thread(target=poll)
    thread.start()
    assert gate.inside.wait(10)
    client.close()
    thread.join(10)
    assert len(failures) == 1
    assert client.call("GET", "/") == {}
    client.close()
    gate.open.set()
    server.stop()


class TestStreams:
    def test_a_body_is_read_in_pieces_on_a_connection_of_its_own(self) -> None:
        long = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Size: 5\r\n\r\nabcde"
        with peer([OK], [long]) as (_, client):
            client.call("GET", "/")
            client.close()
            with client.stream("GET", "/big") as stream:
                assert (stream.status, stream.headers["x-size"]) == (200, "5")
                assert [stream.read(2) for _ in range(4)] == [b"ab", b"cd", b"e", b""]

    def test_a_body_that_breaks_off_is_not_taken_for_a_short_one(self) -> None:
        with (
            peer([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"]) as (_, client),
            client.stream("GET", "/big") as stream,
        ):
            assert stream.read(2) == b"ab"
            with pytest.raises(Unreachable, match="connection broken"):
                stream.read(2)

    def test_a_stream_to_nobody_is_unreachable(self) -> None:
        client = HttpClient(f"http://127.0.0.1:{free_port()}")
        with pytest.raises(Unreachable) as caught, client.stream("GET", "/"):
            pass
        assert caught.value.refused

    def test_errors_of_the_reader_are_left_as_they_are(self) -> None:
        with (
            peer([OK]) as (_, client),
            pytest.raises(OSError, match="disk full"),
            client.stream("GET", "/"),
        ):
            raise OSError("disk full")
