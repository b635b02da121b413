from __future__ import annotations

import http.client
import json
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hakuriver.model.errors import Conflict, UsageError
from hakuriver.system.httpd import HttpServer, Limits
from hakuriver.system.router import Request, Response, Route, Router
from hakuriver.system.sockets import has_left
from tests.support.wait import wait_until


@dataclass
class Context:
    """What handlers share with the test: a gate for slow ones, and who is inside."""

    gate: threading.Event = field(default_factory=threading.Event)
    inside: list[str] = field(default_factory=list)
    closed: int = 0
    streams: int = 0
    """Of those that are being sent now."""


def echo(request: Request, _context: Context) -> Response:
    return Response.json(
        {
            "method": request.method,
            "path": request.path,
            "params": request.params,
            "query": request.query,
            "body": request.body.decode("latin-1"),
            "peer": request.peer,
            "x": request.headers.get("x-test"),
        }
    )


def conflict(_request: Request, _context: Context) -> Response:
    raise Conflict("task 1 is final", "Submit it again.")


def crash(_request: Request, _context: Context) -> Response:
    raise RuntimeError("secret detail")


def slow(request: Request, context: Context) -> Response:
    context.inside.append(request.path)
    assert context.gate.wait(10)
    return Response.json({"done": True})


def pieces(request: Request, context: Context) -> Response:
    def produce() -> Iterator[bytes]:
        try:
            for _ in range(request.whole("real", 3, 0, 1000)):
                yield b"x" * 1000
            if "crash" in request.query:
                raise RuntimeError("disk gone")
        finally:
            context.closed += 1

    return Response(200, produce(), content_type="application/octet-stream", length=3000)


def evil(_request: Request, _context: Context) -> Response:
    return Response.text(b"hi", (("X-Name", "a\r\nX-Evil: 1"),))


def stream(_request: Request, context: Context) -> Response:
    """A line at once, and the last one when the gate opens or the peer has gone."""

    def send(connection: socket.socket, first: bytes) -> None:
        context.streams += 1
        try:
            connection.settimeout(10)
            connection.sendall(b"first " + first + b"\n")
            while not context.gate.wait(0.01):
                if has_left(connection):
                    return
            connection.sendall(b"last\n")
        finally:
            context.streams -= 1

    return Response.stream("text/x-lines", send)


ROUTER: Router[Context] = Router(
    [
        Route("GET", "/echo/<name>", echo),
        Route("POST", "/echo/<name>", echo),
        Route("GET", "/conflict", conflict),
        Route("GET", "/crash", crash),
        Route("GET", "/slow", slow),
        Route("GET", "/pieces", pieces),
        Route("GET", "/evil", evil),
        Route("GET", "/stream", stream),
        Route("GET", "/big", lambda *_: Response.text(b"y" * (32 << 20))),
        Route("GET", "/open", lambda *_: Response.text(b"y" * (8 << 20)), open=True),
    ]
)


@dataclass
class Live:
    server: HttpServer[Context]
    context: Context

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=10)

    def raw(self, *pieces: bytes) -> bytes:
        """All that comes back for these bytes until the server closes."""
        with self.dial() as peer:
            for piece in pieces:
                peer.sendall(piece)
            return everything(peer)

    def assert_well(self) -> None:
        assert self.ask("GET", "/echo/well")[0] == 200


def everything(peer: socket.socket) -> bytes:
    got = b""
    try:
        while piece := peer.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def parts(answer: bytes) -> tuple[int, bytes, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), json.loads(body)


@contextmanager
def serving(token: str = "", **limits: Any) -> Iterator[Live]:
    context = Context()
    limits.setdefault("stop_seconds", 0.2)
    server = HttpServer(
        ("127.0.0.1", 0), ROUTER, context, token=token, limits=Limits(**limits), name="test"
    )
    server.start()
    try:
        yield Live(server, context)
    finally:
        context.gate.set()
        server.stop()


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(request_seconds=0.3, idle_seconds=5, body_bytes=10_000, head_bytes=4096) as live:
        yield live


@pytest.fixture(scope="module")
def guarded() -> Iterator[Live]:
    with serving(token="s3cret") as live:
        yield live


class TestAnswers:
    def test_a_handler_sees_the_request_decoded(self, live: Live) -> None:
        status, headers, body = live.ask(
            "POST", "/echo/a%2Fb%20%C3%A9?q=%C3%A9&r=&q=2", b"data", {"X-Test": "v"}
        )
        assert status == 200
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body) == {
            "method": "POST",
            "path": "/echo/a/b é",
            "params": {"name": "a/b é"},
            "query": {"q": "2", "r": ""},
            "body": "data",
            "peer": "127.0.0.1",
            "x": "v",
        }

    def test_an_absolute_url_is_answered_as_its_path(self, live: Live) -> None:
        answer = live.raw(b"GET http://h:1/echo/x?q=1 HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert parts(answer)[2]["path"] == "/echo/x"

    def test_a_head_has_the_headers_of_the_get_and_no_body(self, live: Live) -> None:
        request = b"HEAD /pieces HTTP/1.1\r\nConnection: close\r\n\r\n"
        head, _, body = live.raw(request).partition(b"\r\n\r\n")
        assert b"Content-Length: 3000" in head
        assert body == b""

    def test_many_requests_use_one_connection(self, live: Live) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", live.server.port, timeout=10)
        for number in range(20):
            connection.request("POST", f"/echo/{number}", body=b"x")
            port = connection.sock.getsockname()
            assert json.loads(connection.getresponse().read())["params"]["name"] == str(number)
            assert connection.sock.getsockname() == port
        connection.close()

    def test_requests_sent_together_are_answered_in_turn(self, live: Live) -> None:
        one = b"GET /echo/1 HTTP/1.1\r\n\r\n"
        two = b"GET /echo/2 HTTP/1.1\r\nConnection: close\r\n\r\n"
        answer = live.raw(one + two)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert answer.index(b"/echo/1") < answer.index(b"/echo/2")

    def test_http_1_0_is_answered_and_closed(self, live: Live) -> None:
        assert parts(live.raw(b"GET /echo/x HTTP/1.0\r\n\r\n"))[0] == 200

    def test_a_body_in_pieces_arrives_whole_and_its_source_is_closed(self, live: Live) -> None:
        before = live.context.closed
        assert live.ask("GET", "/pieces")[2] == b"x" * 3000
        wait_until(lambda: live.context.closed == before + 1)

    @pytest.mark.parametrize("query", ["real=2", "real=4", "real=1&crash="])
    def test_a_body_of_the_wrong_length_ends_the_connection(self, live: Live, query: str) -> None:
        answer = live.raw(f"GET /pieces?{query} HTTP/1.1\r\n\r\n".encode())
        assert len(answer.partition(b"\r\n\r\n")[2]) <= 3000

    def test_a_line_break_in_a_header_value_makes_no_header(self, live: Live) -> None:
        headers = live.ask("GET", "/evil")[1]
        assert "X-Evil" not in headers
        assert headers["X-Name"] == "a\\x0d\\x0aX-Evil: 1"

    def test_a_body_is_asked_for_when_the_peer_waits_to_be(self, live: Live) -> None:
        with live.dial() as peer:
            peer.sendall(
                b"POST /echo/x HTTP/1.1\r\nContent-Length: 2\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            peer.sendall(b"hi")
            assert parts(everything(peer))[2]["body"] == "hi"


class TestErrors:
    def test_an_error_of_ours_is_told_as_it_is(self, live: Live) -> None:
        status, _, body = live.ask("GET", "/conflict")
        assert status == 409
        assert json.loads(body) == {
            "detail": "task 1 is final",
            "error": "conflict",
            "hint": "Submit it again.",
        }

    def test_a_crash_is_told_to_the_log_only(
        self, live: Live, caplog: pytest.LogCaptureFixture
    ) -> None:
        status, _, body = live.ask("GET", "/crash?%1b")
        assert status == 500
        assert json.loads(body)["error"] == "internal"
        assert b"secret" not in body
        assert "secret detail" in caplog.text

    def test_wrong_paths_and_methods_are_told_apart(self, live: Live) -> None:
        assert live.ask("GET", "/none")[0] == 404
        status, headers, _ = live.ask("DELETE", "/echo/x")
        assert (status, headers["Allow"]) == (405, "GET, HEAD, POST")

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (b"nonsense\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x1b[2J\r\n\r\n", 400),
            (b"GET /echo/x HTTP/9.9\r\n\r\n", 505),
            (b"GET /echo/x JUNK/1.1\r\n\r\n", 400),
            (b"GET echo HTTP/1.1\r\n\r\n", 400),
            (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
            (b"GET /%ff HTTP/1.1\r\n\r\n", 400),
            (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
            (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nA: " + b"x" * 5000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 120 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"A: %s\r\n" % (b"b" * 90) * 50 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nno colon\r\nA: b\r\n\r\n", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: 1\r\n 1\r\n\r\nx", 400),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: 10001\r\n\r\n", 413),
            (b"POST /echo/x HTTP/1.1\r\nContent-Length: " + b"9" * 3000 + b"\r\n\r\n", 413),
            (b"POST /echo/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ],
        ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
    )
    def test_what_cannot_be_read_is_refused_in_the_one_shape(
        self, live: Live, request_bytes: bytes, status: int
    ) -> None:
        with live.dial() as peer:
            peer.sendall(request_bytes)
            peer.shutdown(socket.SHUT_WR)
            got, head, body = parts(everything(peer))
        assert got == status
        assert body.keys() == {"detail", "error", "hint"}
        assert body["detail"].isprintable()
        assert b"content-type: application/json" in head

    def test_a_large_body_that_is_refused_does_not_cost_the_answer(self, live: Live) -> None:
        status, headers, body = live.ask("POST", "/echo/x", b"x" * 4_000_000)
        assert (status, headers["Connection"]) == (413, "close")
        assert json.loads(body)["error"] == "too_large"

    def test_requests_that_break_off_are_not_carried_out(self, live: Live) -> None:
        for text in (
            b"GET /slow",
            b"GET /slow HTTP/1.1\r\n",
            b"GET /slow HTTP/1.1\r\nA: b\r\n",
            b"GET /slow HTTP/1.1\r\nA: b",
            b"GET /slow HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
        ):
            with live.dial() as peer:
                peer.sendall(text)
                peer.shutdown(socket.SHUT_WR)
                assert everything(peer) == b""
        assert live.context.inside == []


class TestTokens:
    @pytest.mark.parametrize("path", ["/echo/x", "/none", "/crash"])
    def test_nothing_is_told_without_the_token(self, guarded: Live, path: str) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            status, sent, body = guarded.ask("GET", path, headers=headers)
            assert (status, sent["WWW-Authenticate"]) == (401, "Bearer")
            assert "HAKURIVER_TOKEN" in json.loads(body)["hint"]

    def test_the_body_is_not_waited_for_without_the_token(self, guarded: Live) -> None:
        with guarded.dial() as peer:
            peer.sendall(b"POST /echo/x HTTP/1.1\r\nContent-Length: 9999\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 401"

    def test_with_it_everything_is(self, guarded: Live) -> None:
        for word in ("Bearer", "bearer"):
            assert (
                guarded.ask("GET", "/echo/x", headers={"Authorization": f"{word} s3cret"})[0] == 200
            )


def test_without_a_token_a_web_page_of_somebody_elses_gets_nothing(live: Live) -> None:
    status, _, body = live.ask("POST", "/echo/x", b"{}", {"Origin": "http://evil.example"})
    assert status == 403
    assert json.loads(body)["error"] == "forbidden"


class TestLimits:
    def test_a_request_that_drips_in_is_cut_off(self, live: Live) -> None:
        with live.dial() as peer:
            peer.sendall(b"POST /echo/x HTTP/1.1\r\nContent-Length: 5000\r\n\r\n")
            peer.settimeout(0.02)

            def cut_off() -> bool:
                try:
                    peer.sendall(b"x")
                    return peer.recv(100) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            wait_until(cut_off, timeout=5, message="the dripping connection is cut")

    def test_a_request_that_stalls_is_cut_off(self, live: Live) -> None:
        assert live.raw(b"GET /echo/x HTTP/1.1\r\nA") == b""

    def test_a_long_poll_is_not(self) -> None:
        with serving(request_seconds=0.05) as live, live.dial() as peer:
            peer.sendall(b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n")
            # A second peer is cut off by the same clock, after the first one's time has passed.
            assert live.raw(b"GET ") == b""
            assert live.raw(b"GET ") == b""
            live.context.gate.set()
            assert parts(everything(peer))[0] == 200

    def test_an_idle_connection_is_closed(self) -> None:
        with serving(idle_seconds=0.05) as live, live.dial() as peer:
            peer.sendall(b"GET /echo/x HTTP/1.1\r\n\r\n")
            assert everything(peer).startswith(b"HTTP/1.1 200")

    def test_a_peer_that_takes_no_answer_is_given_up(self) -> None:
        with serving(send_seconds=0.05, connections=1) as live, live.dial() as peer:
            peer.sendall(b"GET /big HTTP/1.1\r\n\r\n")
            assert peer.recv(100)
            wait_until(lambda: live.ask("GET", "/echo/x")[0] == 200, message="its place is free")

    def test_connections_past_the_limit_are_told_so_and_later_ones_are_served(self) -> None:
        with serving(connections=2) as live:
            with live.dial() as one, live.dial() as two:
                for peer in (one, two):
                    peer.sendall(b"GET /echo/x HTTP/1.1\r\n\r\n")
                    assert peer.recv(12) == b"HTTP/1.1 200"
                status, headers, body = live.ask("GET", "/echo/x")
                assert (status, headers["Connection"]) == (503, "close")
                assert json.loads(body)["error"] == "unavailable"
            wait_until(lambda: live.ask("GET", "/echo/x")[0] == 200)

    def test_strangers_who_say_nothing_keep_nobody_out(self) -> None:
        hello = b"GET /echo/x HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n"
        with serving("s3cret", connections=4) as live, live.dial() as friend, ExitStack() as crowd:
            friend.sendall(hello)
            assert friend.recv(12) == b"HTTP/1.1 200"
            for number in range(20):
                stranger = crowd.enter_context(live.dial())
                if number % 2:
                    stranger.sendall(b"GET / HT")
            with live.dial() as another:
                another.sendall(hello)
                assert another.recv(12) == b"HTTP/1.1 200"
            friend.recv(4096)
            friend.sendall(hello)
            assert friend.recv(12) == b"HTTP/1.1 200", "who has shown who it is keeps its place"

    def test_strangers_who_take_no_answer_keep_nobody_out(self) -> None:
        hello = b"GET /echo/x HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n"
        with serving("s3cret", connections=4) as live, live.dial() as friend, ExitStack() as crowd:
            friend.sendall(hello)
            assert friend.recv(12) == b"HTTP/1.1 200"
            for _ in range(8):
                stranger = crowd.enter_context(live.dial())
                stranger.sendall(b"GET /open HTTP/1.1\r\n\r\n")
                assert stranger.recv(12) == b"HTTP/1.1 200"
            slow = crowd.enter_context(live.dial())
            crowd.enter_context(live.dial()).sendall(b"GET /open HTTP/1.1\r\n\r\n")
            slow.sendall(hello)
            assert slow.recv(12) == b"HTTP/1.1 200", "older strangers give way first"
            assert live.ask("GET", "/echo/x", headers={"Authorization": "Bearer s3cret"})[0] == 200
            friend.recv(4096)
            friend.sendall(hello)
            assert friend.recv(12) == b"HTTP/1.1 200"


class TestStreams:
    REQUEST = b"GET /stream HTTP/1.1\r\n\r\n"

    def test_a_stream_has_no_length_and_ends_with_its_connection(self) -> None:
        with serving() as live, live.dial() as peer:
            peer.sendall(self.REQUEST)
            wait_until(lambda: live.context.streams == 1)
            live.context.gate.set()
            head, _, body = everything(peer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Type: text/x-lines" in head
        assert b"Connection: close" in head
        assert b"Content-Length" not in head
        assert body == b"first \nlast\n"

    def test_a_head_of_it_begins_nothing(self) -> None:
        with serving() as live:
            request = b"HEAD /stream HTTP/1.1\r\nConnection: close\r\n\r\n"
            head, _, body = live.raw(request).partition(b"\r\n\r\n")
            assert b"Content-Type: text/x-lines" in head
            assert (b"Content-Length" in head, body, live.context.streams) == (False, b"", 0)

    def test_it_goes_on_longer_than_any_request_may_take(self) -> None:
        limits: dict[str, Any] = dict.fromkeys(
            ("request_seconds", "idle_seconds", "send_seconds"), 0.05
        )
        with serving(**limits) as live, live.dial() as peer:
            peer.sendall(self.REQUEST)
            wait_until(lambda: live.context.streams == 1)
            for _ in range(3):
                # A second peer is cut off by the same clocks, after the first one's time has passed.
                assert live.raw(b"GET ") == b""
            live.context.gate.set()
            assert everything(peer).endswith(b"last\n")

    def test_it_takes_nobodys_place(self) -> None:
        with serving(connections=2) as live, ExitStack() as stack:
            for count in range(1, 6):
                peer = stack.enter_context(live.dial())
                peer.sendall(self.REQUEST)
                wait_until(lambda count=count: live.context.streams == count)
            live.assert_well()
            for _ in range(2):
                peer = stack.enter_context(live.dial())
                peer.sendall(b"GET /echo/x HTTP/1.1\r\n\r\n")
                assert peer.recv(12) == b"HTTP/1.1 200"
            assert live.ask("GET", "/echo/x")[0] == 503, "others are counted as ever"

    @pytest.mark.parametrize("how", ["close", "reset", "reset at once"])
    def test_it_ends_when_its_peer_has_left(self, how: str) -> None:
        with serving() as live:
            peer = live.dial()
            peer.sendall(self.REQUEST)
            if how != "reset at once":
                wait_until(lambda: live.context.streams == 1)
            if how != "close":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            live.assert_well()
            wait_until(lambda: live.context.streams == 0)

    def test_stop_does_not_wait_for_it(self) -> None:
        with serving(stop_seconds=60) as live, live.dial() as peer:
            peer.sendall(self.REQUEST)
            wait_until(lambda: live.context.streams == 1)
            live.server.stop()
            wait_until(lambda: live.context.streams == 0)
            assert b"last" not in everything(peer)


class TestStopping:
    def test_stop_ends_idle_connections_and_refuses_new_ones(self) -> None:
        with serving() as live, live.dial() as peer:
            peer.sendall(b"GET /echo/x HTTP/1.1\r\n\r\n")
            assert peer.recv(10000)
            live.server.stop()
            assert peer.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                live.dial()

    def test_stop_lets_a_running_request_finish(self) -> None:
        with serving(stop_seconds=10) as live, live.dial() as peer:
            peer.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            wait_until(lambda: live.context.inside)
            stopper = threading.Thread(target=live.server.stop)
            stopper.start()
            wait_until(lambda: live.server._server.stopping)
            live.context.gate.set()
            status, head, body = parts(everything(peer))
            stopper.join(10)
            assert (status, body) == (200, {"done": True})
            assert b"connection: close" in head

    def test_stop_does_not_wait_for_ever(self) -> None:
        with serving(stop_seconds=0.05) as live, live.dial() as peer:
            peer.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            wait_until(lambda: live.context.inside)
            live.server.stop()
            assert everything(peer) == b""

    def test_stop_is_harmless_twice_and_before_start(self) -> None:
        server = HttpServer(("127.0.0.1", 0), ROUTER, Context(), name="test")
        server.stop()
        server.stop()

    def test_a_port_can_be_taken_again_at_once(self) -> None:
        with serving() as live, live.dial() as peer:
            peer.sendall(b"GET /echo/x HTTP/1.1\r\n\r\n")
            assert peer.recv(10000)
            live.server.stop()
            again = HttpServer(("127.0.0.1", live.server.port), ROUTER, Context(), name="test")
            again.stop()


class TestAddresses:
    def test_a_taken_port_is_named(self, live: Live) -> None:
        with pytest.raises(UsageError, match=f"host cannot listen .* port {live.server.port}") as e:
            HttpServer(("127.0.0.1", live.server.port), ROUTER, Context(), name="host")
        assert "Is host running already?" in e.value.hint

    @pytest.mark.parametrize(
        ("address", "cause"),
        [
            (("203.0.113.7", 0), "not an address of this machine"),
            (("no.such.name.invalid", 0), "name is not known"),
            (("127.0.0.1", 70000), "no such port"),
        ],
    )
    def test_an_impossible_address_is_explained(self, address: tuple[str, int], cause: str) -> None:
        with pytest.raises(UsageError, match=cause):
            HttpServer(address, ROUTER, Context(), name="host")

    @pytest.mark.parametrize("address", ["::1", "[::1]"])
    def test_ipv6_works(self, address: str) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        server = HttpServer((address, 0), ROUTER, Context(), name="test")
        server.start()
        try:
            connection = http.client.HTTPConnection("::1", server.port, timeout=10)
            connection.request("GET", "/echo/x")
            assert json.loads(connection.getresponse().read())["peer"] == "::1"
            connection.close()
        finally:
            server.stop()


GARBAGE = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [
                b"GET /echo/x HTTP/1.1\r\n",
                b"POST /echo/x HTTP/1.1\r\n",
                b"POST /echo/x HTTP/1.0\r\n",
                b"Content-Length: 5\r\n",
                b"Content-Length: 0\r\n",
                b"Content-Length: 99\r\n",
                b"Content-Length: x\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Expect: 100-continue\r\n",
                b"Connection: keep-alive\r\n",
                b": \r\n",
                b"From x\r\n",
                b" folded\r\n",
                b"\r\n",
                b"\n",
                b"\r",
                b"\x00\x1b[2J\xff\x85",
                b"hello",
                b"{}",
            ]
        ),
        max_size=8,
    ).map(b"".join),
)


class TestGarbage:
    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(sent=GARBAGE, cut=st.integers(0, 300), abort=st.booleans())
    def test_no_bytes_stop_the_server_or_bring_a_crash(
        self, live: Live, caplog: pytest.LogCaptureFixture, sent: bytes, cut: int, abort: bool
    ) -> None:
        with live.dial() as peer:
            peer.sendall(sent[:cut])
            if not abort:
                peer.shutdown(socket.SHUT_WR)
                answer = everything(peer)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
                assert b"HTTP/1.1 5" not in answer.replace(b"HTTP/1.1 505", b"")
                assert not any(byte < 32 and byte not in b"\r\n" for byte in answer)
        live.assert_well()
        assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []

    def test_nothing_from_a_peer_reaches_the_log_raw(
        self, live: Live, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            live.raw(b"GET /\x1b[2J\x07 HTTP/1.1\r\nConnection: close\r\n\r\n")
            live.raw(b"\x1b[2J\x07 \r\n\r\n")
            wait_until(lambda: caplog.messages, message="the log tells of it")
        assert all(message.isprintable() for message in caplog.messages)


def test_many_at_once_are_all_answered() -> None:
    with serving() as live:
        results: list[int] = []

        def ask() -> None:
            results.extend(live.ask("POST", "/echo/x", b"x" * 5000)[0] for _ in range(5))

        run_all([ask] * 40)
        assert results == [200] * 200


def run_all(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
