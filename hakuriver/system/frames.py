"""The frames that our own client, the host and a runner speak over an upgraded connection. Pure.

A frame is a letter, the length of its payload (4 bytes, big-endian) and the payload. Frames rather than
the bare bytes of a terminal, because the two outputs of a command that has no terminal must stay apart,
its input can end before its output does, and the exit code must arrive with certainty.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from hakuriver.model.errors import BadRequest

PROTOCOL = "hakuriver-pty"
"""The name in the Upgrade header."""
PAYLOAD_MAX = 1 << 20
_HEAD = struct.Struct(">cI")
_SIZE = struct.Struct(">HH")


class Kind(bytes, Enum):
    """stdin, its end, and resize go to the command; stdout, stderr and exit come from it."""

    STDIN = b"i"
    END = b"e"
    RESIZE = b"r"
    STDOUT = b"o"
    STDERR = b"s"
    EXIT = b"x"
    PING = b"p"


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    payload: bytes = b""

    def encode(self) -> bytes:
        return _HEAD.pack(self.kind.value, len(self.payload)) + self.payload


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended. error says why it has no exit code of its own; hint what to do."""

    code: int
    error: str = ""
    hint: str = ""

    def frame(self) -> Frame:
        document = {"code": self.code, "error": self.error, "hint": self.hint}
        return Frame(Kind.EXIT, json.dumps(document).encode("ascii"))

    @staticmethod
    def read(payload: bytes) -> Exit:
        """Raises BadRequest."""
        try:
            document = json.loads(payload)
            return Exit(int(document["code"]), str(document["error"]), str(document["hint"]))
        except (ValueError, KeyError, TypeError):
            raise BadRequest("an exit frame cannot be read") from None


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal, in characters."""

    rows: int
    columns: int

    def frame(self) -> Frame:
        return Frame(Kind.RESIZE, _SIZE.pack(self.rows, self.columns))

    @staticmethod
    def read(payload: bytes) -> Size:
        """Raises BadRequest."""
        try:
            return Size(*_SIZE.unpack(payload))
        except struct.error:
            raise BadRequest("a resize frame has two numbers of two bytes") from None


class Decoder:
    """Bytes as they come in, to frames. Raises BadRequest, after which the stream is of no use."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            letter, length = _HEAD.unpack_from(self._buffer)
            if length > PAYLOAD_MAX:
                raise BadRequest(f"a frame of {length} bytes is too large")
            try:
                kind = Kind(letter)
            except ValueError:
                raise BadRequest(f"there are no frames of kind {letter!r}") from None
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield Frame(kind, payload)
