"""How busy this machine is: from psutil, or from proc(5) where that does not load.

psutil knows more kernels, and how to estimate free memory where they do not tell it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from hakuriver.model.node import Vitals
from hakuriver.runner.fingerprint import parse_meminfo
from hakuriver.system.native import import_psutil


class Reading(NamedTuple):
    """busy and total: seconds or ticks of all cores since boot, idle and iowait are not busy; memory
    in bytes."""

    busy: float
    total: float
    memory_used: int
    memory_total: int


class Source(Protocol):
    def __call__(self) -> Reading: ...


def parse_cpu(text: str) -> tuple[int, int]:
    """(busy, total) of /proc/stat. Guests' time is in user's already."""
    fields = [int(field) for field in text.splitlines()[0].split()[1:9]]
    total = sum(fields)
    return total - fields[3] - fields[4], total


def from_proc() -> Reading:
    busy, total = parse_cpu(Path("/proc/stat").read_text())
    memory = parse_meminfo(Path("/proc/meminfo").read_text())
    used = memory["MemTotal"] - memory.get("MemAvailable", memory.get("MemFree", 0))
    return Reading(busy, total, used, memory["MemTotal"])


def from_psutil() -> Source | None:
    psutil = import_psutil()
    if psutil is None:
        return None

    def read() -> Reading:
        times, memory = psutil.cpu_times(), psutil.virtual_memory()
        total = sum(times[:8])  # as of parse_cpu
        used = memory.total - memory.available
        return Reading(total - times.idle - times.iowait, total, used, memory.total)

    return read


class Meter:
    """read() says how busy it was since the read before."""

    def __init__(self) -> None:
        self._source = from_psutil() or from_proc
        self._last = self._source()

    def read(self) -> Vitals:
        last, now = self._last, self._source()
        self._last = now
        busy, total = now.busy - last.busy, now.total - last.total
        percent = max(0.0, min(100.0, 100 * busy / total)) if total > 0 else 0.0
        return Vitals(round(percent, 1), max(now.memory_used, 0), now.memory_total)
