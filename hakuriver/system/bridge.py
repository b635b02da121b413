"""Between a connection and a command: what comes in goes to its input, its output goes out.

A Session is a command with or without a terminal; a Channel is a connection in the words that its
peer speaks. Two threads: neither a peer that does not read nor a command that does not read can hold
up the other direction.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hakuriver.model.errors import BadRequest, HakuRiverError
from hakuriver.system import websocket
from hakuriver.system.frames import Decoder, Exit, Frame, Kind, Size
from hakuriver.system.sockets import has_left, send_at_once
from hakuriver.system.websocket import Broken, Code, Opcode

log = logging.getLogger(__name__)

Stream = Literal["stdout", "stderr"]
PING_SECONDS = 5.0
SILENCE_SECONDS = 60.0
"""A peer that has said nothing for so long is gone: the command is ended."""
LINGER_SECONDS = 2.0
_CHUNK = 1 << 16


class Session(Protocol):
    """A running command. read() is called by one thread, everything else by another."""

    def read(self) -> tuple[Stream, bytes] | None:
        """The next output; None once there is no more."""

    def exit(self) -> Exit:
        """How it ended; after read() has returned None."""
        ...

    def write(self, data: bytes) -> None:
        """To its input. Waits while it does not read; nothing if it is over."""

    def close_input(self) -> None: ...

    def resize(self, size: Size) -> None: ...

    def hang_up(self) -> None:
        """End it and what it has begun, if it is still there: nobody sees it any more."""


@dataclass(frozen=True, slots=True)
class Input:
    data: bytes


@dataclass(frozen=True, slots=True)
class InputEnd:
    pass


@dataclass(frozen=True, slots=True)
class Seen:
    """Output up to this position has arrived at the peer."""

    at: int


@dataclass(frozen=True, slots=True)
class End:
    """The command is to be ended, even if it could be kept."""


Event = Input | InputEnd | Size | Seen | End
"""Seen and End come from peers of kept sessions alone."""


class Channel(Protocol):
    """A peer. receive() is called by one thread, everything else by another."""

    def receive(self) -> Iterator[Event]:
        """What the peer says, until it leaves; then it simply ends."""
        ...

    def output(self, stream: Stream, data: bytes) -> None:
        """Raises OSError if the peer is gone."""

    def ping(self) -> None: ...

    def end(self, result: Exit) -> None: ...

    def gone(self, seconds: float) -> bool:
        """Whether the peer has closed its side, waiting for that for a while. Raises OSError."""
        ...

    def end_of_output(self) -> None:
        """Nothing more will be sent."""

    def cut(self) -> None:
        """Nobody listens any more: makes all that waits for the peer fail."""


def run(channel: Channel, session: Session) -> None:
    """Until the command ends, which is told, or the peer leaves, which ends the command."""
    listener = threading.Thread(target=_listen, args=(channel, session), name="shell", daemon=True)
    listener.start()
    watcher = threading.Thread(
        target=_watch, args=(channel, session), name="shell-ping", daemon=True
    )
    watcher.start()
    try:
        while (piece := session.read()) is not None:
            channel.output(*piece)
        channel.end(session.exit())
    except OSError:
        pass  # The peer is gone.
    finally:
        session.hang_up()
        # The end of our side: what was sent arrives, and who watches wakes up.
        channel.end_of_output()
        listener.join(LINGER_SECONDS)
        channel.cut()
        watcher.join()


def _listen(channel: Channel, session: Session) -> None:
    try:
        for event in channel.receive():
            match event:
                case Input(data):
                    session.write(data)
                case InputEnd():
                    session.close_input()
                case Size():
                    session.resize(event)
    except Exception:
        # Outer edge of a thread: whatever a peer says, the command must not be left behind.
        log.exception("a shell's input failed")
    finally:
        session.hang_up()
        channel.cut()


def _watch(channel: Channel, session: Session) -> None:
    """Notices that the peer is gone, also while a command that neither reads nor writes holds up the
    other two; and tells it now and then that we are not."""
    try:
        while not channel.gone(PING_SECONDS):
            channel.ping()
    except OSError:
        pass
    finally:
        session.hang_up()
        channel.cut()


class _Connection:
    """A socket that several threads write to, one whole message at a time."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self._socket = connection
        self._first = first
        self._writing = threading.Lock()
        connection.settimeout(None)
        # The kernel's, for receiving alone: who takes long to read our output is there all the same, as
        # its pings tell.
        silence = struct.pack("ll", int(SILENCE_SECONDS), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, silence)
        send_at_once(connection)

    def chunks(self) -> Iterator[bytes]:
        """Until the peer closes, breaks off, or is silent for too long."""
        if self._first:
            yield self._first
        with contextlib.suppress(OSError):
            while data := self._socket.recv(_CHUNK):
                yield data

    def send(self, data: bytes) -> None:
        with self._writing:
            self._socket.sendall(data)

    def gone(self, seconds: float) -> bool:
        return has_left(self._socket, seconds)

    def drain(self, seconds: float) -> None:
        """Until the peer closes its side, for so long at most."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(_CHUNK):
                    break

    def shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(how)


class FrameChannel:
    """Our own client, or our own host."""

    def __init__(self, connection: socket.socket, first: bytes = b"") -> None:
        self._connection = _Connection(connection, first)

    def receive(self) -> Iterator[Event]:
        decoder = Decoder()
        try:
            for data in self._connection.chunks():
                for frame in decoder.feed(data):
                    if frame.kind is Kind.STDIN:
                        yield Input(frame.payload)
                    elif frame.kind is Kind.END:
                        yield InputEnd()
                    elif frame.kind is Kind.RESIZE:
                        yield Size.read(frame.payload)
        except BadRequest as error:
            log.warning("a shell's client was cut off: %s", error.detail)

    def output(self, stream: Stream, data: bytes) -> None:
        kind = Kind.STDOUT if stream == "stdout" else Kind.STDERR
        self._connection.send(Frame(kind, data).encode())

    def ping(self) -> None:
        self._connection.send(Frame(Kind.PING).encode())

    def end(self, result: Exit) -> None:
        self._connection.send(result.frame().encode())

    def gone(self, seconds: float) -> bool:
        return self._connection.gone(seconds)

    def end_of_output(self) -> None:
        self._connection.shut(socket.SHUT_WR)

    def cut(self) -> None:
        self._connection.shut(socket.SHUT_RDWR)


class WebSocketChannel:
    """A browser, or the first HakuRiver's docker-shell: JSON texts in WebSocket messages.

    {"type": "input", "data": …} and {"type": "resize", "rows": …, "cols": …} come in,
    {"type": "output", "data": …} and {"type": "error", "data": …} go out.
    """

    def __init__(self, connection: socket.socket, first: bytes = b"") -> None:
        self._connection = _Connection(connection, first)
        # A character may be cut in two by whatever carried it.
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._closed = False
        self.took_leave = False
        """Whether the peer has closed the connection in so many words, instead of being lost."""

    def receive(self) -> Iterator[Event]:
        decoder = websocket.Decoder()
        try:
            for data in self._connection.chunks():
                for message in decoder.feed(data):
                    if message.opcode is Opcode.CLOSE:
                        self.took_leave = True
                        self.close(Code.NORMAL)
                        return
                    if message.opcode is Opcode.PING:
                        self._connection.send(websocket.encode(Opcode.PONG, message.data))
                    elif message.opcode is Opcode.PONG:
                        yield from self._answered(message.data)
                    elif message.opcode is Opcode.TEXT:
                        yield self._event(message.data)
        except Broken as error:
            self.close(error.code, str(error))
        except OSError:
            return

    def _answered(self, data: bytes) -> Iterator[Event]:
        """What an answer to our ping tells, besides that the peer is there."""
        return iter(())

    def _event(self, data: bytes) -> Event:
        event = None
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            event = self._read(json.loads(data))
        if event is None:
            raise Broken(Code.POLICY, "messages are input and resize, see the HTTP API")
        return event

    def _read(self, document: Any) -> Event | None:
        """None or an exception: it is no message."""
        if document["type"] == "input":
            return Input(str(document["data"]).encode("utf-8", "replace"))
        if document["type"] == "resize":
            rows, columns = int(document["rows"]), int(document["cols"])
            return Size(min(max(rows, 1), 65535), min(max(columns, 1), 65535))
        return None

    def output(self, stream: Stream, data: bytes) -> None:
        text = self._text.decode(data)
        if text:
            self._tell({"type": "output", "data": text})

    def _tell(self, document: dict[str, object]) -> None:
        message = json.dumps(document).encode("ascii")
        self._connection.send(websocket.encode(Opcode.TEXT, message))

    def ping(self) -> None:
        self._connection.send(websocket.encode(Opcode.PING, b""))

    def end(self, result: Exit) -> None:
        if result.error:
            self._tell({"type": "error", "data": result.error})
        code = Code.INTERNAL if result.error else Code.NORMAL
        self.close(code, f"exit code {result.code}")

    def gone(self, seconds: float) -> bool:
        return self._connection.gone(seconds)

    def end_of_output(self) -> None:
        self._connection.shut(socket.SHUT_WR)

    def cut(self) -> None:
        self._connection.shut(socket.SHUT_RDWR)

    def refuse(self, error: HakuRiverError) -> None:
        """There is nothing to be opened."""
        self._tell({"type": "error", "data": f"{error.detail} {error.hint}".rstrip()})
        known = error.http_status in (404, 409, 422)
        self.close(Code.POLICY if known else Code.INTERNAL, error.detail)

    def see_off(self) -> None:
        """After the last message to a peer that nobody listened to: with something of it unread, the
        connection would be reset, and it might never see that message."""
        self._connection.shut(socket.SHUT_WR)
        self._connection.drain(LINGER_SECONDS)

    def close(self, code: Code, reason: str = "") -> None:
        """The last message to the peer."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self._connection.send(websocket.encode_close(code, reason))
