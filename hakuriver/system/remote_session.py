"""A command on another machine as a session, over a connection of frames."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlencode

from hakuriver.model.errors import BadRequest
from hakuriver.system.bridge import PING_SECONDS, SILENCE_SECONDS, Stream
from hakuriver.system.frames import PROTOCOL, Decoder, Exit, Frame, Kind, Size
from hakuriver.system.httpc import HttpClient
from hakuriver.system.sockets import send_at_once

_CHUNK = 1 << 16
BROKEN = Exit(125, "the connection broke", "What ran there has been ended.")


class RemoteSession:
    """Opened by open_session(). exit() is BROKEN if the connection ended before the command did."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self._socket = connection
        self._decoder = Decoder()
        self._frames: deque[Frame] = deque(self._decoder.feed(first))
        self._exit: Exit | None = None
        self._writing = threading.Lock()
        self._over = threading.Event()
        connection.settimeout(None)
        silence = struct.pack("ll", int(SILENCE_SECONDS), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, silence)
        send_at_once(connection)
        threading.Thread(target=self._ping, name="session-ping", daemon=True).start()

    def read(self) -> tuple[Stream, bytes] | None:
        while (frame := self._next()) is not None:
            if frame.kind is Kind.STDOUT:
                return "stdout", frame.payload
            if frame.kind is Kind.STDERR:
                return "stderr", frame.payload
            if frame.kind is Kind.EXIT:
                self._exit = Exit.read(frame.payload)
                return None
        return None

    def _next(self) -> Frame | None:
        """None once the connection is of no use any more."""
        with contextlib.suppress(OSError, BadRequest):
            while not self._frames:
                data = self._socket.recv(_CHUNK)
                if not data:
                    return None
                self._frames.extend(self._decoder.feed(data))
            return self._frames.popleft()
        return None

    def exit(self) -> Exit:
        return self._exit or BROKEN

    def write(self, data: bytes) -> None:
        for place in range(0, len(data), _CHUNK):
            self._send(Frame(Kind.STDIN, data[place : place + _CHUNK]))

    def close_input(self) -> None:
        self._send(Frame(Kind.END))

    def resize(self, size: Size) -> None:
        self._send(size.frame())

    def hang_up(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            if self._exit is None:
                # A reset, since an ordinary end would wait behind what the peer does not read.
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._writing:
            self._socket.close()

    def _send(self, frame: Frame) -> None:
        with self._writing, contextlib.suppress(OSError):
            self._socket.sendall(frame.encode())

    def _ping(self) -> None:
        while not self._over.wait(PING_SECONDS):
            self._send(Frame(Kind.PING))


def open_session(
    http: HttpClient, path: str, *, size: Size | None, fields: Mapping[str, str | list[str]]
) -> RemoteSession:
    """Ask for a session; size None: without a terminal. Raises HakuRiverError."""
    query: dict[str, str | list[str]] = {**fields}
    if size is not None:
        query |= {"rows": str(size.rows), "cols": str(size.columns)}
    text = urlencode(query, doseq=True, errors="surrogateescape")
    return RemoteSession(*http.upgrade(f"{path}?{text}" if text else path, PROTOCOL))
