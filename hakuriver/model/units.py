"""Amounts as people write them: memory sizes, core counts, seconds."""

from __future__ import annotations

import re

from hakuriver.model.errors import Refused

MILLI = 1000

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_FACTOR = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw])", re.IGNORECASE | re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(text: str) -> int:
    """Bytes of "512M", "1.5g", "4GiB" or "1048576"; units are binary, as docker's are.

    Raises Refused if it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise Refused(
            f"'{text}' is no memory size", "Write a number with K, M, G or T, for example 512M."
        )
    return int(float(match[1]) * _FACTOR[match[2].lower()])


def format_size(size: int) -> str:
    """A size for people, three digits at most: 512M, 1.5G."""
    for unit in ("T", "G", "M", "K"):
        if size >= _FACTOR[unit.lower()]:
            value = size / _FACTOR[unit.lower()]
            return (
                f"{value:.0f}{unit}"
                if value >= 100 or value == int(value)
                else f"{value:.1f}{unit}"
            )
    return f"{size}B"


def parse_duration(text: str) -> float:
    """Seconds of "30d", "12h", "90m", "45s" or "2w". Raises Refused if it is no duration."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise Refused(
            f"'{text}' is no duration", "Write a number with s, m, h, d or w, for example 30d."
        )
    return float(match[1]) * _SECONDS[match[2].lower()]


def milli(cores: float) -> int:
    """Cores in thousandths: sums of them are exact, sums of fractions are not."""
    return round(cores * MILLI)


def format_number(value: float) -> str:
    """A core count for people and argument lists: 2 rather than 2.0, 0.5 as it is."""
    return str(int(value)) if value == int(value) else f"{value:.3f}".rstrip("0").rstrip(".")


def counted(count: int, noun: str) -> str:
    """1 task, but 2 tasks."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_duration(seconds: float) -> str:
    """A duration for people: 0.4s, 12s, 3m05s, 2h07m, 4d03h."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    for limit, big, small in ((3600, 60, 1), (86400, 3600, 60)):
        if whole < limit:
            return f"{whole // big}{_LETTER[big]}{whole % big // small:02d}{_LETTER[small]}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


_LETTER = {3600: "h", 60: "m", 1: "s"}
