"""WebSocket frames (RFC 6455), the server's side. Pure: bytes in, messages out."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from hakuriver.model.errors import BadRequest

MESSAGE_MAX = 4 << 20
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_CONTROL_MAX = 125


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Code(IntEnum):
    """Why a connection is closed."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL = 1002
    NOT_TEXT = 1007
    POLICY = 1008
    TOO_LARGE = 1009
    INTERNAL = 1011


class Broken(Exception):
    """The peer does not keep to the protocol; code is to be sent to it."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, or a control frame; what was fragmented is put together."""

    opcode: Opcode
    data: bytes


def handshake(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers of the 101 answer to a request with these (lower-case names). Raises BadRequest."""
    key = headers.get("sec-websocket-key", "").strip()
    try:
        good = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        good = False
    if not good or headers.get("sec-websocket-version", "").strip() != "13":
        raise BadRequest("this is not a WebSocket handshake of version 13")
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return (("Sec-WebSocket-Accept", base64.b64encode(digest).decode("ascii")),)


def encode(opcode: Opcode, data: bytes) -> bytes:
    """One unmasked, unfragmented frame."""
    length = len(data)
    first = 0x80 | opcode
    if length <= _CONTROL_MAX:
        head = struct.pack(">BB", first, length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", first, 126, length)
    else:
        head = struct.pack(">BBQ", first, 127, length)
    return head + data


def encode_close(code: Code, reason: str = "") -> bytes:
    text = reason.encode("utf-8")[: _CONTROL_MAX - 2].decode("utf-8", "ignore")
    return encode(Opcode.CLOSE, struct.pack(">H", code) + text.encode("utf-8"))


class Decoder:
    """A client's bytes to messages. Raises Broken, after which the stream is of no use."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._opcode: Opcode | None = None
        self._parts = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        self._buffer += data
        while (frame := self._frame()) is not None:
            message = self._join(*frame)
            if message is not None:
                yield message

    def _frame(self) -> tuple[bool, Opcode, bytes] | None:
        """(final, opcode, payload) of the next whole frame."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        if first & 0x70 or not second & 0x80:
            raise Broken(Code.PROTOCOL, "reserved bits, or a frame without a mask")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise Broken(Code.PROTOCOL, "unknown opcode") from None
        length, place = second & 0x7F, 2
        for mark, form in ((126, ">H"), (127, ">Q")):
            if length == mark:
                if len(buffer) < 2 + struct.calcsize(form):
                    return None
                (length,) = struct.unpack_from(form, buffer, 2)
                place += struct.calcsize(form)
                break
        if opcode >= Opcode.CLOSE and (length > _CONTROL_MAX or not first & 0x80):
            raise Broken(Code.PROTOCOL, "a control frame is too long or in pieces")
        if length > MESSAGE_MAX:
            raise Broken(Code.TOO_LARGE, "a message is too large")
        if len(buffer) < place + 4 + length:
            return None
        mask = bytes(buffer[place : place + 4])
        payload = _unmask(bytes(buffer[place + 4 : place + 4 + length]), mask)
        del buffer[: place + 4 + length]
        return bool(first & 0x80), opcode, payload

    def _join(self, final: bool, opcode: Opcode, payload: bytes) -> Message | None:
        if opcode >= Opcode.CLOSE:
            return Message(opcode, payload)
        if (opcode is Opcode.CONTINUATION) == (self._opcode is None):
            raise Broken(Code.PROTOCOL, "the pieces of a message are out of order")
        if opcode is not Opcode.CONTINUATION:
            self._opcode = opcode
        self._parts += payload
        if len(self._parts) > MESSAGE_MAX:
            raise Broken(Code.TOO_LARGE, "a message is too large")
        if not final:
            return None
        assert self._opcode is not None
        message = Message(self._opcode, bytes(self._parts))
        self._opcode, self._parts = None, bytearray()
        return message


def _unmask(payload: bytes, mask: bytes) -> bytes:
    """As one large number: a megabyte byte by byte takes a second."""
    length = len(payload)
    stretched = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return number.to_bytes(length, "big")
