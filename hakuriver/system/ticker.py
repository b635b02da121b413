"""A thread that does one thing again and again, and at once when something happened."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from hakuriver.model.errors import HakuRiverError

_LOG = logging.getLogger(__name__)


class Ticker:
    """Calls step at start, then every `interval` seconds, and at once after wake().

    Steps never overlap. However many wakes arrive during a step, they cause one more step.
    A step that raises is logged, and the next one comes as if it had not. `gather` seconds pass
    between a wake and its step, so that in a burst one step serves many wakes.
    """

    def __init__(
        self,
        name: str,
        interval: float,
        step: Callable[[], None],
        *,
        gather: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._gather = gather
        self._interval = interval
        self._step = step
        self._clock = clock
        self._changed = threading.Condition()
        self._woken = True
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, timeout: float = 10) -> None:
        """Begin no further step, and wait for a running one for at most `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        # A step may stop its own ticker, and a ticker may be stopped without ever being started.
        if not self._thread.is_alive() or self._thread is threading.current_thread():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            _LOG.warning("%s is still busy %g s after it was stopped", self._name, timeout)

    def _run(self) -> None:
        due = self._clock()
        while self._await(due):
            due = self._clock() + self._interval
            try:
                self._step()
            except HakuRiverError as error:
                _LOG.error("%s: %s; it goes on in %g s", self._name, error.detail, self._interval)
            except Exception:  # the outer edge of a ticker: one bad step must not end all others
                _LOG.exception("%s failed; it goes on in %g s", self._name, self._interval)

    def _await(self, due: float) -> bool:
        """Wait until it is time for a step; False when there is to be none any more."""
        with self._changed:
            while not (self._stopping or self._woken):
                left = due - self._clock()
                if left <= 0:
                    break
                self._changed.wait(left)
            if self._gather and not self._stopping:
                self._changed.wait_for(lambda: self._stopping, self._gather)
            # Cleared before the step: a wake from here on is about something it may not have seen.
            self._woken = False
            return not self._stopping
