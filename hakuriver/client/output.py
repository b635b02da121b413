"""Where the client's words go: data to stdout, chatter to stderr. Nothing else in it prints."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TextIO

from hakuriver.model.errors import HakuRiverError, UsageError
from hakuriver.system.plain import plain

Mode = Literal["text", "json", "quiet"]

COLOURS = {
    "online": "32", "completed": "32", "running": "36", "assigning": "36", "paused": "33",
    "pending": "33", "lost": "35", "killed": "33", "failed": "31", "killed_oom": "31",
    "offline": "31",
}  # fmt: skip


class Output:
    """The two streams and how to use them.

    mode: text for people, json for programs, quiet for the bare essence without chatter.
    width: columns of the terminal, 0 if stdout is none; live: a line on stderr may be rewritten.
    """

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        mode: Mode = "text",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.mode = mode
        terminal = stdout.isatty()
        dumb = environ.get("TERM") == "dumb"
        self.colour = terminal and not dumb and not environ.get("NO_COLOR")
        self.width = _columns(stdout) if terminal else 0
        self.talks_to_terminal = stderr.isatty()
        self.live = self.talks_to_terminal and not dumb and mode == "text"
        self._stdout = stdout
        self._stderr = stderr
        self._progress_shown = False

    @classmethod
    def of_process(cls, mode: Mode) -> Output:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Rows may hold any bytes; a terminal that cannot show them shows their numbers.
                stream.reconfigure(errors="backslashreplace")
        return cls(sys.stdout, sys.stderr, mode=mode)

    def line(self, text: str) -> None:
        self._clear_progress()
        self._stdout.write(f"{text}\n")

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def json(self, value: Any) -> None:
        """One value, ASCII only, indented: readable for people too."""
        self.line(json.dumps(value, indent=2))

    def json_array(self, values: Iterable[Any]) -> None:
        """One array, written as its elements come: it may be long."""
        opening = "["
        for value in values:
            self._stdout.write(f"{opening}\n{json.dumps(value)}")
            opening = ","
        self._stdout.write("[]\n" if opening == "[" else "\n]\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they are, at once."""
        self._stdout.flush()
        self._stdout.buffer.write(data)
        self._stdout.buffer.flush()

    def note(self, text: str) -> None:
        """Chatter: a line that no program has to read; nothing with --quiet."""
        if self.mode != "quiet":
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line on stderr that --quiet does not silence either."""
        self._clear_progress()
        self._stderr.write(f"{plain(text)}\n")
        self._stderr.flush()

    def confirmed(self, question: str) -> bool:
        """Whether a person at the terminal says yes; without one UsageError, what says it instead."""
        if not (self.talks_to_terminal and sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError("this has to be confirmed, and there is no terminal", "Add --yes.")
        self._clear_progress()
        self._stderr.write(f"{plain(question)} [y/N] ")
        self._stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def progress(self, text: str) -> None:
        """Rewrite the live line; nothing where there is none."""
        if self.live:
            self._stderr.write(f"\r{clip(plain(text), _columns(self._stderr) - 1)}\x1b[K")
            self._stderr.flush()
            self._progress_shown = True

    def error(self, error: HakuRiverError, name: str = "client") -> None:
        self._clear_progress()
        as_json = self.mode == "json"
        self._stderr.write(f"{json.dumps(error.to_json())}\n" if as_json else explain(error, name))
        self._stderr.flush()

    def painted(self, word: str) -> str:
        """A status word, possibly padded, in its colour where there are colours."""
        code = COLOURS.get(word.strip())
        return f"\x1b[{code}m{word}\x1b[0m" if code and self.colour else word

    def _clear_progress(self) -> None:
        if self._progress_shown:
            self._stderr.write("\r\x1b[K")
            self._progress_shown = False


def explain(error: HakuRiverError, name: str) -> str:
    """An error as the lines that people see; name is the command's."""
    program = f"hakuriver {name}".rstrip()
    hint = f"  hint: {plain(error.hint)}\n" if error.hint else ""
    return f"{program}: error: {plain(error.detail)}\n{hint}"


def clip(text: str, width: int) -> str:
    """At most so many columns of the text; what was cut off shows as …"""
    if columns(text) <= width:
        return text
    used, kept = 0, 0
    for kept, letter in enumerate(text):  # noqa: B007 - where it stops is what counts
        used += columns(letter)
        if used > width - 1:
            break
    return f"{text[:kept]}…"


def columns(text: str) -> int:
    """Columns that a text takes on a terminal: Chinese characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text
    )


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
