"""What host and runner share as long-running programs: running until told to stop."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
import threading
from types import FrameType

_MANAGER_SECONDS = 5.0
_FILES = 8192


def allow_many_files() -> None:
    """Each connection takes up to four descriptors; the usual 1024 are few for all that we serve.

    What we start inherits it: for programs that start none of their users'.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Stop:
    """Asked for by SIGTERM or SIGINT, or by set() from anywhere; waited for once.

    A pipe that the interpreter itself writes to when a signal comes. With a threading.Event a
    signal that comes a moment before the wait goes unnoticed, and one that comes a moment later
    finds the event's lock taken by the very thread that it interrupts.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write)

    def set(self) -> None:
        os.write(self._write, b"\0")

    def wait(self) -> None:
        os.read(self._read, 1)

    def within(self, seconds: float) -> bool:
        """Whether it is asked for in this time; a later wait() returns at once then."""
        return bool(select.select([self._read], [], [], seconds)[0])


def stop_requested(*, child: bool) -> Stop:
    """A second signal ends the process at once.

    child: the end of standard input sets it too. Who starts us with a pipe there takes us along
    when it dies, however it dies.
    """
    stop = Stop()
    signals: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if child:
        threading.Thread(target=_watch_stdin, args=(stop,), name="stdin", daemon=True).start()
    return stop


def tell_parent(url: str) -> None:
    """Where we serve, in one line of standard output: now we do."""
    print(url, flush=True)


def tell_manager(*lines: str) -> None:
    """What systemd wants to know of a Type=notify service, such as READY=1; sd_notify(3).

    Nothing where no manager listens; one that cannot be told finds out by its own time-outs.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):  # a name in the abstract namespace
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, contextlib.suppress(OSError):
        manager.settimeout(_MANAGER_SECONDS)
        manager.sendto("\n".join(lines).encode("utf-8", "replace"), address)


def _watch_stdin(stop: Stop) -> None:
    # The descriptor, not the file object: a reader of that holds a lock which exit waits for.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
