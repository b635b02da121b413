"""What lies in the shared directory, for those who cannot wait for a file server that is dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that anybody waits for a look; a server that answers does so in milliseconds."""


class Glance(Generic[T]):
    """What look() finds, at most `age` seconds old; what it was before, if looking takes too long or
    fails with OSError.

    Looks in a thread of its own, which a dead file server may hold for ever.
    """

    def __init__(
        self, name: str, look: Callable[[], T], first: T, *, age: float, patience: float = PATIENCE
    ) -> None:
        self._name = name
        self._look = look
        self._found = first
        self._age = age
        self._patience = patience
        self._turn = threading.Condition()
        self._asked = self._answered = 0
        self._fresh_until = 0.0
        self._since: float | None = None  # when the look that goes on now began
        self._thread: threading.Thread | None = None

    def get(self) -> T:
        with self._turn:
            if time.monotonic() < self._fresh_until:
                return self._found
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._asked += 1
            mine = self._asked
            self._turn.notify_all()
            held = self._since is not None and time.monotonic() - self._since >= self._patience
            if not held:
                self._turn.wait_for(lambda: self._answered >= mine, self._patience)
            return self._found

    def again(self) -> None:
        """It has changed: what was found before is not fresh any more."""
        with self._turn:
            self._asked += 1
            self._fresh_until = 0.0
            self._turn.notify_all()

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._asked > self._answered)
                # Whoever asks from here on is answered by the next look, not by this one.
                asked = self._asked
                self._since = time.monotonic()
            found = None
            try:
                found = (self._look(),)
            except OSError as error:
                _LOG.debug("%s: %s", self._name, error.strerror)
            except Exception:
                # Outer edge of this thread: without it nothing new would ever be found.
                _LOG.exception("%s failed", self._name)
            with self._turn:
                if found is not None:
                    (self._found,) = found
                self._answered, self._since = asked, None
                if asked == self._asked:
                    self._fresh_until = time.monotonic() + self._age
                self._turn.notify_all()
