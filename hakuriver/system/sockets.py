"""Small things about sockets that more than one module needs."""

from __future__ import annotations

import socket
from contextlib import suppress


def send_at_once(connection: socket.socket) -> None:
    """Do not wait for more to send, where it is TCP: behind TLS we hold one end of a pair."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
