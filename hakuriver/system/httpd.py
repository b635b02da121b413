"""The HTTP server: who is connected, and for how long. What they say: http_connection.py."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Generic

from hakuriver.model.errors import BadRequest, HakuRiverError, Unauthorized, Unavailable, UsageError
from hakuriver.system.auth import admit, offers_token
from hakuriver.system.http_connection import (
    LINGER_SECONDS,
    Connection,
    Guard,
    Limits,
    Respond,
    SecuredConnection,
    cut,
    encode,
)
from hakuriver.system.plain import plain
from hakuriver.system.router import C, Request, Response, Router
from hakuriver.system.strangers import Strangers

if TYPE_CHECKING:  # It costs a tenth of a start, and few need it.
    import ssl

__all__ = ["HttpServer", "Limits"]

_LOG = logging.getLogger(__name__)
_DEFAULTS = Limits()
_POLL_SECONDS = 0.1
_TURNED_AWAY_AT_ONCE = 64


class HttpServer(Generic[C]):
    """Serves the routes of a router on one address, in threads.

    Raises UsageError when the address cannot be listened on. Port 0 takes a free one; an IPv6
    address comes with or without brackets. With a token, every request needs it, or the cookie of
    a session that `sessions` is the key of, but for those of open routes; without one, names are
    those that we may be called by, besides addresses.
    """

    def __init__(
        self,
        address: tuple[str, int],
        router: Router[C],
        context: C,
        *,
        token: str = "",
        sessions: str = "",
        names: Collection[str] = (),
        strangers: Strangers | None = None,
        tls: ssl.SSLContext | None = None,
        limits: Limits = _DEFAULTS,
        name: str,
    ) -> None:
        known = strangers or Strangers()
        our_names = {each.lower() for each in names}

        def guard(method: str, path: str, headers: Mapping[str, str], peer: str) -> bool:
            is_open = router.is_open(method, path)
            try:
                admit(
                    headers,
                    token,
                    sessions=sessions,
                    method=method,
                    now=time.time(),
                    names=our_names,
                )
                return True
            except HakuRiverError as error:
                if is_open and token:
                    return False
                if isinstance(error, Unauthorized) and offers_token(headers):
                    known.wrong_token(peer)
                raise

        def respond(path: str, request: Request) -> Response:
            route, params = router.match(request.method, path)
            return route.handler(replace(request, params=params), context)

        try:
            self._server = _Server(address, respond, guard, limits, tls)
        except (OSError, OverflowError, UnicodeError) as error:
            raise _cannot_listen(name, address, error) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _POLL_SECONDS},
            name=f"{name}-http",
            daemon=True,
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Accept no more, let running requests finish for stop_seconds, then cut all off."""
        # First, so that answers say that the connection ends.
        self._server.stopping = True
        # shutdown() waits for serve_forever(), which has to have been called.
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()


def _cannot_listen(name: str, address: tuple[str, int], error: Exception) -> UsageError:
    host, port = plain(address[0]), address[1]
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return UsageError(
            f"{name} cannot listen on {host} port {port}: another program uses this port",
            f"Is {name} running already? Stop the other program, or set another port in the "
            "section [network] of the config file.",
        )
    hint = "Set an address of this machine (`ip address` lists them), such as 127.0.0.1."
    if number == errno.EADDRNOTAVAIL:
        cause = "it is not an address of this machine"
    elif isinstance(error, (socket.gaierror, UnicodeError)):
        cause = "this name is not known"
    elif isinstance(error, OverflowError):
        cause, hint = "there is no such port", "Ports go from 1 to 65535."
    else:
        cause = getattr(error, "strerror", None) or str(error)
        hint = "Ports below 1024 are for root." if number == errno.EACCES else ""
    return UsageError(f"{name} cannot listen on {host} port {port}: {cause}", hint)


@dataclass(slots=True)
class _Life:
    """deadline is when the request that is coming in has to be complete, if one is.

    known: it has shown who it is. apart: it has a bound of its own.
    """

    busy: bool = True
    deadline: float | None = None
    known: bool = False
    apart: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    # Newer Pythons set this, and then a second server on the port would take half the requests.
    allow_reuse_port = False

    def __init__(
        self,
        address: tuple[str, int],
        respond: Respond,
        guard: Guard,
        limits: Limits,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._tls = tls
        self.respond = respond
        self.guard = guard
        self.limits = limits
        self._changed = threading.Condition()
        self._connections: dict[socket.socket, _Life] = {}
        self.stopping = False
        self._turned_away: deque[tuple[float, socket.socket]] = deque()
        found = socket.getaddrinfo(
            address[0].strip("[]") or "0.0.0.0", None, type=socket.SOCK_STREAM
        )
        # localhost is both: clients that know only one of them know IPv4.
        self.address_family, *_, sockaddr = min(found, key=lambda f: f[0] != socket.AF_INET)
        handler = Connection if tls is None else SecuredConnection
        super().__init__((sockaddr[0], address[1], *sockaddr[2:]), handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: that one asks the name service who we are, which can take seconds.
        TCPServer.server_bind(self)

    # --- connections: in the accepting thread, but for shutdown_request

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            counted = sum(not life.apart for life in self._connections.values())
            full = counted >= self.limits.connections and not self._make_room()
            if not full:
                self._connections[request] = _Life()
        if full:
            self._turn_away(request)
        else:
            super().process_request(request, client_address)

    def _make_room(self) -> bool:
        """Take the place of the oldest stranger, whatever it is about; under the lock.

        Without it, whoever opens some hundred connections and says nothing, or takes no answer,
        keeps everybody out. Those who have something to show do it at once, while others are older.
        """
        for request, life in self._connections.items():
            if not life.known:
                del self._connections[request]
                cut(request)
                return True
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: a slow handshake holds up nobody."""
        if self._tls is not None:
            secured = self._secured(request)
            if secured is None:
                self.shutdown_request(request)
                return
            request = secured
        super().process_request_thread(request, client_address)

    def _secured(self, request: socket.socket) -> socket.socket | None:
        """The plain end that takes the connection's place; None if it did not come to that."""
        from hakuriver.system import tls

        assert self._tls is not None
        self.mark(request, busy=False, seconds=tls.HANDSHAKE_SECONDS)
        try:
            request.settimeout(tls.HANDSHAKE_SECONDS)
            # TLS takes the socket that it gets; by ours the connection can still be cut.
            with request.dup() as given:
                secured = tls.accepted(given, self._tls)
        except tls.NotTls:
            error = BadRequest("this port speaks TLS", "Use https:// and set network.tls_ca.")
            with suppress(OSError):
                request.sendall(encode(Response.error(error), close=True))
            return None
        except OSError as error:
            _LOG.debug("a TLS handshake failed: %s", error)
            return None
        with self._changed:
            life = self._connections.pop(request, None)
            if life is not None:
                self._connections[secured] = life
        request.close()
        if life is None:
            # It gave way meanwhile.
            secured.close()
            return None
        return secured

    def _turn_away(self, request: socket.socket) -> None:
        error = Unavailable("too many connections", "Ask again in a few seconds.")
        with suppress(OSError):
            request.setblocking(False)
            request.send(encode(Response.error(error), close=True))
            request.shutdown(socket.SHUT_WR)
        # Closed a little later: closing with the request unread resets the connection, and the
        # peer might never see the answer.
        self._turned_away.append((time.monotonic() + LINGER_SECONDS, request))
        if len(self._turned_away) > _TURNED_AWAY_AT_ONCE:
            self._turned_away.popleft()[1].close()

    def service_actions(self) -> None:
        now = time.monotonic()
        while self._turned_away and self._turned_away[0][0] <= now:
            self._turned_away.popleft()[1].close()
        with self._changed:
            for request, connection in self._connections.items():
                if connection.deadline is not None and connection.deadline <= now:
                    cut(request)

    def shutdown_request(self, request: Any) -> None:
        # Forgotten first: once it is closed, its number may be another connection's.
        with self._changed:
            self._connections.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Cut idle connections at once, and the others when they had their time."""
        with self._changed:
            for request, connection in self._connections.items():
                if not connection.busy:
                    cut(request)
            self._changed.wait_for(lambda: not self._connections, self.limits.stop_seconds)
            for request in self._connections:
                cut(request)
        while self._turned_away:
            self._turned_away.popleft()[1].close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            _LOG.debug("connection of %s broke: %s", client_address[0], error)
        else:
            _LOG.exception("connection of %s failed", client_address[0])

    # --- what handlers tell

    def mark(self, request: socket.socket, *, busy: bool, seconds: float | None = None) -> bool:
        """Note that a connection waits, receives (for at most so many seconds) or answers.

        False if it should not go on, as the server stops.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            life = self._connections.get(request)
            if life is None or (self.stopping and not busy):
                return False
            self._connections[request] = replace(life, busy=busy, deadline=deadline)
            return True

    def mark_apart(self, request: socket.socket) -> None:
        """It does not count towards the bound on connections any more."""
        with self._changed:
            life = self._connections.get(request)
            if life is not None:
                life.apart = True

    def mark_known(self, request: socket.socket) -> None:
        """It has shown who it is, and keeps its place."""
        with self._changed:
            life = self._connections.get(request)
            if life is not None:
                life.known = True
