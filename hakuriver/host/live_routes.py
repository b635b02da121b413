"""What goes on, over HTTP: the history of charts, and the stream of events of a page."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from hakuriver.host.history import HOURS_MAX
from hakuriver.system.router import Request, Response

if TYPE_CHECKING:
    from hakuriver.host.routes import Desk

_HEARTBEAT_SECONDS = 15.0
_SEND_SECONDS = 20.0


def history(request: Request, desk: Desk) -> Response:
    hours = request.number("hours", 1, 0.01, HOURS_MAX)
    return Response.json(desk.history.columns(request.query.get("node", ""), hours))


def events(request: Request, desk: Desk) -> Response:
    if request.method == "HEAD":
        return Response(200, b"", content_type="text/event-stream")
    reader = desk.feed.attach()

    def stream(connection: socket.socket, first: bytes) -> None:
        connection.settimeout(_SEND_SECONDS)
        try:
            # A peer that is gone, or does not read, breaks the next write: heartbeats see to that.
            with contextlib.suppress(OSError):
                while (data := reader.next(_HEARTBEAT_SECONDS)) is not None:
                    connection.sendall(data or b": still here\n\n")
        finally:
            desk.feed.detach(reader)

    # For proxies in between that would rather collect an answer than pass it on.
    return Response.stream("text/event-stream", stream, (("X-Accel-Buffering", "no"),))
