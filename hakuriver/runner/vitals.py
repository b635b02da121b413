"""How busy this machine is, from /proc/stat and /proc/meminfo (proc(5))."""

from __future__ import annotations

from pathlib import Path

from hakuriver.model.node import Vitals
from hakuriver.runner.fingerprint import parse_meminfo


def parse_cpu(text: str) -> tuple[int, int]:
    """(busy, total) ticks of all cores since boot; idle and iowait are not busy."""
    fields = [int(field) for field in text.splitlines()[0].split()[1:9]]
    total = sum(fields)
    return total - fields[3] - fields[4], total


class Meter:
    """read() says how busy it was since the read before."""

    def __init__(self) -> None:
        self._last = parse_cpu(Path("/proc/stat").read_text())

    def read(self) -> Vitals:
        now = parse_cpu(Path("/proc/stat").read_text())
        busy, total = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        memory = parse_meminfo(Path("/proc/meminfo").read_text())
        used = memory["MemTotal"] - memory.get("MemAvailable", memory.get("MemFree", 0))
        percent = max(0.0, min(100.0, 100 * busy / total)) if total > 0 else 0.0
        return Vitals(round(percent, 1), max(used, 0), memory["MemTotal"])
