"""What hakurun itself says: labels, notes, progress and the summary, all on stderr.

stdout is the runs' alone.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from hakuriver.model.errors import HakuRiverError
from hakuriver.model.units import format_duration
from hakuriver.system.plain import plain

REDRAW = 0.1
"""Seconds between two looks of the progress line, at least."""
LISTED_MAX = 20


class Screen:
    """quiet: errors only. live: the last line of stderr may be rewritten."""

    def __init__(self, total: int, *, quiet: bool, live: bool) -> None:
        self.live = live and not quiet
        self._total = total
        self._quiet = quiet
        self._shown = False
        self._drawn = 0.0

    def write(self, descriptor: int, data: bytes) -> None:
        """All of it, to our 1 or 2. Raises BrokenPipeError if there is no reader."""
        self.clear()
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:  # whoever shares the terminal with us wants it so
                select.select([], [descriptor], [])
            except BrokenPipeError:
                raise
            except OSError as error:
                name = {1: "standard output", 2: "standard error"}[descriptor]
                raise HakuRiverError(f"cannot write {name}: {error.strerror}") from None

    def label(self, number: int, command: str, failure: str = "") -> None:
        if not self._quiet:
            self._line(f"[{number}/{self._total}] {command}{f' ({failure})' if failure else ''}")

    def note(self, text: str) -> None:
        if not self._quiet:
            self._line(f"hakurun: {text}")

    def warn(self, text: str) -> None:
        self._line(f"hakurun: {text}")

    def list_failed(self, failed: list[tuple[int, str, str]], more: int) -> None:
        """(number, how, command) of the first ones; more: how many there are besides."""
        for number, how, command in failed:
            self._line(f"  [{number}/{self._total}] {how}: {command}")
        if more:
            self._line(f"  … and {more} more")

    def progress(self, text: Callable[[], str]) -> None:
        now = time.monotonic()
        if not self.live or now - self._drawn < REDRAW:
            return
        self._drawn = now
        try:
            columns = os.get_terminal_size(2).columns or 80
        except OSError:
            columns = 80
        self._put(f"\r{text()[: columns - 1]}\x1b[K")
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            self._put("\r\x1b[K")

    def _line(self, text: str) -> None:
        self.clear()
        self._put(f"{plain(text)}\n")

    def _put(self, text: str) -> None:
        """Ours is not worth failing for: the runs go on if nobody reads it."""
        try:
            os.write(2, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass


def progress_text(done: int, failed: int, running: int, total: int, seconds: float) -> str:
    parts = [f"{done}/{total} done"]
    if failed:
        parts.append(f"{failed} failed")
    parts.append(f"{running} running")
    if done:
        left = seconds / done * (total - done)
        parts.append(f"{format_duration(left)} left")
    return "hakurun: " + ", ".join(parts)
