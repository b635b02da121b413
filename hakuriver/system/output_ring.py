"""The latest output of a command, by position, and how long it is kept for whom. Pure."""

from __future__ import annotations


class OutputRing:
    """The last `size` bytes. Positions count from the command's first byte and never begin anew."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._data = bytearray()
        self.start = 0
        """Position of the oldest byte that is still here."""

    @property
    def end(self) -> int:
        """Position after the newest byte."""
        return self.start + len(self._data)

    def room(self, seen: int) -> int:
        """How many bytes can be put in before one goes that is not seen yet: all before `seen` are."""
        return max(0, self._size - (self.end - seen))

    def append(self, data: bytes) -> None:
        """The oldest bytes make way."""
        self._data += data
        surplus = max(0, len(self._data) - self._size)
        del self._data[:surplus]
        self.start += surplus

    def nearest(self, at: int) -> int:
        """The first position from `at` on that can be read from."""
        return min(max(at, self.start), self.end)

    def read(self, at: int, limit: int) -> bytes:
        """At most so many bytes from a position between start and end."""
        place = at - self.start
        return bytes(self._data[place : place + limit])


def seconds_left(left_at: float | None, now: float, keep_seconds: float) -> float | None:
    """How long a session still waits for somebody, 0 or less if no longer; None while one is there.

    left_at: when the last one left, None if somebody is there.
    """
    return None if left_at is None else left_at + keep_seconds - now
