"""The client side: one keep-alive connection, and failures in plain words."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from hakuriver.model.errors import HakuRiverError, Unreachable, UsageError, error_from_json
from hakuriver.system.plain import plain

_CONNECT_SECONDS = 10.0
_ERROR_BYTES = 1 << 16
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of any status. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's JSON value; Internal if it is none, as then the peer is not HakuRiver."""
        try:
            return json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError):
            raise error_from_json(self.status, None) from None


class _NoAnswer(Exception):
    """The peer ended a connection that it had kept open, before the first byte of an answer."""


class HttpClient:
    """One keep-alive connection to http(s)://HOST:PORT, without proxies or redirects.

    A lock makes requests of several threads follow each other: a long poll holds up the others,
    so give each thread a client of its own. close() may be called by any thread, ends a running
    request, and leaves the client usable. Failures are Unreachable, with `hint` as their hint.
    user is who the peer is told to be asked by, ca the file of the authorities that are trusted.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str = "",
        user: str = "",
        ca: str = "",
        timeout: float = 30,
        hint: str = "",
    ) -> None:
        self._secure, self._host, self._port = _parse(base_url)
        self._ca = ca
        self._url = base_url.rstrip("/")
        self._token = token
        self._user = user
        self._timeout = timeout
        self._hint = hint
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._closed = 0  # how many times

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        headers: Mapping[str, str] = _NONE,
        timeout: float | None = None,
        retry: bool | None = None,
    ) -> Reply:
        """Ask, and return the answer whatever its status; body is sent as JSON.

        timeout, in seconds, is for each wait on the peer; connecting has 10 s at most.
        retry says that it does no harm if the request arrives twice (None: if it is a GET): then
        it is sent again, once, if the peer closed the kept connection without a word.
        Unreachable.refused is True only if the request certainly did not arrive.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode("ascii")
        sent = self._headers(headers, data)
        seconds = self._timeout if timeout is None else timeout
        may_retry = method == "GET" if retry is None else retry
        path = self._checked(path)
        with self._lock:
            closed = self._closed
            try:
                return self._exchange(method, path, data, sent, seconds)
            except _NoAnswer as error:
                if not may_retry or closed != self._closed:
                    raise self._broken(path) from error
            try:
                return self._exchange(method, path, data, sent, seconds)
            except Unreachable as error:
                # The first try may have arrived, whatever became of the second.
                raise Unreachable(error.detail, error.hint) from error

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        headers: Mapping[str, str] = _NONE,
        timeout: float | None = None,
        retry: bool | None = None,
    ) -> Any:
        """As request(), but returns the JSON value and raises the error that the peer sent."""
        reply = self.request(method, path, body=body, headers=headers, timeout=timeout, retry=retry)
        if reply.status >= 400:
            raise error_from_json(reply.status, reply.json())
        return reply.json()

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = _NONE,
        timeout: float | None = None,
    ) -> Iterator[Stream]:
        """As request(), on a connection of its own, with the body still to be read."""
        seconds = self._timeout if timeout is None else timeout
        path = self._checked(path)
        connection = self._connect(path, seconds)
        try:
            with self._plain_words(path, seconds):
                connection.request(method, path, headers=self._headers(headers, None))
                response = _begin(connection)
            yield Stream(self, path, seconds, response)
        finally:
            connection.close()

    def upgrade(self, path: str, protocol: str) -> tuple[socket.socket, bytes]:
        """A connection of its own that speaks another protocol, and the bytes of that which came
        already. Raises Unreachable, or the error that the peer sent."""
        path = self._checked(path)
        connection = self._connect(path, self._timeout)
        try:
            with self._plain_words(path, self._timeout):
                headers = {"Upgrade": protocol, "Connection": "Upgrade"}
                connection.request("GET", path, headers=self._headers(headers, None))
                response = connection.getresponse()
                if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
                    body = response.read(_ERROR_BYTES)
                    raise error_from_json(response.status, _json_or_none(body))
                assert response.fp is not None
                connection.sock.settimeout(0)
                waiting = len(response.fp.peek(1))
                first = response.fp.read1(waiting) if waiting else b""
                return connection.sock.dup(), first
        finally:
            connection.close()

    def close(self) -> None:
        """Drop the connection; a request that runs in another thread fails as Unreachable."""
        self._closed += 1
        connection = self._connection
        # A thread that holds the lock closes it itself, as soon as this has woken it up.
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, Any], seconds: float
    ) -> Reply:
        """One try. _NoAnswer only from a connection that had served before."""
        closed = self._closed
        reused = self._still_open()
        if self._connection is None:
            self._connection = self._connect(path, seconds)
        done = False
        try:
            with self._plain_words(path, seconds):
                if closed != self._closed:
                    raise ConnectionAbortedError
                self._connection.sock.settimeout(seconds)
                answering = self._send(self._connection, method, path, data, headers)
                if not answering and reused:
                    raise _NoAnswer
                response = _begin(self._connection)
                reply = Reply(response.status, _lower(response), response.read())
            done = not response.will_close
            return reply
        finally:
            if not done:
                self._drop()

    def _send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        headers: dict[str, Any],
    ) -> bool:
        """Send the request; whether an answer has begun to come in."""
        # A peer that refuses a body early answers and closes while we are still sending.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body=data, headers=headers)
        try:
            return connection.sock.recv(1, socket.MSG_PEEK) != b""
        except (BrokenPipeError, ConnectionResetError):
            return False

    def _still_open(self) -> bool:
        """Whether there is a kept connection; one that the peer closed meanwhile is dropped."""
        if self._connection is None:
            return False
        try:
            self._connection.sock.settimeout(0)
            self._connection.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        self._drop()
        return False

    def _connect(self, path: str, seconds: float) -> HTTPConnection:
        """A connection; http.client sets TCP_NODELAY on it."""
        limit = min(seconds, _CONNECT_SECONDS)
        connection = HTTPConnection(self._host, self._port, timeout=limit)
        try:
            connection.connect()
        except ConnectionRefusedError as error:
            raise self._unreachable(path, "connection refused", refused=True) from error
        except socket.gaierror as error:
            raise self._unreachable(path, f"the name {self._host} is not known") from error
        except TimeoutError as error:
            raise self._unreachable(path, f"timed out after {limit:g} s") from error
        except (OSError, UnicodeError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            raise self._unreachable(path, cause[:1].lower() + cause[1:]) from error
        if self._secure:
            self._secure_it(connection, path)
        connection.sock.settimeout(seconds)
        return connection

    def _secure_it(self, connection: HTTPConnection, path: str) -> None:
        from hakuriver.system import tls

        try:
            connection.sock = tls.connected(connection.sock, self._ca, self._host)
        except OSError as error:
            connection.close()
            raise self._unreachable(path, tls.why(error, self._host)) from error
        except HakuRiverError:
            connection.close()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _headers(self, headers: Mapping[str, str], data: bytes | None) -> dict[str, Any]:
        result: dict[str, Any] = {name: value.encode("utf-8") for name, value in headers.items()}
        if data is not None:
            result["Content-Type"] = "application/json"
        if self._user:
            result["X-HakuRiver-User"] = quote(self._user).encode("ascii")
        if self._token:
            result["Authorization"] = b"Bearer " + self._token.encode("utf-8", "surrogateescape")
        return result

    def _checked(self, path: str) -> str:
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
            raise UsageError(f"'{plain(path)}' is not a path that can be asked for")
        return path

    @contextmanager
    def _plain_words(self, path: str, seconds: float) -> Iterator[None]:
        """Make Unreachable of what goes wrong once there is a connection."""
        try:
            yield
        except TimeoutError as error:
            raise self._unreachable(path, f"timed out after {seconds:g} s") from error
        except OSError as error:
            raise self._broken(path) from error
        except HTTPException as error:
            cause = "connection broken, or the answer is not HTTP"
            raise self._unreachable(path, cause) from error

    def _broken(self, path: str) -> Unreachable:
        return self._unreachable(path, "connection broken")

    def _unreachable(self, path: str, cause: str, *, refused: bool = False) -> Unreachable:
        url = self._url + path.partition("?")[0]
        return Unreachable(f"{url}: {plain(cause)}", self._hint, refused=refused)


class Stream:
    """An answer whose body is read in pieces. Header names are lower-case."""

    def __init__(
        self, client: HttpClient, path: str, seconds: float, response: HTTPResponse
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = _lower(response)
        self._response = response
        self._left = response.length
        self._failing: Callable[[], AbstractContextManager[None]] = partial(
            client._plain_words, path, seconds
        )

    def read(self, size: int) -> bytes:
        """The next `size` bytes of the body: fewer only at its end. Unreachable if it breaks off."""
        with self._failing():
            piece = self._response.read(size)
            if self._left is not None:
                self._left -= len(piece)
                if len(piece) < size and self._left > 0:
                    raise ConnectionAbortedError
            return piece


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _begin(connection: HTTPConnection) -> HTTPResponse:
    response = connection.getresponse()
    if response.length is None and not response.chunked:
        # Neither its end could be told from a broken connection, nor that of its head, which
        # http.client takes for complete wherever it ends. Our servers always give a length.
        response.close()
        raise ConnectionAbortedError("an answer without a length")
    return response


def _lower(response: HTTPResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _parse(base_url: str) -> tuple[bool, str, int]:
    """Whether it is https, host and port of http(s)://host:port."""
    wrong = UsageError(
        f"'{plain(base_url)}' is not the address of a HakuRiver server",
        "It has to look like http://HOST:PORT.",
    )
    if not base_url.isprintable() or " " in base_url:
        raise wrong
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    more = parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not host or not port or more:
        raise wrong
    return parts.scheme == "https", host, port
