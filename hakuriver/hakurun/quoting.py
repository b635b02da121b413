"""Command lines as people can paste them into bash again: one line each, whatever is in them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def quoted(words: Iterable[str]) -> str:
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Plain quotes where they do; $'…' for control characters and bytes that are not UTF-8."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", "surrogateescape"))
