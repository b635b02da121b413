"""Those who come with a wrong token: they are slowed down, and the log says so, now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

_FREE = 10
_WINDOW_SECONDS = 60.0
_DELAY_SECONDS = 0.5
_ADDRESSES = 1024


@dataclass(slots=True)
class _Tries:
    since: float
    count: int = 0


class Strangers:
    """Counts by address, of which so many are remembered that no flood can fill the memory.

    Only answers to wrong tokens wait: whoever has the right one is never made to pay for a
    neighbour behind the same address.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def wrong_token(self, address: str) -> None:
        with self._lock:
            now = self._clock()
            tries = self._tries.setdefault(address, _Tries(now))
            self._tries.move_to_end(address)
            if now - tries.since > _WINDOW_SECONDS:
                tries.since, tries.count = now, 0
            tries.count += 1
            count = tries.count
            while len(self._tries) > _ADDRESSES:
                self._tries.popitem(last=False)
        if count == 1 or count % 100 == 0:
            log.warning("wrong token from %s, %d in a minute", plain(address), count)
        if count > _FREE:
            self._sleep(_DELAY_SECONDS)
