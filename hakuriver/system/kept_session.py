"""A command that outlives its connection: whoever comes back in time finds it as it was left.

What it writes goes into a ring, from which whoever is there is served; what is typed goes into a queue.
Both are bounded. While the ring holds as much as nobody has seen yet, the command waits, as at a
terminal that does not take its output.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

from hakuriver.system.bridge import (
    LINGER_SECONDS,
    PING_SECONDS,
    End,
    Event,
    Input,
    Seen,
    Session,
)
from hakuriver.system.frames import Exit, Size
from hakuriver.system.kept_channel import KeptChannel
from hakuriver.system.output_ring import OutputRing, seconds_left
from hakuriver.system.websocket import Code

log = logging.getLogger(__name__)

RING_BYTES = 1 << 20
TYPED_BYTES = 1 << 20
_EVENT_BYTES = 64  # what an event costs besides its data
_CHUNK = 1 << 16
ELSEWHERE = "this shell was opened in another page"


class _Why(Enum):
    """Why a connection is not served any more."""

    LOST = "lost"
    TAKEN_OVER = "taken over"
    OVER = "over"


class KeptSession:
    """start() first. Each connection calls serve() and comes back from it when it is done with.

    The lock is never held while the command or a peer is waited for.
    """

    def __init__(
        self,
        session: Session,
        *,
        name: str,
        keep_seconds: float,
        on_over: Callable[[str], None],
        ring_bytes: int = RING_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """name: what is told to peers, to come back with. on_over: called with it once it was ended."""
        self.name = name
        self._session = session
        self._keep_seconds = keep_seconds
        self._on_over = on_over
        self._clock = clock
        lock = threading.Lock()
        # One lock, and whom to wake: a burst of output wakes nobody who waits for something else.
        self._output = threading.Condition(lock)  # for who is served
        self._room = threading.Condition(lock)  # for the command's output
        self._typed = threading.Condition(lock)  # for the command's input, and who has some
        self._state = threading.Condition(lock)  # for who ends it
        self._ring = OutputRing(ring_bytes)
        self._sent = self._seen = 0
        self._typing: deque[Input | Size] = deque()
        self._typing_bytes = 0
        self._visit = 0  # the number of the newest connection
        self._left_at: float | None = clock()
        self._exit: Exit | None = None
        self._over: Code | None = None

    def start(self) -> None:
        for name, run in (
            ("kept-output", self._read),
            ("kept-input", self._write),
            ("kept", self._keep),
        ):
            threading.Thread(target=run, name=name, daemon=True).start()

    def end(self, code: Code = Code.NORMAL) -> None:
        """Hang the command up, whoever is there; code is what they are told. Returns at once."""
        with self._state:
            self._over = self._over or code
            self._wake_all()

    def _wake_all(self) -> None:
        for condition in (self._output, self._room, self._typed, self._state):
            condition.notify_all()

    # The command's side: a thread each

    def _read(self) -> None:
        try:
            while (piece := self._session.read()) is not None:
                if not self._put(piece[1]):
                    return
            found = self._session.exit()
        except Exception:
            # Outer edge of a thread: somebody waits for the end.
            log.exception("a shell's output failed")
            found = Exit(125, "the shell's output cannot be read")
        with self._state:
            self._exit = found
            self._wake_all()

    def _put(self, data: bytes) -> bool:
        """Into the ring, once there is room; False when it is over."""
        while data:
            with self._room:
                while not (room := self._ring.room(self._seen)) and self._over is None:
                    self._room.wait()
                if self._over is not None:
                    return False
                self._ring.append(data[:room])
                data = data[room:]
                self._output.notify_all()
        return True

    def _write(self) -> None:
        try:
            while (event := self._next_typed()) is not None:
                if isinstance(event, Input):
                    self._session.write(event.data)
                else:
                    self._session.resize(event)
        except Exception:
            # Outer edge of a thread: without it nothing can be typed.
            log.exception("a shell's input failed")
            self.end(Code.INTERNAL)

    def _next_typed(self) -> Input | Size | None:
        with self._typed:
            while not self._typing and self._over is None:
                self._typed.wait()
            if self._over is not None:
                return None
            event = self._typing.popleft()
            self._typing_bytes -= _bytes(event)
            self._typed.notify_all()
            return event

    def _keep(self) -> None:
        """The one place where it ends."""
        with self._state:
            while self._over is None:
                left = seconds_left(self._left_at, self._clock(), self._keep_seconds)
                if left is not None and left <= 0:
                    log.info("a shell was left for %g s and is ended", self._keep_seconds)
                    self._over = Code.NORMAL
                    self._wake_all()
                else:
                    self._state.wait(left)
        try:
            self._session.hang_up()
        except Exception:
            # Outer edge of a thread: its place has to become free.
            log.exception("a shell could not be ended")
        finally:
            self._on_over(self.name)

    # The peers' side: three threads for each, this one and two more

    def serve(self, channel: KeptChannel, at: int) -> None:
        """Output from that position on, until the connection is lost, another one comes or it is over."""
        with self._state:
            over = self._over is not None
            self._visit += 1
            visit = self._visit
            self._left_at = None
            begin = self._ring.nearest(at)
            self._sent = self._seen = begin
            self._wake_all()
        if over:
            channel.nothing_here()
            return
        listener = threading.Thread(
            target=self._listen, args=(channel, visit), name="shell", daemon=True
        )
        watcher = threading.Thread(
            target=self._watch, args=(channel, visit), name="shell-ping", daemon=True
        )
        listener.start()
        watcher.start()
        told = False
        try:
            channel.begin(self.name, begin)
            if begin > at:
                channel.notice(f"{begin - at} bytes of older output are not kept any more")
            told = self._send(channel, visit)
            if told:
                # Who is slow to read is given the time to get to the end; who is silent is cut off.
                listener.join()
        except OSError:
            pass  # The peer is gone.
        finally:
            channel.end_of_output()
            listener.join(LINGER_SECONDS)
            self._leave(visit)
            channel.cut()
            watcher.join()
        # Who did not answer to it may never have got it: it is told again to whoever comes back.
        if told and channel.took_leave:
            self._end_by(visit)

    def _send(self, channel: KeptChannel, visit: int) -> bool:
        """Whether the command's own end was told. Raises OSError."""
        while True:
            step = self._next_output(visit)
            if isinstance(step, Exit):
                channel.end(step)
                return True
            if isinstance(step, tuple):
                channel.output_until(*step)
                continue
            if step is _Why.TAKEN_OVER:
                channel.close(Code.POLICY, ELSEWHERE)
            elif step is _Why.OVER:
                channel.close(self._over or Code.NORMAL)
            return False

    def _next_output(self, visit: int) -> tuple[bytes, int] | Exit | _Why:
        """Output and the position after it, or the command's end, or why there is nothing for it."""
        with self._output:
            while True:
                if visit != self._visit:
                    return _Why.TAKEN_OVER
                if self._over is not None:
                    return _Why.OVER
                if self._left_at is not None:
                    return _Why.LOST
                if self._sent < self._ring.end:
                    data = self._ring.read(self._sent, _CHUNK)
                    self._sent += len(data)
                    return data, self._sent
                if self._exit is not None:
                    return self._exit
                self._output.wait()

    def _listen(self, channel: KeptChannel, visit: int) -> None:
        try:
            for event in channel.receive():
                self._heard(event, visit)
        except Exception:
            # Outer edge of a thread: whatever a peer says, the connection must not be left behind.
            log.exception("a shell's peer could not be heard")
        finally:
            self._leave(visit)
            channel.cut()

    def _heard(self, event: Event, visit: int) -> None:
        if isinstance(event, End):
            self._end_by(visit)
        elif isinstance(event, Seen):
            with self._room:
                if visit == self._visit and self._seen < event.at <= self._sent:
                    self._seen = event.at
                    self._room.notify_all()
        elif isinstance(event, (Input, Size)):
            self._type(event, visit)

    def _type(self, event: Input | Size, visit: int) -> None:
        """Waits while there is much before it that the command has not read, but not for ever: of whoever
        is gone, it is lost then, so that an End behind it is heard."""
        with self._typed:
            while (
                self._typing_bytes > TYPED_BYTES
                and visit == self._visit
                and self._left_at is None
                and self._over is None
            ):
                self._typed.wait()
            if visit == self._visit and self._typing_bytes <= TYPED_BYTES:
                self._typing.append(event)
                self._typing_bytes += _bytes(event)
                self._typed.notify_all()

    def _watch(self, channel: KeptChannel, visit: int) -> None:
        """Notices that the peer is gone while its words wait for the command; tells it that we are not."""
        with contextlib.suppress(OSError):
            while not channel.gone(PING_SECONDS):
                channel.ping()
        self._leave(visit)
        # Whoever still reads what has come gets all of it, and then the end.
        channel.cut()

    def _leave(self, visit: int) -> None:
        with self._state:
            if visit == self._visit and self._left_at is None:
                self._left_at = self._clock()
                self._wake_all()

    def _end_by(self, visit: int) -> None:
        with self._state:
            if visit == self._visit:
                self._over = self._over or Code.NORMAL
                self._wake_all()


def _bytes(event: Input | Size) -> int:
    return _EVENT_BYTES + (len(event.data) if isinstance(event, Input) else 0)
