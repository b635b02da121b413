"""A shell in an environment's container as a session: an exec of the engine, through the docker SDK."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hakuriver.model.errors import HakuRiverError
from hakuriver.system.bridge import Stream
from hakuriver.system.frames import Exit, Size

_CHUNK = 1 << 16
_BEGIN_BYTES = 1000
_GRACE_SECONDS = 2.0
_SETTLE_SECONDS = 5.0
_HEAD = struct.Struct(">BxxxL")  # Engine API, "Attach to a container": stream and length
_STDERR = 2
SHELL = ("/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi")
"""What a container is opened with: bash if the image has it."""
_NOT_THERE = (b"executable file not found", b"no such file or directory")
_HANG_UP = 'kill -s "$1" -- "-$2" || kill -s "$1" "$2"'

Translate = Callable[[Any], HakuRiverError]


class ExecSession:
    """client is the SDK's, and closed with the session; translate makes a HakuRiverError of what the
    SDK raises. Raises HakuRiverError."""

    def __init__(
        self,
        client: Any,
        container: str,
        argv: Sequence[str],
        *,
        size: Size | None,
        term: str,
        translate: Translate,
    ) -> None:
        self._client = client
        self._container = container
        self._terminal = size is not None
        self._lock = threading.Lock()
        self._hung_up = False
        self._begin = b""
        environment = {"TERM": term} if size is not None and term else {}
        api = client.api
        try:
            self._id: str = api.exec_create(
                container, list(argv or SHELL), stdin=True, tty=self._terminal,
                environment=environment,
            )["Id"]  # fmt: skip
            stream = api.exec_start(self._id, tty=self._terminal, socket=True)
        except Exception as error:
            client.close()
            raise translate(error) from None
        # The socket's first bytes may be in the buffer of the response that opened it.
        self._reader = stream._response.raw._fp.fp
        self._socket: socket.socket = stream._sock
        self._socket.settimeout(None)
        self._stream = stream
        if size is not None:
            self._resize_soon(size)

    def read(self) -> tuple[Stream, bytes] | None:
        piece = self._read()
        if piece is not None and len(self._begin) < _BEGIN_BYTES:
            self._begin += piece[1][:_BEGIN_BYTES]
        return piece

    def _read(self) -> tuple[Stream, bytes] | None:
        try:
            if self._terminal:
                data = self._reader.read1(_CHUNK)
                return ("stdout", data) if data else None
            head = self._reader.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            number, length = _HEAD.unpack(head)
            data = self._reader.read(length)
            return ("stderr" if number == _STDERR else "stdout"), data
        except (OSError, ValueError):
            return None

    def exit(self) -> Exit:
        """The engine knows a moment after the output has ended."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            found = self._inspect()
            if found is None:
                return Exit(125, "the Docker engine stopped")
            if not found["Running"] and found["ExitCode"] is not None:
                return Exit(self._code(int(found["ExitCode"])))
            time.sleep(0.02)
        return Exit(125, "the shell's output ended, and it goes on")

    def _code(self, code: int) -> int:
        """Engines up to 20.10 say 126 of a program that is not there, too."""
        begin = self._begin
        missing = begin.startswith(b"OCI runtime exec failed") and any(map(begin.count, _NOT_THERE))
        return 127 if code == 126 and missing else code

    def _inspect(self) -> dict[str, Any] | None:
        with contextlib.suppress(Exception):  # Gone with its container, or the engine is.
            return dict(self._client.api.exec_inspect(self._id))
        return None

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def close_input(self) -> None:
        if not self._terminal:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def resize(self, size: Size) -> None:
        if self._terminal:
            with contextlib.suppress(Exception):  # It has just ended.
                self._client.api.exec_resize(self._id, height=size.rows, width=size.columns)

    def _resize_soon(self, size: Size) -> None:
        """An engine answers before the terminal is there (moby: exec start returns early)."""
        for _ in range(20):
            try:
                self._client.api.exec_resize(self._id, height=size.rows, width=size.columns)
                return
            except Exception:  # Too early; what it looks like is not what the shell is about.
                time.sleep(0.02)

    def hang_up(self) -> None:
        """An engine lets a command run on when its connection closes: it is ended by its pid."""
        with self._lock:
            if self._hung_up:
                return
            self._hung_up = True
        found = self._inspect()
        if found is not None and found["Running"] and found.get("Pid"):
            self._end(int(found["Pid"]))
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # The whole answer, not just the file below it, which its destructor would miss.
        with contextlib.suppress(Exception):  # Broken or not, it is over.
            self._stream._response.close()
        self._client.close()

    def _end(self, pid: int) -> None:
        for number in (signal.SIGHUP, signal.SIGKILL):
            self._signal(pid, number)
            deadline = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < deadline:
                found = self._inspect()
                if found is None or not found["Running"]:
                    return
                time.sleep(0.02)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        """To its group. pid is the engine's, so ours if the engine is this machine's; who is not root
        has it done by another exec, with the pid that it has inside."""
        try:
            os.killpg(pid, number)
            return
        except ProcessLookupError:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
            return
        except PermissionError:
            pass
        inside = _pid_inside(pid)
        if inside is None:
            return
        argv = ["/bin/sh", "-c", _HANG_UP, "sh", number.name.removeprefix("SIG"), str(inside)]
        with contextlib.suppress(Exception):  # Gone meanwhile.
            helper = self._client.api.exec_create(self._container, argv, user="0")
            self._client.api.exec_start(helper["Id"])


def _pid_inside(pid: int) -> int | None:
    """A process's pid in the innermost of its namespaces: proc(5), NSpid."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    except (OSError, ValueError):
        pass
    return None
