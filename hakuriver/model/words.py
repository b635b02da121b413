"""A typed line as the words that a POSIX shell would split it into. Nothing is expanded."""

from __future__ import annotations

import re

from hakuriver.model.errors import UsageError

_PIECE = re.compile(
    r"(?P<blank>[ \t\r\n]+)"
    r"|(?P<plain>[^ \t\r\n'\"\\]+)"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>(?:[^"\\]|\\.)*)"'
    r"|\\(?P<escaped>.)",
    re.DOTALL,
)
_ESCAPED = re.compile(r'\\([$`"\\\n])')


def split_line(line: str) -> list[str]:
    """Quotes and backslashes count; a backslash at the end of a line joins it to the next.

    What else means something to a shell ($, *, |, ;, #) is text, and ends of lines are blanks.
    Raises UsageError.
    """
    words: list[str] = []
    word: str | None = None
    place = 0
    while place < len(line):
        piece = _PIECE.match(line, place)
        if piece is None:
            raise _unfinished(line[place], place)
        place = piece.end()
        if piece.lastgroup == "blank":
            if word is not None:
                words.append(word)
            word = None
        elif piece[0] != "\\\n":
            word = (word or "") + _meaning(piece)
    return words if word is None else [*words, word]


def _meaning(piece: re.Match[str]) -> str:
    if piece.lastgroup == "double":
        return _ESCAPED.sub(lambda found: found[1].strip("\n"), piece["double"])
    return piece[piece.lastgroup or 0]


def _unfinished(opening: str, place: int) -> UsageError:
    if opening == "\\":
        return UsageError("the line ends with a backslash", "Write \\\\ for a backslash itself.")
    return UsageError(
        f"the quote {opening} at character {place + 1} is not closed",
        f"Close it, or write \\{opening} for the character itself.",
    )
