"""WebSockets as clients have them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from tests.support.cluster import Cluster
from tests.system.test_websocket import masked


class WebSocket:
    """Just enough of a client to be a browser, or the first HakuRiver's docker-shell."""

    def __init__(self, cluster: Cluster, path: str, headers: dict[str, str] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", cluster.port), timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = {
            "Host": f"127.0.0.1:{cluster.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more()
        answer, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.status = int(answer.split()[1])
        self.head = answer
        self.text = ""
        self.close_code: int | None = None
        self.reason = ""

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        assert data, "the connection ended"
        return data

    def say(self, **message: Any) -> None:
        self.socket.sendall(masked(0x81, json.dumps(message).encode()))

    def frame(self) -> tuple[int, bytes]:
        def take(count: int) -> bytes:
            while len(self._buffer) < count:
                self._buffer += self._more()
            taken, self._buffer = self._buffer[:count], self._buffer[count:]
            return taken

        first, length = take(2)
        if length == 126:
            (length,) = struct.unpack(">H", take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", take(8))
        return first & 0x0F, take(length)

    def read(self, until: Callable[[str], bool] = lambda text: False) -> str:
        """All text so far, once it is enough or the connection is closed."""
        while not until(self.text):
            opcode, data = self.frame()
            if opcode == 8:
                (self.close_code,) = struct.unpack(">H", data[:2])
                break
            if opcode == 1:
                message = json.loads(data)
                assert message["type"] in ("output", "error")
                self.text += message["data"]
        return self.text


class Page(WebSocket):
    """A browser's page, which answers pings and knows up to where it has the output."""

    def __init__(self, cluster: Cluster, path: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(cluster, path, headers)
        self.messages: list[dict[str, Any]] = []
        self.session = ""
        self.at = 0

    def message(self) -> dict[str, Any] | None:
        """The next one, None once the connection is closed."""
        while True:
            opcode, data = self.frame()
            if opcode == 8:
                (self.close_code,) = struct.unpack(">H", data[:2])
                self.reason = data[2:].decode()
                # It may have been closed already.
                with contextlib.suppress(OSError):
                    self.socket.sendall(masked(0x88, data))
                return None
            if opcode == 9:
                self.socket.sendall(masked(0x8A, data))
            if opcode == 1:
                return self._take(json.loads(data))

    def _take(self, message: dict[str, Any]) -> dict[str, Any]:
        self.messages.append(message)
        if message["type"] == "session":
            self.session, self.at = message["session"], message["at"]
        elif message["type"] == "output":
            self.text += message["data"]
            self.at = message.get("at", self.at)
        return message

    def read(self, until: Callable[[str], bool] = lambda text: False) -> str:
        while not until(self.text) and self.message() is not None:
            pass
        return self.text
