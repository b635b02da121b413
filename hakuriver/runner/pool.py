"""A fixed number of threads for work that may take a while."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

Work = Callable[[], None]


class Pool:
    """Does what it is given, in order, by so many threads."""

    def __init__(self, name: str, threads: int) -> None:
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, work: Work) -> None:
        self._queue.put(work)

    def stop(self) -> None:
        """What has begun is finished, what waits is not begun."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:
                # Outer edge of a thread that others' work depends on.
                log.exception("unexpected error")


class Timers:
    """Hands work on when its time has come; one thread, however much waits."""

    def __init__(self, do: Callable[[Work], None]) -> None:
        self._do = do
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Work]] = []
        self._count = itertools.count()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
        self._thread.start()

    def after(self, seconds: float, work: Work) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._count), work))
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        with self._changed:
            while not self._stopping:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._do(heapq.heappop(self._due)[2])
                else:
                    self._changed.wait(wait)
