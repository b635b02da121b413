"""Waiting for a change of tasks, without asking again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """Wakes those who wait for a task, or for any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[int | None, set[threading.Event]] = {}
        self._closed = False

    def changed(self, ids: Iterable[int]) -> None:
        with self._lock:
            for key in (*ids, None):
                for event in self._waiters.get(key, ()):
                    event.set()

    def until(
        self, ids: Iterable[int] | None, seconds: float, look: Callable[[], tuple[bool, T]]
    ) -> T:
        """What look() finds once it says True, or at the latest after so many seconds.

        look is called at once and after each change of one of the tasks (None: of any task).
        """
        deadline = time.monotonic() + seconds
        keys = [None] if ids is None else list(ids)
        event = threading.Event()
        self._add(keys, event)
        try:
            while True:
                event.clear()
                done, value = look()
                remaining = deadline - time.monotonic()
                if done or remaining <= 0 or self._closed:
                    return value
                event.wait(remaining)
        finally:
            self._remove(keys, event)

    def open(self) -> bool:
        """Whether waiting still makes sense."""
        return not self._closed

    def close(self) -> None:
        """Send everybody home."""
        with self._lock:
            self._closed = True
            for events in self._waiters.values():
                for event in events:
                    event.set()

    def _add(self, keys: Iterable[int | None], event: threading.Event) -> None:
        with self._lock:
            for key in keys:
                self._waiters.setdefault(key, set()).add(event)

    def _remove(self, keys: Iterable[int | None], event: threading.Event) -> None:
        with self._lock:
            for key in keys:
                waiters = self._waiters.get(key, set())
                waiters.discard(event)
                if not waiters:
                    self._waiters.pop(key, None)
