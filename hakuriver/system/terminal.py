"""The user's own terminal: handed over to a session, and given back as it was whatever happens."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from types import FrameType

from hakuriver.system.bridge import Session
from hakuriver.system.frames import Exit, Size

_CHUNK = 1 << 15
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# What a full-screen program may have left behind: colours, alternate screen, hidden cursor, bracketed
# paste, mouse reports, application keys.
_RESET = b"\x1b[0m\x1b[?1049l\x1b[?25h\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?1l\x1b>\r\n"

_LEFT = Exit(125, "left with ~.", "What ran there has been ended.")
ESCAPE_HELP = "Enter, then ~. ends the session if it hangs."


class Ended(Exception):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def is_interactive() -> bool:
    """Whether both ends of a session can be a terminal here."""
    return os.isatty(0) and os.isatty(1)


def terminal_size() -> Size:
    size = os.get_terminal_size(1)
    return Size(size.lines or 24, size.columns or 80)


def attach(session: Session, *, interactive: bool) -> Exit:
    """Our stdin, stdout and stderr are the session's until it ends. Raises Ended, OSError: of a
    stdout that is no terminal too, a BrokenPipeError for example."""
    output = _Output(session)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    done = _Done(output, wake_write)
    left = False
    with _signals(wake_write) as resized, _raw(interactive) as restore:
        output.start()
        done.start()
        try:
            left = _copy_input(session, wake_read, resized, done, interactive=interactive)
        finally:
            session.hang_up()
            output.join(timeout=2)
            result = _LEFT if left else session.exit()
            restore(clean=not result.error)
    if output.problem is not None and not interactive:
        raise output.problem
    return result


class _Done:
    """Wakes the reader of stdin when there is no more output: the session is over then."""

    def __init__(self, output: threading.Thread, wake: int) -> None:
        self._output = output
        self._wake = wake
        self._thread = threading.Thread(target=self._run, name="done", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        self._output.join()
        with contextlib.suppress(OSError):
            os.write(self._wake, b"x")

    def __bool__(self) -> bool:
        return not self._output.is_alive()


class _Output(threading.Thread):
    """Copies what a session says to our stdout and stderr; problem: why it could not."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="output", daemon=True)
        self._session = session
        self.problem: OSError | None = None

    def run(self) -> None:
        descriptors = {"stdout": 1, "stderr": 2}
        while (piece := self._session.read()) is not None:
            stream, data = piece
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(descriptors[stream], view) :]
            except OSError as error:
                self.problem = error
                self._session.hang_up()  # Nobody reads what it says: as a pipe that breaks.
                return


def _copy_input(
    session: Session, wake: int, resized: threading.Event, done: _Done, *, interactive: bool
) -> bool:
    """Until the session is over, or the user leaves it: True then."""
    escape = _Escape() if interactive else None
    reading = [0, wake]
    while not done:
        ready, _, _ = select.select(reading, [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            if resized.is_set() and interactive:
                resized.clear()
                session.resize(terminal_size())
        if 0 in ready:
            data = os.read(0, _CHUNK)
            if not data:
                session.close_input()
                reading.remove(0)
            elif escape is None:
                session.write(data)
            else:
                data, leave = escape.filter(data)
                session.write(data)
                if leave:
                    return True
    return False


class _Escape:
    """Finds Enter, ~ and . in what is typed; Enter, ~ and ~ is one ~. As ssh has it."""

    def __init__(self) -> None:
        self._state = "line"

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be sent, and whether to leave. A paste holds no escapes: only single keys do."""
        if len(data) > 4:
            self._state = "line" if data.endswith((b"\r", b"\n")) else "text"
            return data, False
        sent = bytearray()
        for byte in data:
            key = bytes([byte])
            if self._state == "line" and key == b"~":
                self._state = "tilde"
                continue
            if self._state == "tilde":
                if key == b".":
                    return bytes(sent), True
                if key != b"~":
                    sent += b"~"
            self._state = "line" if key in b"\r\n" else "text"
            sent += key
        return bytes(sent), False


@contextlib.contextmanager
def _signals(wake: int) -> Iterator[threading.Event]:
    """Resizes set the event and wake the loop; requests to end are raised as Ended."""
    resized = threading.Event()

    def on_resize(_number: int, _frame: FrameType | None) -> None:
        resized.set()
        with contextlib.suppress(OSError):
            os.write(wake, b"x")

    def on_end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    before = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, on_resize)}
    for each in _ENDING:
        before[each] = signal.signal(each, on_end)
    try:
        yield resized
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Restore:
    """Gives the terminal back, once."""

    def __init__(self, attributes: list[object] | None) -> None:
        self._attributes = attributes

    def __call__(self, *, clean: bool) -> None:
        attributes, self._attributes = self._attributes, None
        if attributes is None:
            return
        if not clean:
            with contextlib.suppress(OSError):
                os.write(1, _RESET)
        # Not TCSAFLUSH: what was typed ahead is for the shell that comes back.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, attributes)  # type: ignore[arg-type]


@contextlib.contextmanager
def _raw(interactive: bool) -> Iterator[_Restore]:
    """Every key as it is typed, Ctrl-C too; as it was before at the end, however that comes."""
    attributes: list[object] | None = None
    if interactive:
        sys.stdout.flush()
        attributes = list(termios.tcgetattr(0))
        tty.setraw(0, termios.TCSADRAIN)
    restore = _Restore(attributes)
    try:
        yield restore
    finally:
        restore(clean=False)
