"""One connection of a server: bounds on everything a peer can send, and one error shape."""

from __future__ import annotations

import io
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from hakuriver.model.errors import BadRequest, HakuRiverError, Internal, TooLarge
from hakuriver.system.plain import plain
from hakuriver.system.router import Request, Response, Switched, decode_path, decode_query

_LOG = logging.getLogger(__name__)
LINGER_SECONDS = 2.0
Respond = Callable[[str, Request], Response]
"""(path as it was sent, request without params) -> response, or HakuRiverError."""


Guard = Callable[[str, str, Mapping[str, str], str], bool]
"""(method, path as it was sent, headers, address) -> whether the caller has shown who it is.

Raises HakuRiverError for a request that is not to be answered.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may use up. Sizes in bytes.

    stranger_bytes is for the body of somebody who has shown no token, where none is needed.
    head_bytes counts the request line and all headers, of which there may be 100.
    request_seconds run from the first byte of a request to its last, however they drip in;
    a handler's own time, as in a long poll, is not limited. send_seconds is how long a peer may
    take none of an answer. stop_seconds is what stop() gives to running requests.
    """

    body_bytes: int = 16 << 20
    stranger_bytes: int = 4 << 10
    head_bytes: int = 64 << 10
    request_seconds: float = 30
    idle_seconds: float = 75
    send_seconds: float = 60
    stop_seconds: float = 2
    connections: int = 256


class Owner(Protocol):
    """What a connection needs of its server."""

    respond: Respond
    guard: Guard
    limits: Limits
    stopping: bool

    def mark(self, request: socket.socket, *, busy: bool, seconds: float | None = None) -> bool:
        """Note that a connection waits, receives (for at most so many seconds) or answers.

        False if it should not go on, as the server stops.
        """

    def mark_apart(self, request: socket.socket) -> None:
        """It does not count towards the bound on connections any more."""

    def mark_known(self, request: socket.socket) -> None:
        """It has shown who it is, and keeps its place."""


def cut(request: socket.socket) -> None:
    """End a connection that another thread is reading or writing; that one closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _LengthRequired(BadRequest):
    http_status = 411


class _HeadReader:
    """Stands in for the connection while a head is read: bounds all its lines together."""

    def __init__(self, file: io.BufferedReader, left: int) -> None:
        self._file = file
        self._left = left

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(min(limit, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("head")
        if not line.endswith(b"\n") and len(line) < limit:
            # http.server takes the end of the connection for the end of the head.
            raise ConnectionResetError("the connection ended inside a head")
        return line


class Connection(BaseHTTPRequestHandler):
    """One connection. Each request: receive all of it, ask the router, answer in one write."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    @property
    def _owner(self) -> Owner:
        return cast(Owner, self.server)

    def handle_one_request(self) -> None:
        limits = self._owner.limits
        self.close_connection = True
        reader = cast(io.BufferedReader, self.rfile)
        try:
            if not self._owner.mark(self.connection, busy=False):
                return
            self.connection.settimeout(limits.idle_seconds)
            if not reader.peek(1):
                return
            self._owner.mark(self.connection, busy=True, seconds=limits.request_seconds)
            self.connection.settimeout(limits.request_seconds)
            if not self._receive_head(reader):
                self._linger()
            else:
                self._receive_and_answer(reader)
        except OSError as error:
            self.close_connection = True
            _LOG.debug("connection of %s broke: %s", self.client_address[0], error)
            cut(self.connection)

    def _receive_head(self, reader: io.BufferedReader) -> bool:
        """Read request line and headers; False if they are wrong, which is then answered."""
        limit = self._owner.limits.head_bytes
        self.command, self.requestline, self.request_version = "", "", self.protocol_version
        self.raw_requestline = reader.readline(limit + 1)
        if len(self.raw_requestline) > limit:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            return False
        if not self.raw_requestline.endswith(b"\n"):
            raise ConnectionResetError("the connection ended inside a request line")
        self.rfile = cast(Any, _HeadReader(reader, limit - len(self.raw_requestline)))
        try:
            if not self.parse_request():
                return False
        finally:
            self.rfile = cast(Any, reader)
        if self.headers.defects:
            # What follows a malformed line would silently be no header.
            self.close_connection = True
            self.send_error(HTTPStatus.BAD_REQUEST, "a header is malformed")
            return False
        return True

    def _receive_and_answer(self, reader: io.BufferedReader) -> None:
        keep, self.close_connection = not self.close_connection, True
        headers = {name.lower(): "" for name in self.headers}
        for name in headers:
            headers[name] = ", ".join(self.headers.get_all(name, ()))
        try:
            length = self._body_length()
            path = self.path.partition("?")[0]
            known = self._owner.guard(self.command, path, headers, self.client_address[0])
            if known:
                self._owner.mark_known(self.connection)
            limits = self._owner.limits
            most = limits.body_bytes if known else limits.stranger_bytes
            if length > most:
                raise TooLarge(f"the body has more than {most} bytes")
        except HakuRiverError as error:
            self._send(Response.error(error))
            self._linger()
            return
        if headers.get("expect", "").lower() == "100-continue" and length:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        body = reader.read(length)
        if len(body) < length:
            raise ConnectionResetError("the connection ended inside a body")
        self._owner.mark(self.connection, busy=True)
        response = self._respond(headers, body)
        self.close_connection = not keep
        if response.switched is not None and self.command != "HEAD":
            self._switch(response.switched, response, reader)
        else:
            self._send(response)

    def _switch(self, switched: Switched, response: Response, reader: io.BufferedReader) -> None:
        """Hand the connection over; it does not come back."""
        self.close_connection = True
        # Not busy: a server that stops does not wait for it.
        self._owner.mark(self.connection, busy=False)
        if response.is_stream:
            self._owner.mark_apart(self.connection)
        _LOG.debug("%s %s %d", self.address_string(), plain(self.requestline), response.status)
        first = b""
        # If the peer is gone already, whoever takes over notices, and ends what was begun for it.
        with suppress(OSError):
            self.wfile.write(encode(response, close=response.is_stream))
            self.wfile.flush()
            # What the peer has sent already may be in our buffer: whoever goes on gets it first.
            self.connection.settimeout(0)
            waiting = len(reader.peek(1))
            first = reader.read1(waiting) if waiting else b""
        switched(self.connection, first)

    def handle_expect_100(self) -> bool:
        """Nothing yet: the body is asked for only once it is known to be welcome."""
        return True

    def _body_length(self) -> int:
        if "transfer-encoding" in self.headers:
            raise _LengthRequired(
                "a body with a Transfer-Encoding is not accepted", "Send a Content-Length."
            )
        values = self.headers.get_all("content-length", ["0"])
        text = values[0].strip()
        if len(values) > 1 or not (text.isascii() and text.isdigit()):
            raise BadRequest("the Content-Length is not one whole number")
        # Its length is bounded before it is converted; as a size it would be refused anyway.
        return int(text) if len(text) < 20 else sys.maxsize

    def _respond(self, headers: Mapping[str, str], body: bytes) -> Response:
        try:
            path, query = _split(self.path)
            request = Request(
                method=self.command,
                path="/".join(decode_path(path)),
                params={},
                query=decode_query(query),
                headers=headers,
                body=body,
                peer=self.client_address[0],
            )
            return self._owner.respond(path, request)
        except HakuRiverError as error:
            return Response.error(error)
        except Exception:  # the outer edge of a request: the peer gets an answer, the log the cause
            _LOG.exception("failed to answer: %s", plain(self.requestline[:1000]))
            return Response.error(
                Internal("the request could not be answered", "The log of the server says why.")
            )

    def _send(self, response: Response) -> None:
        """Send head and body together; sets close_connection when nothing can follow."""
        self.connection.settimeout(self._owner.limits.send_seconds)
        self.close_connection = self.close_connection or self._owner.stopping
        _LOG.debug("%s %s %d", self.address_string(), plain(self.requestline), response.status)
        with_body = self.command != "HEAD"
        data = encode(response, close=self.close_connection, with_body=with_body)
        try:
            self.wfile.write(data)
            if not isinstance(response.body, bytes) and with_body:
                self._send_pieces(response.body, response.length or 0)
            self.wfile.flush()
        finally:
            close = getattr(response.body, "close", None)
            if close is not None:
                close()

    def _send_pieces(self, pieces: Iterator[bytes], left: int) -> None:
        try:
            for piece in pieces:
                left -= len(piece)
                if left < 0:
                    break
                self.wfile.write(piece)
        except OSError:
            raise
        except Exception:  # the outer edge of a request: the head is out, so only the end can tell
            _LOG.exception("failed to answer to the end: %s", plain(self.requestline[:1000]))
        if left:
            self.close_connection = True
            raise ConnectionAbortedError("the answer has not the length that was announced")

    def _linger(self) -> None:
        """Read on a little before closing.

        Closing with bytes unread resets the connection, and the peer might never see our answer.
        """
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)
        self._owner.mark(self.connection, busy=False, seconds=LINGER_SECONDS)
        self.connection.settimeout(LINGER_SECONDS)
        while self.connection.recv(1 << 16):
            pass

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,
    ) -> None:
        """What http.server finds wrong with a request, in our shape."""
        large = code in (413, 414, 431)
        kind = TooLarge if large else BadRequest
        text = "the head of the request is too large" if large else message
        detail = plain(text or HTTPStatus(code).phrase)[:300]
        self.close_connection = True
        self._send(replace(Response.error(kind(detail)), status=int(code)))


class SecuredConnection(Connection):
    """Behind TLS, where what we hold is no TCP connection."""

    disable_nagle_algorithm = False


def _split(target: str) -> tuple[str, str]:
    """Path and query of a request target, which http.server reads as latin-1."""
    try:
        target = target.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not UTF-8") from error
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise BadRequest("the path does not begin with a slash") from error
        if parts.scheme not in ("http", "https"):
            raise BadRequest("the path does not begin with a slash")
        return parts.path or "/", parts.query
    path, _, query = target.partition("?")
    return path, query


_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
"""What keeps browsers from doing more with an answer than to show it; pages bring their own policy."""


_WITHOUT_BODY = (HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
"""A length of 0 would be one that a cache takes for that of what it has kept."""


def encode(response: Response, *, close: bool, with_body: bool = True) -> bytes:
    """Head and, if it is bytes, body."""
    body = response.body if isinstance(response.body, bytes) else b""
    length = len(response.body) if isinstance(response.body, bytes) else response.length
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    given = {name for name, _ in response.headers}
    about_body = [f"Content-Type: {response.content_type}"]
    if response.switched is None:
        about_body.append(f"Content-Length: {length}")
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"Date: {formatdate(usegmt=True)}",
        *([] if response.status in _WITHOUT_BODY else about_body),
        *(f"{name}: {value}" for name, value in response.headers),
        *(f"{name}: {value}" for name, value in _ALWAYS if name not in given),
        *(["Connection: close"] if close else []),
    ]
    # plain(): a line break inside a value would begin a header that nobody meant.
    head = "\r\n".join(map(plain, lines)) + "\r\n\r\n"
    return head.encode("latin-1", "replace") + (body if with_body else b"")
