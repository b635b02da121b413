"""Those who follow the stream of events: the same bytes for all, and nobody waits for anybody."""

from __future__ import annotations

import threading
from collections import deque

BACKLOG_BYTES = 4 << 20


class Reader:
    """One page's side: put() by whoever tells, next() by the page's own thread."""

    def __init__(self, backlog: int = BACKLOG_BYTES) -> None:
        self._backlog = backlog
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._ended = False

    def put(self, data: bytes) -> None:
        """Never waits. With more than the backlog not taken yet, it is ended."""
        with self._changed:
            if self._size > self._backlog:
                self._end()
            if not self._ended:
                self._waiting.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._waiting.clear()
        self._size = 0
        self._changed.notify_all()

    def next(self, seconds: float) -> bytes | None:
        """All that waits; b"" if there was nothing for so long; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, seconds)
            if self._ended:
                return None
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            return data
