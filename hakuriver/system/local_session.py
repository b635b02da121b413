"""A command of this machine as a session: on a terminal of its own, or on pipes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hakuriver.model.errors import HakuRiverError
from hakuriver.system.bridge import Stream
from hakuriver.system.frames import Exit, Size

_CHUNK = 1 << 16
_PIECE = 4096  # what a terminal takes at once
_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.01


class LocalSession:
    """size None: no terminal, stdout and stderr apart. on_hang_up is called once, when nobody sees the
    command any more, to end what signals from here do not reach. Raises HakuRiverError.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        size: Size | None,
        env: Mapping[str, str],
        cwd: str = "/",
        on_hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_hang_up = on_hang_up
        self._lock = threading.Lock()
        self._hung_up = False
        # Written to when read() has to look up from waiting.
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        ours, theirs, actions = self._open(size)
        try:
            self._child = _Child(_in_folder(argv, cwd), env, actions)
        except OSError as error:
            for descriptor in {*ours, *theirs, self._wake_read, self._wake_write}:
                os.close(descriptor)
            raise HakuRiverError(f"cannot start a shell: {error.strerror}") from None
        for descriptor in theirs:
            os.close(descriptor)
        # A terminal's other side would otherwise wait until it has taken all of it.
        os.set_blocking(int(self._input or 0), False)

    def _open(self, size: Size | None) -> tuple[set[int], set[int], list[Any]]:
        """Our ends, the command's, and how the command gets them as 0, 1 and 2."""
        if size is not None:
            master, slave = pty.openpty()
            os.set_inheritable(master, False)
            self._input: int | None = master
            self._outputs: dict[int, Stream] = {master: "stdout"}
            self._terminal: int | None = master
            _set_size(master, size)
            # The first terminal that the leader of a session opens is the one that controls it.
            opened = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)
            copies = [(os.POSIX_SPAWN_DUP2, 0, number) for number in (1, 2)]
            return {master}, {slave}, [opened, *copies]
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (stdin, self._input), (out, stdout), (err, stderr) = pipes
        self._terminal = None
        self._outputs = {out: "stdout", err: "stderr"}
        theirs = (stdin, stdout, stderr)
        actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs)]
        return {self._input, out, err}, set(theirs), actions

    @property
    def pid(self) -> int:
        return self._child.pid

    def read(self) -> tuple[Stream, bytes] | None:
        while self._outputs:
            ready = _ready([*self._outputs, self._wake_read], select.POLLIN)
            for descriptor in ready:
                if descriptor == self._wake_read:
                    self._finish()
                    return None
                stream = self._outputs[descriptor]
                data = _read(descriptor)
                if data:
                    return stream, data
                if data is not None:
                    self._drop(descriptor)
            # Something that the command left behind may hold its outputs open for ever.
            if not ready and self._child.poll() is not None:
                break
        self._finish()
        return None

    def _drop(self, descriptor: int) -> None:
        del self._outputs[descriptor]
        if descriptor != self._terminal:
            os.close(descriptor)

    def _finish(self) -> None:
        for descriptor in list(self._outputs):
            self._drop(descriptor)

    def exit(self) -> Exit:
        self.close_input()
        return Exit(self._child.wait() or 0)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and (descriptor := self._input) is not None:
            # A command that does not read holds us up here, but not one that is over.
            if not _ready([descriptor], select.POLLOUT):
                if self._hung_up or self._child.poll() is not None:
                    return
                continue
            with self._lock:
                # Under the lock: closed meanwhile, the number may be another file's.
                if self._input is None:
                    return
                try:
                    view = view[os.write(self._input, view[:_PIECE]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return

    def close_input(self) -> None:
        with self._lock:
            descriptor, self._input = self._input, None
            if descriptor is None:
                return
            if descriptor != self._terminal:
                os.close(descriptor)

    def resize(self, size: Size) -> None:
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                _set_size(self._terminal, size)

    def hang_up(self) -> None:
        with self._lock:
            if self._hung_up:
                return
            self._hung_up = True
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")
        self._signal(signal.SIGHUP)
        self._on_hang_up()
        if self._child.wait(_GRACE_SECONDS) is None:
            self._signal(signal.SIGKILL)
            self._child.wait()
        self.close_input()
        for descriptor in {self._wake_read, self._wake_write, self._terminal} - {None}:
            with contextlib.suppress(OSError):
                os.close(int(descriptor or 0))

    def _signal(self, number: int) -> None:
        """To its process group; a terminal's other groups hear of it when their leader is gone."""
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)


class _Child:
    """A process of a session of its own. subprocess would need code run in the child for that, which
    a program with threads must not do."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], actions: list[Any]) -> None:
        """Raises OSError."""
        self.pid = os.posix_spawn(
            argv[0],
            list(argv),
            dict(env),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        self._lock = threading.Lock()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, 128 + n after signal n; None while it runs."""
        with self._lock:
            if self._code is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    self._code = code if code >= 0 else 128 - code
            return self._code

    def wait(self, seconds: float | None = None) -> int | None:
        """None if it still runs after so many seconds. Several threads may wait."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                return None
            time.sleep(_POLL_SECONDS)
        return code


def _in_folder(argv: Sequence[str], cwd: str) -> list[str]:
    return ["/bin/sh", "-c", 'cd "$1" || exit 125; shift; exec "$@"', "sh", cwd, *argv]


def _set_size(descriptor: int, size: Size) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


def _ready(descriptors: Iterable[int], event: int) -> list[int]:
    """Those that something can be done with, or that are broken; half a second at most."""
    # Not select(): a busy runner has more than a thousand files open.
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, event)
    return [descriptor for descriptor, _ in poll.poll(500)]


def _read(descriptor: int) -> bytes | None:
    """Empty at the end; None if there is nothing yet."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""  # EIO: nobody has the other side of a terminal open any more.
