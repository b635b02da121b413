"""WebSocket frames: RFC 6455, with its own examples."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.model.errors import BadRequest
from hakuriver.system.websocket import (
    MESSAGE_MAX,
    Broken,
    Code,
    Decoder,
    Message,
    Opcode,
    encode,
    encode_close,
    handshake,
)

HEADERS = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}


def masked(first: int, data: bytes, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """As a client sends it."""
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    if len(data) < 126:
        return bytes([first, 0x80 | len(data)]) + mask + body
    if len(data) < 1 << 16:
        return struct.pack(">BBH", first, 0xFE, len(data)) + mask + body
    return struct.pack(">BBQ", first, 0xFF, len(data)) + mask + body


def test_the_handshake_is_that_of_the_standard() -> None:
    assert handshake(HEADERS) == (("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),)


@pytest.mark.parametrize(
    "change",
    [
        {"sec-websocket-key": ""},
        {"sec-websocket-key": "short"},
        {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=\n="},
        {"sec-websocket-version": "8"},
        {"sec-websocket-version": ""},
    ],
)
def test_another_handshake_is_refused(change: dict) -> None:
    with pytest.raises(BadRequest):
        handshake({**HEADERS, **change})


def test_the_examples_of_the_standard() -> None:
    assert list(Decoder().feed(bytes.fromhex("818537fa213d7f9f4d5158"))) == [
        Message(Opcode.TEXT, b"Hello")
    ]
    assert encode(Opcode.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert encode(Opcode.BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert encode(Opcode.BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")


@given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=4), st.data())
def test_pieces_are_put_together_however_they_are_cut(
    parts: list[bytes], data: st.DataObject
) -> None:
    sent = b""
    for place, part in enumerate(parts):
        opcode = Opcode.TEXT if place == 0 else Opcode.CONTINUATION
        final = 0x80 if place == len(parts) - 1 else 0
        sent += masked(final | opcode, part, os.urandom(4))
        if not final:
            sent += masked(0x80 | Opcode.PING, b"?")
    cut = data.draw(st.integers(0, len(sent)))
    decoder = Decoder()
    found = [*decoder.feed(sent[:cut]), *decoder.feed(sent[cut:])]
    pings = [message for message in found if message.opcode is Opcode.PING]
    assert len(pings) == len(parts) - 1
    assert found[-1] == Message(Opcode.TEXT, b"".join(parts))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode(Opcode.TEXT, b"no mask"), Code.PROTOCOL),
        (masked(0x80 | 0x40 | Opcode.TEXT, b"reserved"), Code.PROTOCOL),
        (masked(0x80 | 3, b"opcode"), Code.PROTOCOL),
        (masked(Opcode.PING, b"in pieces"), Code.PROTOCOL),
        (masked(0x80 | Opcode.PING, b"x" * 126), Code.PROTOCOL),
        (masked(0x80 | Opcode.CONTINUATION, b"of what?"), Code.PROTOCOL),
        (masked(Opcode.TEXT, b"a") + masked(0x80 | Opcode.TEXT, b"b"), Code.PROTOCOL),
        (struct.pack(">BBQ", 0x82, 0xFF, MESSAGE_MAX + 1), Code.TOO_LARGE),
        (masked(Opcode.TEXT, bytes(MESSAGE_MAX)) + masked(0x80, b"x"), Code.TOO_LARGE),
    ],
    ids=["mask", "reserved", "opcode", "control", "long", "begin", "again", "large", "sum"],
)
def test_what_breaks_the_protocol_is_refused(data: bytes, code: Code) -> None:
    with pytest.raises(Broken) as broken:
        list(Decoder().feed(data))
    assert broken.value.code is code


def test_a_reason_fits_into_its_frame_whole_characters_only() -> None:
    data = encode_close(Code.POLICY, "河" * 200)
    assert len(data) <= 127
    data[4:].decode("utf-8")
