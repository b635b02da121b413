"""What host and runner share as long-running programs: running until told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


def stop_requested(*, child: bool) -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once.

    child: the end of standard input sets it too. Who starts us with a pipe there takes us along
    when it dies, however it dies.
    """
    stop = threading.Event()
    signals: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if child:
        threading.Thread(target=_watch_stdin, args=(stop,), name="stdin", daemon=True).start()
    return stop


def tell_parent(url: str) -> None:
    """Where we serve, in one line of standard output: now we do."""
    print(url, flush=True)


def wait(stop: threading.Event) -> None:
    """Until the event is set; signals are handled meanwhile."""
    while not stop.wait(3600):
        pass


def _watch_stdin(stop: threading.Event) -> None:
    # The descriptor, not the file object: a reader of that holds a lock which exit waits for.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()
