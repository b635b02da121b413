"""What host and runner share as long-running programs: running until told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


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


def _watch_stdin(stop: Stop) -> None:
    # The descriptor, not the file object: a reader of that holds a lock which exit waits for.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
