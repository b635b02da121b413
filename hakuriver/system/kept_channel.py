"""A page that may lose its connection and find its command again, in WebSocket messages."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from hakuriver.system import websocket
from hakuriver.system.bridge import End, Event, Seen, WebSocketChannel
from hakuriver.system.websocket import Code, Opcode

_ASK_BYTES = 1 << 16
_DIGITS_MAX = 19


class KeptChannel(WebSocketChannel):
    """As its base, and besides: {"type": "session", "session": …, "at": N} goes out first, "at" with
    each output, {"type": "notice", "data": …} and {"type": "gone"}; {"type": "close"} comes in.

    A ping carries the position up to which output was sent. Every WebSocket peer answers with the same
    bytes, after it got all that was sent before: so we know what has arrived.
    """

    def __init__(self, connection: socket.socket, first: bytes = b"") -> None:
        super().__init__(connection, first)
        self._at = 0
        self._asked = 0

    def begin(self, session: str, at: int) -> None:
        """Output goes on from that position. Raises OSError, as all that sends."""
        self._at = self._asked = at
        self._tell({"type": "session", "session": session, "at": at})

    def output_until(self, data: bytes, end: int) -> None:
        """The next output; end is the position after it."""
        text = self._text.decode(data)
        if not text:
            return
        # A character that is not whole yet counts as not sent: who goes on at "at" gets all of it.
        at = end - len(self._text.getstate()[0])
        self._tell({"type": "output", "data": text, "at": at})
        self._at = at
        if at - self._asked >= _ASK_BYTES:
            self._asked = at
            self.ping()

    def ping(self) -> None:
        if self._closed:
            return  # Nothing may follow the last message.
        self._connection.send(websocket.encode(Opcode.PING, str(self._at).encode()))

    def _answered(self, data: bytes) -> Iterator[Event]:
        if data.isdigit() and len(data) <= _DIGITS_MAX:
            yield Seen(int(data))

    def _read(self, document: Any) -> Event | None:
        return End() if document["type"] == "close" else super()._read(document)

    def notice(self, text: str) -> None:
        self._tell({"type": "notice", "data": text})

    def nothing_here(self) -> None:
        """There is no such session, or not any more."""
        with contextlib.suppress(OSError):
            self._tell({"type": "gone"})
            self.close(Code.POLICY, "this shell is gone")
        self.see_off()
