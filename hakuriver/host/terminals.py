"""The terminals of pages, which outlive their connections for a while."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable

from hakuriver.model.errors import Unavailable
from hakuriver.system.bridge import Session
from hakuriver.system.kept_channel import KeptChannel
from hakuriver.system.kept_session import KeptSession
from hakuriver.system.websocket import Code

log = logging.getLogger(__name__)

TERMINALS_MAX = 32
_STOP_SECONDS = 6.0


class Terminals:
    """A terminal has a place, which is the path of its route, and a name that cannot be guessed."""

    def __init__(self, keep_seconds: float) -> None:
        """keep_seconds: how long one waits for its page."""
        self._keep_seconds = keep_seconds
        self._changed = threading.Condition()
        self._open: dict[str, tuple[str, KeptSession] | None] = {}
        self._stopping = False

    def serve(
        self,
        channel: KeptChannel,
        place: str,
        opening: Callable[[], Session],
        *,
        resumed: str | None,
        at: int,
    ) -> None:
        """A new one, or the one of that name from that position of its output on. Raises Unavailable,
        and what opening() raises."""
        if resumed is None:
            self._new(place, opening).serve(channel, 0)
        elif (kept := self._find(place, resumed)) is not None:
            kept.serve(channel, at)
        else:
            channel.nothing_here()

    def _new(self, place: str, opening: Callable[[], Session]) -> KeptSession:
        name = secrets.token_urlsafe(32)
        self._reserve(name)
        try:
            kept = KeptSession(
                opening(), name=name, keep_seconds=self._keep_seconds, on_over=self._forget
            )
        except BaseException:
            self._forget(name)
            raise
        with self._changed:
            self._open[name] = (place, kept)
            stopping = self._stopping
        kept.start()
        if stopping:
            kept.end(Code.GOING_AWAY)
            raise _stopping()
        return kept

    def _reserve(self, name: str) -> None:
        """A terminal counts from before it is there: opening takes a while."""
        with self._changed:
            if self._stopping:
                raise _stopping()
            if len(self._open) >= TERMINALS_MAX:
                raise Unavailable(
                    f"{TERMINALS_MAX} terminals of pages are open, which is as many as can be",
                    "End one of them, or use docker-shell or client shell.",
                )
            self._open[name] = None

    def _forget(self, name: str) -> None:
        with self._changed:
            del self._open[name]
            self._changed.notify_all()

    def _find(self, place: str, name: str) -> KeptSession | None:
        """The one of that name, if it is at that place and not over."""
        with self._changed:
            there, kept = self._open.get(name) or ("", None)
            return kept if there == place else None

    def stop(self) -> None:
        """End all and open no more."""
        with self._changed:
            self._stopping = True
            for terminal in filter(None, self._open.values()):
                terminal[1].end(Code.GOING_AWAY)
            if not self._changed.wait_for(lambda: not self._open, _STOP_SECONDS):
                log.warning("%d terminals could not be ended", len(self._open))


def _stopping() -> Unavailable:
    return Unavailable("the host stops", "Ask again when it is back.")
