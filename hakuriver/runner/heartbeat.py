"""Keeping in touch with the host: registering for ever, then a heartbeat every interval."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hakuriver.model.errors import HakuRiverError, NotFound
from hakuriver.model.messages import Heartbeat, HeartbeatAnswer, RegisterAnswer
from hakuriver.model.node import NodeInfo
from hakuriver.runner.host_api import HostApi
from hakuriver.system.daemon import tell_manager
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

_FIRST_DELAY = 0.3
_LAST_DELAY = 5.0


class Heart:
    """describe() is what to register as; beat(n) makes a heartbeat; the others get the answers."""

    def __init__(
        self,
        *,
        api: HostApi,
        describe: Callable[[], NodeInfo],
        beat: Callable[[int], Heartbeat],
        registered: Callable[[RegisterAnswer], None],
        answered: Callable[[HeartbeatAnswer], None],
    ) -> None:
        self._api = api
        self._describe = describe
        self._beat = beat
        self._registered_as = registered
        self._answered = answered
        self._registered = False
        self._n = 0
        self._interval = _LAST_DELAY
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._api.close()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        delay, told = 0.0, ""
        while not self._stopping.is_set():
            try:
                self._step()
            except HakuRiverError as error:
                if isinstance(error, NotFound):
                    # The host is another than before, or lost its memory: introduce ourselves.
                    self._registered = False
                if error.detail != told and not self._stopping.is_set():
                    log.warning(
                        "no contact with the host, still trying: %s %s",
                        plain(error.detail),
                        plain(error.hint),
                    )
                    tell_manager(f"STATUS=no contact with the host: {plain(error.detail)}")
                told = error.detail
                delay = min(max(2 * delay, _FIRST_DELAY), _LAST_DELAY, self._interval)
            except Exception:
                # Outer edge of this thread: without it the node would be offline for ever.
                log.exception("heartbeat failed")
                delay = _LAST_DELAY
            else:
                if told:
                    log.info("in contact with the host at %s", self._api.url)
                if told or self._n == 1:
                    tell_manager(f"STATUS=in contact with the host at {self._api.url}")
                delay, told = 0.0, ""
            self._stopping.wait(delay or self._interval)

    def _step(self) -> None:
        if not self._registered:
            answer = self._api.register(self._describe())
            self._registered_as(answer)
            self._registered = True
            self._interval = answer.interval
            log.info("registered with the host at %s, cluster %s", self._api.url, answer.cluster)
        self._n += 1
        beat = self._api.heartbeat(self._beat(self._n))
        self._interval = beat.interval
        self._answered(beat)
