"""Small things about sockets that more than one module needs."""

from __future__ import annotations

import select
import socket
from contextlib import suppress


def send_at_once(connection: socket.socket) -> None:
    """Do not wait for more to send, where it is TCP: behind TLS we hold one end of a pair."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def has_left(connection: socket.socket, seconds: float = 0) -> bool:
    """Whether the peer has closed its side, waiting for that for a while. Raises OSError.

    Also with bytes that nobody has read yet in front of the end.
    """
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(1000 * seconds))
