"""Spans: `span:{1..10}`, `--lr=span:[1e-3,1e-4]`, `span:@FILE`. How one word is read.

A word is text and spans in turn. Numbers run as bash lets them run, and decimals too:

    span:{1..10}  {10..1}  {1..10..3}  {01..10}  {0..1..0.25}  {a..z}  {a,b,c}
    span:[foo,bar]  [foo, "with, comma", 'and space']
    span:@FILE      each line that is not empty is a value; the name ends with the word

Unquoted, bash has taken the braces away before anybody can read them: `span:{1..3}` arrives as
the words span:1 span:2 span:3. Such a remainder is Bare here; sweep.py puts them together again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import overload

from hakuriver.model.errors import UsageError

MARK = "span:"
VALUES_MAX = 1_000_000_000
HINT = "Spans are span:{1..10}, span:{0..1..0.25}, span:{a..z}, span:[foo,bar] and span:@FILE."

_FIRST_MARK = re.compile(r"(?<![A-Za-z0-9])span:|(?<=^-[A-Za-z])span:")  # -nspan:5, no lifespan:5
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"-?\d+", re.ASCII)
_LETTER = re.compile(r"[a-z]|[A-Z]")

ReadLines = Callable[[str], Iterable[str]]
"""The lines of a file without their ends; raises HakuRiverError."""


@dataclass(frozen=True, slots=True)
class Progression(Sequence[str]):
    """Values that are computed when they are asked for.

    start and step in units of 10**-digits, or code points of letters; width: zero-padded to it.
    """

    start: int
    step: int
    length: int
    width: int = 0
    digits: int = 0
    letters: bool = False

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(self.length))]
        if not -self.length <= place < self.length:
            raise IndexError(place)
        value = self.start + self.step * (place % self.length)
        if self.letters:
            return chr(value)
        if not self.digits:
            return f"{value:0{self.width}d}"
        text = f"{Decimal(value).scaleb(-self.digits):f}".rstrip("0").rstrip(".")
        return "0" if text in ("-0", "") else text


@dataclass(frozen=True, slots=True)
class Axis:
    """One span: its values, and the text that says it."""

    values: Sequence[str]
    source: str


@dataclass(frozen=True, slots=True)
class Bare:
    """What a shell left of a span whose braces it has expanded."""

    text: str


Piece = str | Axis | Bare


def parse_word(word: str, where: str, read_lines: ReadLines) -> tuple[Piece, ...]:
    """Raises UsageError, which says where; where names the word, as in "argument 2"."""
    return _Reader(word, where, read_lines).pieces()


class _Reader:
    """Reads one word from left to right."""

    def __init__(self, word: str, where: str, read_lines: ReadLines) -> None:
        self._word = word
        self._where = where
        self._read_lines = read_lines
        self._place = 0

    def pieces(self) -> tuple[Piece, ...]:
        found: list[Piece] = []
        first = _FIRST_MARK.search(self._word)
        mark = first.start() if first else -1
        while mark >= 0:
            if mark > self._place:
                found.append(self._word[self._place : mark])
            self._place = mark + len(MARK)
            found.append(self._span(mark))
            mark = self._word.find(MARK, self._place)
        if self._place < len(self._word):
            found.append(self._word[self._place :])
        return tuple(found)

    def _span(self, mark: int) -> Axis | Bare:
        opening = self._word[self._place : self._place + 1]
        values: Sequence[str]
        if opening == "{":
            values = self._braces()
        elif opening == "[":
            values = self._items("]")
        elif opening == "@":
            values = self._lines()
        else:
            end = self._word.find(MARK, self._place)
            text = self._word[self._place : end if end >= 0 else None]
            self._place += len(text)
            return Bare(text)
        return Axis(values, self._word[mark : self._place])

    def _braces(self) -> Sequence[str]:
        start = self._place
        end = self._word.find("}", start)
        inside = self._word[start + 1 : end]
        if end < 0:
            raise self._wrong(start, "there is no '}' for this '{'")
        if ".." not in inside or "," in inside:
            if "," in inside:
                return self._items("}")
            raise self._wrong(start, f"'{{{inside}}}' is neither {{FIRST..LAST}} nor {{A,B}}")
        self._place = end + 1
        return self._range(inside, start + 1)

    def _range(self, inside: str, start: int) -> Progression:
        parts = inside.split("..")
        if len(parts) > 3:
            raise self._wrong(start, "a range is FIRST..LAST or FIRST..LAST..STEP")
        places = [start]
        for part in parts[:-1]:
            places.append(places[-1] + len(part) + 2)
        step = parts[2] if len(parts) == 3 else "1"
        for part, place in zip(parts[2:], places[2:], strict=True):
            if not _NUMBER.fullmatch(part):
                raise self._wrong(place, f"the step '{part}' is no number")
        if all(map(_LETTER.fullmatch, parts[:2])):
            return self._letters(parts, places, step)
        for part, place in zip(parts[:2], places[:2], strict=True):
            if not _NUMBER.fullmatch(part):
                raise self._wrong(place, f"'{part}' is neither a number nor a letter")
        return self._numbers(parts, places, step)

    def _letters(self, parts: list[str], places: list[int], step: str) -> Progression:
        first, last = parts[:2]
        if first.isupper() != last.isupper():
            raise self._wrong(places[1], f"'{first}' and '{last}' are not of the same case")
        if not _WHOLE.fullmatch(step):
            raise self._wrong(places[2], f"letters go in whole steps, not in steps of '{step}'")
        return self._progression((ord(first), ord(last), int(step)), places, letters=True)

    def _numbers(self, parts: list[str], places: list[int], step: str) -> Progression:
        first, last = parts[:2]
        numbers = [Decimal(text) for text in (first, last, step)]
        digits = max(0, *(-int(number.as_tuple().exponent) for number in numbers))
        if digits and len(parts) < 3:
            raise self._wrong(places[0], f"decimals need a step, as in {{{first}..{last}..0.1}}")
        scaled = [int(number.scaleb(digits)) for number in numbers]
        padded = not digits and any(re.match(r"-?0\d", text) for text in (first, last))
        width = max(len(first), len(last)) if padded else 0
        return self._progression(
            (scaled[0], scaled[1], scaled[2]), places, width=width, digits=digits
        )

    def _progression(
        self,
        numbers: tuple[int, int, int],
        places: list[int],
        *,
        width: int = 0,
        digits: int = 0,
        letters: bool = False,
    ) -> Progression:
        first, last, step = numbers
        if not step:
            raise self._wrong(places[-1], "a step of 0 leads nowhere")
        count = abs(last - first) // abs(step) + 1
        if count > VALUES_MAX:
            raise self._wrong(places[0], f"these are {count} values, more than {VALUES_MAX}")
        signed = abs(step) if last >= first else -abs(step)
        return Progression(first, signed, count, width, digits, letters)

    def _items(self, closing: str) -> tuple[str, ...]:
        opening = self._place
        items: list[str] = []
        while True:
            self._place += 1
            start = self._place
            text, quoted = self._item(closing)
            if self._place >= len(self._word):
                raise self._wrong(
                    opening, f"there is no '{closing}' for this '{self._word[opening]}'"
                )
            ending = self._word[self._place]
            if not text and not quoted:
                alone = not items and ending == closing
                raise self._wrong(
                    start, "there is no value here" if alone else 'a value is empty; "" means that'
                )
            items.append(text)
            if ending == closing:
                self._place += 1
                return tuple(items)

    def _item(self, closing: str) -> tuple[str, bool]:
        """One value, and whether it was quoted; the place is then that of what ends it."""
        word = self._word
        while word[self._place : self._place + 1].isspace():
            self._place += 1
        if word[self._place : self._place + 1] in ('"', "'"):
            text = self._quoted()
            while word[self._place : self._place + 1].isspace():
                self._place += 1
            if word[self._place : self._place + 1] not in ("", ",", closing):
                raise self._wrong(self._place, f"only ',' or '{closing}' may follow a quoted value")
            return text, True
        start, depth = self._place, 0
        while self._place < len(word):
            letter = word[self._place]
            if not depth and letter in (",", closing):
                break
            depth += (letter == "[") - (letter == "]")
            self._place += 1
        return word[start : self._place].strip(), False

    def _quoted(self) -> str:
        start = self._place
        quote = self._word[start]
        kept: list[str] = []
        self._place += 1
        while (letter := self._word[self._place : self._place + 1]) != quote:
            if not letter:
                raise self._wrong(start, f"the value that begins with this {quote} has no end")
            if letter == "\\" and quote == '"' and self._word[self._place + 1 :][:1] in ('"', "\\"):
                self._place += 1
            kept.append(self._word[self._place])
            self._place += 1
        self._place += 1
        return "".join(kept)

    def _lines(self) -> tuple[str, ...]:
        start = self._place
        name = self._word[start + 1 :]
        self._place = len(self._word)
        if not name:
            raise self._wrong(start, "the name of a file has to follow the '@'")
        values = tuple(line for line in self._read_lines(name) if line)
        if not values:
            raise self._wrong(start, f"there is no line in {name}")
        return values

    def _wrong(self, place: int, what: str) -> UsageError:
        return UsageError(f"{self._where}, '{self._word}', character {place + 1}: {what}", HINT)


def write_list(values: Sequence[str]) -> str:
    """The list that has these values: [a,"b, c"]."""
    return f"[{','.join(map(_write_item, values))}]"


def _write_item(value: str) -> str:
    if value and value == value.strip() and not set(value) & set(",[]\"'"):
        return value
    return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))


def sequence(values: Sequence[str]) -> tuple[str, str, str, str] | None:
    """What one {FIRST..LAST} would have made of: text before, FIRST, LAST..STEP, text behind.

    None: no single one would have.
    """
    return _numbers_in(values) or _letters_in(values)


def _numbers_in(values: Sequence[str]) -> tuple[str, str, str, str] | None:
    split = [re.split(r"(-?\d+)", value, flags=re.ASCII) for value in values]
    if len({len(parts) for parts in split}) != 1:
        return None
    changing = [
        place for place, column in enumerate(zip(*split, strict=True)) if len(set(column)) > 1
    ]
    if len(changing) != 1 or not changing[0] % 2:
        return None
    place = changing[0]
    texts = [parts[place] for parts in split]
    first, second = int(texts[0]), int(texts[1])
    step = second - first
    padded = any(re.match(r"-?0\d", text) for text in texts)
    width = len(texts[0]) if padded else 0
    if not step or texts != list(Progression(first, step, len(texts), width)):
        return None
    return _written(split[0], place, (texts[0], texts[-1]), step)


def _letters_in(values: Sequence[str]) -> tuple[str, str, str, str] | None:
    if len({len(value) for value in values}) != 1:
        return None
    changing = [
        place for place, column in enumerate(zip(*values, strict=True)) if len(set(column)) > 1
    ]
    if len(changing) != 1:
        return None
    place = changing[0]
    letters = [value[place] for value in values]
    step = ord(letters[1]) - ord(letters[0])
    ends = (letters[0], letters[-1])
    plain = all(map(_LETTER.fullmatch, letters)) and ends[0].isupper() == ends[1].isupper()
    if not plain or not step:
        return None
    if letters != list(Progression(ord(letters[0]), step, len(letters), letters=True)):
        return None
    return _written([values[0][:place], "", values[0][place + 1 :]], 1, ends, step)


def _written(
    parts: Sequence[str], place: int, ends: tuple[str, str], step: int
) -> tuple[str, str, str, str]:
    last = ends[1] if abs(step) == 1 else f"{ends[1]}..{abs(step)}"
    return "".join(parts[:place]), ends[0], last, "".join(parts[place + 1 :])
