"""A command line with spans, as the command lines that it stands for: counted, never listed.

parse() undoes what a shell did to braces that were not quoted. Neighbouring words that differ only
behind their `span:` came from one word: `a span:{1..3}` arrives as a span:1 span:2 span:3.
They are one axis again if they are one sequence, or at most three. Four or more in no order may as
well have been two words, span:{a,b} span:{c,d}: that is an error, which shows what to quote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

from hakuriver.model.errors import UsageError
from hakuriver.model.span import (
    HINT,
    MARK,
    Axis,
    Bare,
    Piece,
    ReadLines,
    parse_word,
    sequence,
    write_list,
)

PREFIX = "HAKURUN_"
OURS = ("HAKURUN_INDEX", "HAKURUN_TOTAL", "HAKURUN_SWEEP")
SURE = 3
"""So many values in no order can have been one list only: two lists are two values each."""

_KEY = re.compile(r"-{0,2}([A-Za-z][A-Za-z0-9_.-]*)=")
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_.-]*)")


@dataclass(frozen=True, slots=True)
class Sweep:
    """words: text and numbers of axes. names: each axis' variable, or "".

    The last axis changes fastest; zipped: all change together.
    notes: how words were put together again, for people.
    """

    words: tuple[tuple[str | int, ...], ...]
    axes: tuple[Sequence[str], ...]
    names: tuple[str, ...]
    zipped: bool
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        if self.zipped and self.axes:
            return len(self.axes[0])
        return math.prod(map(len, self.axes))

    def point(self, index: int) -> tuple[str, ...]:
        """The value of each axis in the run of that index, which counts from 0."""
        if self.zipped:
            return tuple(axis[index] for axis in self.axes)
        values: list[str] = []
        for axis in reversed(self.axes):
            index, place = divmod(index, len(axis))
            values.append(axis[place])
        return tuple(reversed(values))

    def argv(self, index: int) -> tuple[str, ...]:
        return self._filled(self.point(index))

    def variables(self, index: int) -> dict[str, str]:
        """HAKURUN_INDEX (from 1), HAKURUN_TOTAL and one for each axis that has a name."""
        values = self.point(index)
        named = {name: value for name, value in zip(self.names, values, strict=True) if name}
        return {**named, "HAKURUN_INDEX": str(index + 1), "HAKURUN_TOTAL": str(self.total)}

    def to_json(self) -> dict[str, Any]:
        """For POST /submit: the values of each axis, not their combinations."""
        return {
            "words": [list(word) for word in self.words],
            "axes": [list(axis) for axis in self.axes],
            "names": list(self.names),
            "zipped": self.zipped,
        }

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return (self.argv(index) for index in range(self.total))

    def _filled(self, values: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            "".join(values[piece] if isinstance(piece, int) else piece for piece in word)
            for word in self.words
        )


def parse(words: Sequence[str], read_lines: ReadLines, *, zipped: bool = False) -> Sweep:
    """Raises UsageError, which says where and what to write instead."""
    parsed = [
        parse_word(word, f"argument {place}" if place else "the command", read_lines)
        for place, word in enumerate(words)
    ]
    notes: list[str] = []
    whole = list(_regrouped(words, parsed, notes))
    axes = [piece for word in whole for piece in word if isinstance(piece, Axis)]
    if zipped:
        _check_zip(axes)
    numbers = iter(range(len(axes)))
    return Sweep(
        tuple(
            tuple(next(numbers) if isinstance(piece, Axis) else str(piece) for piece in word)
            for word in whole
        ),
        tuple(axis.values for axis in axes),
        tuple(_names(whole)),
        zipped,
        tuple(notes),
    )


def _check_zip(axes: Sequence[Axis]) -> None:
    if not axes:
        raise UsageError("--zip: there is no span to pair", HINT)
    counts = [len(axis.values) for axis in axes]
    if len(set(counts)) > 1:
        shown = ", ".join(
            f"{_short(axis.source)} has {count}" for axis, count in zip(axes, counts, strict=True)
        )
        raise UsageError(
            f"--zip pairs spans of equal length: {shown}",
            "Without --zip every value is combined with every other.",
        )


def _names(words: Sequence[Sequence[Piece]]) -> Iterator[str]:
    """Of each axis: from --lr=span:…, lr=span:… or --lr span:…; of two the same, the first."""
    taken = set(OURS)
    for place, word in enumerate(words):
        for number, piece in enumerate(word):
            if not isinstance(piece, Axis):
                continue
            before = word[number - 1] if number else ""
            option = words[place - 1] if place and not number else ()
            found = _KEY.fullmatch(before) if isinstance(before, str) and number == 1 else None
            if found is None and len(option) == 1 and isinstance(option[0], str):
                found = _OPTION.fullmatch(option[0])
            name = PREFIX + re.sub(r"\W", "_", found[1]).upper() if found else ""
            yield name if name not in taken else ""
            taken.add(name)


def _regrouped(
    words: Sequence[str], parsed: Sequence[tuple[Piece, ...]], notes: list[str]
) -> Iterator[tuple[Piece, ...]]:
    place = 0
    for _, run in groupby(parsed, _shape):
        group = list(run)
        if not any(isinstance(piece, Bare) for piece in group[0]):
            yield from group
        else:
            yield _Group(words[place : place + len(group)], group, place, notes).whole()
        place += len(group)


def _shape(word: tuple[Piece, ...]) -> tuple[object, ...]:
    """Equal for words that can have come from one; text alone has no neighbours of its kind."""
    return tuple(
        Bare if isinstance(p, Bare) else p.source if isinstance(p, Axis) else p for p in word
    )


class _Group:
    """Neighbouring words with the same text around what a shell made of their spans."""

    def __init__(
        self,
        words: Sequence[str],
        parsed: Sequence[tuple[Piece, ...]],
        place: int,
        notes: list[str],
    ) -> None:
        self._words = words
        self._parsed = parsed
        self._place = place
        self._notes = notes

    def whole(self) -> tuple[Piece, ...]:
        """The one word, its spans with all their values."""
        columns = [
            [piece.text for piece in column if isinstance(piece, Bare)]
            for column in zip(*self._parsed, strict=True)
        ]
        if len(self._words) == 1:
            self._check_alone([column[0] for column in columns if column])
        distinct = [tuple(dict.fromkeys(column)) for column in columns if column]
        rows = list(zip(*(column for column in columns if column), strict=True))
        if rows != list(product(*distinct)):
            raise self._ambiguous()
        if len(distinct[0]) > SURE and sequence(distinct[0]) is None:
            raise self._ambiguous()
        spans = iter(distinct)
        whole: list[Piece] = []
        for piece in self._parsed[0]:
            whole += _axis(next(spans)) if isinstance(piece, Bare) else [piece]
        self._note(whole)
        return tuple(whole)

    def _check_alone(self, values: list[str]) -> None:
        for value in values:
            if not value or ".." in value:
                better = f" Did you mean 'span:{{{value}}}'?" if value else ""
                raise UsageError(
                    f"{self._where()}, '{self._words[0]}': '{MARK}{value}' is no span",
                    HINT + better,
                )

    def _note(self, whole: Sequence[Piece]) -> None:
        written = "".join(p.source if isinstance(p, Axis) else str(p) for p in whole)
        count = len(self._words)
        if count == 1:
            self._notes.append(f"{self._words[0]} has one value only; a span is span:{{1..10}}")
        else:
            self._notes.append(
                f"{_some(self._words)} ({count} words) is read as '{_short(written)}'; "
                "in quotes it is never in doubt"
            )

    def _where(self) -> str:
        return f"argument {self._place}" if self._place else "the command"

    def _ambiguous(self) -> UsageError:
        half = _first_sequence(self._words)
        before, _, _ = self._words[0].partition(MARK)
        tails = [word[len(before) + len(MARK) :] for word in self._words]
        one = f"'{before}{MARK}{_short(write_list(tails))}'"
        two = " ".join(
            f"'{before}{MARK}{_short(write_list(part))}'" for part in (tails[:half], tails[half:])
        )
        return UsageError(
            f"{self._where()} and the {len(self._words) - 1} behind it, {_some(self._words)}: "
            "the shell has expanded {…}, and what it was can be read in more than one way",
            f"Put quotes around it. As one span: {one}. As two: {two}.",
        )


def _first_sequence(words: Sequence[str]) -> int:
    """How many of the words would have been the first of two spans, most likely."""
    lengths = [n for n in range(2, len(words) - 1) if sequence(words[:n]) is not None]
    return lengths[-1] if lengths else max(1, len(words) // 2)


def _axis(values: tuple[str, ...]) -> list[Piece]:
    found = sequence(values) if len(values) > 1 else None
    if found is None:
        return [Axis(values, MARK + write_list(values))]
    before, first, last, behind = found
    end = len(behind)
    cut = tuple(value[: len(value) - end] for value in values) if end else values
    source = f"{MARK}{{{first}..{last}}}" if not before else MARK + write_list(cut)
    return [Axis(cut, source), behind] if behind else [Axis(cut, source)]


def _some(words: Sequence[str]) -> str:
    shown = words if len(words) <= 4 else [*words[:2], "…", words[-1]]
    return _short(" ".join(shown))


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:80]}…{text[-30:]}"
