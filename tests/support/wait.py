"""Waiting for a condition, the only place in the tests that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SHORTEST, LONGEST = 0.005, 0.1  # seconds between looks: quick tests stay quick, slow ones cheap


def wait_until(
    condition: Callable[[], T], *, timeout: float = 15, message: str | Callable[[], str] = ""
) -> T:
    """Return the first true value of condition(); AssertionError after timeout seconds."""
    deadline = time.monotonic() + timeout
    pause = SHORTEST
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            told = message() if callable(message) else message
            what = told or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"not within {timeout:g} s: {what} (last seen: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST)
