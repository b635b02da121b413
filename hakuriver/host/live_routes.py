"""What goes on, over HTTP: the history of charts, and the stream of events of a page."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from hakuriver.host.history import HOURS_MAX
from hakuriver.host.readers import Reader
from hakuriver.system.router import Request, Response
from hakuriver.system.sockets import has_left

if TYPE_CHECKING:
    from hakuriver.host.routes import Desk

_HEARTBEAT_SECONDS = 15.0
_SEND_SECONDS = 20.0


def history(request: Request, desk: Desk) -> Response:
    hours = request.number("hours", 1, 0.01, HOURS_MAX)
    return Response.json(desk.history.columns(request.query.get("node", ""), hours))


def events(request: Request, desk: Desk) -> Response:
    # Only what is going to be read is begun.
    reader = Reader() if request.method == "HEAD" else desk.feed.attach()

    def stream(connection: socket.socket, first: bytes) -> None:
        try:
            # A peer that is gone, or does not read, breaks the next write.
            with contextlib.suppress(OSError):
                connection.settimeout(_SEND_SECONDS)
                while (data := reader.next(_HEARTBEAT_SECONDS)) is not None:
                    if has_left(connection):
                        break
                    connection.sendall(data or b": still here\n\n")
        finally:
            desk.feed.detach(reader)

    # For proxies in between that would rather collect an answer than pass it on.
    return Response.stream("text/event-stream", stream, (("X-Accel-Buffering", "no"),))
