"""Starting processes and learning that they have ended: one thread for all of them.

One, because every system call hands the interpreter's lock to whoever waits for it: threads that
start and threads that watch would spend their time handing it back and forth.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

from hakuriver.runner.drivers.proctree import Process, process

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1


class Watcher:
    """Calls on_exit(pids) from its own thread when watched processes are over, not yet reaped.

    tick() is called after each round, and at least every `every()` seconds (None: no hurry).
    """

    def __init__(
        self,
        on_exit: Callable[[list[int]], None],
        tick: Callable[[], None],
        every: Callable[[], float | None],
    ) -> None:
        self._on_exit = on_exit
        self._tick = tick
        self._every = every
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._polled: dict[int, Process] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self.wake()
        self._thread.join(timeout=5)

    def wake(self) -> None:
        # A full pipe wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def call(self, work: Callable[[], None]) -> None:
        """Do this in the watcher's thread, in the order of asking."""
        self._calls.append(work)
        self.wake()

    def watch(self, target: Process) -> None:
        """Also processes that are not our children, and ones that have just ended."""
        try:
            descriptor = os.pidfd_open(target.pid)
        except (AttributeError, OSError):
            # A kernel before 5.3, or no such process: both are found out by looking.
            self.look_at(target)
            self.wake()
        else:
            # An epoll that is being waited for takes it up by itself.
            with self._lock:
                self._selector.register(descriptor, selectors.EVENT_READ, target)

    def look_at(self, target: Process) -> None:
        """As watch(), but by looking from time to time; from the watcher's thread."""
        with self._lock:
            self._polled[target.pid] = target

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._round()
            except Exception:
                # Outer edge of the thread that every task's end depends on.
                log.exception("unexpected error")
                time.sleep(_POLL_SECONDS)

    def _round(self) -> None:
        every = self._every()
        if self._polled:
            every = _POLL_SECONDS if every is None else min(every, _POLL_SECONDS)
        over = []
        for key, _ in self._selector.select(every):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 65536)
                continue
            with self._lock:
                self._selector.unregister(key.fd)
            os.close(key.fd)
            over.append(key.data.pid)
        over += self._look()
        if over:
            self._on_exit(over)
        self._tick()
        for _ in range(len(self._calls)):
            self._calls.popleft()()

    def _look(self) -> list[int]:
        over = []
        with self._lock:
            for pid, known in list(self._polled.items()):
                try:
                    now = process(pid)
                except OSError:
                    continue  # Out of descriptors: it may well be there.
                if now is None or known.start not in (0, now.start) or not now.alive:
                    del self._polled[pid]
                    over.append(pid)
        return over
