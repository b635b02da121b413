"""The list of runs and how they ended, a line each: the columns are those of GNU parallel.

A run has succeeded if a line has its command with exit code 0. Commands, not numbers, say which
run a line is about, so that a sweep may grow between two calls.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hakuriver.model.errors import HakuRiverError, UsageError

COLUMNS = (
    "Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command",
)  # fmt: skip
HEADER = "\t".join(COLUMNS) + "\n"


class Joblog:
    """Open for appending; each line is written at once and whole."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Raises UsageError if it cannot be written, or is there already and not to be resumed."""
        self.path = path
        self.succeeded: Counter[str] = Counter()
        self.broken = ""
        try:
            self._descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
            )
            text = (
                path.read_text("utf-8", "surrogateescape")
                if os.fstat(self._descriptor).st_size
                else ""
            )
        except OSError as error:
            raise UsageError(f"cannot write the joblog {path}: {error.strerror}") from None
        if text and not resume:
            raise UsageError(
                f"the joblog {path} is there already",
                "--resume runs what has not succeeded yet; to begin anew, remove it or name another.",
            )
        if text and not text.startswith(HEADER):
            raise UsageError(f"{path} is no joblog", f"Its first line would be: {HEADER.strip()}")
        self.succeeded.update(_succeeded(text))
        if not text:
            self._write(HEADER)
        elif not text.endswith("\n"):  # whoever wrote it was killed in the middle of a line
            self._write("\n")
        if self.broken:
            raise UsageError(f"cannot write the joblog {path}: {self.broken}")

    def has_succeeded(self, command: str) -> bool:
        """Asked once for each run: a command that is in the sweep twice has to be in here twice."""
        if not self.succeeded[command]:
            return False
        self.succeeded[command] -= 1
        return True

    def ended(
        self, number: int, started: float, seconds: float, code: int, signal: int, command: str
    ) -> None:
        """The first failure to write is kept in broken."""
        self._write(
            f"{number}\t:\t{started:.3f}\t{seconds:10.3f}\t0\t0\t{code}\t{signal}\t{command}\n"
        )

    def check(self) -> None:
        """Raises HakuRiverError if a line is missing."""
        if self.broken:
            raise HakuRiverError(
                f"the joblog {self.path} is not complete: {self.broken}",
                "With --resume, runs whose lines are missing run again.",
            )

    def _write(self, line: str) -> None:
        data = line.encode("utf-8", "surrogateescape")
        try:
            if os.write(self._descriptor, data) < len(data):
                self.broken = self.broken or "No space left on device"
        except OSError as error:
            self.broken = self.broken or str(error.strerror)


def _succeeded(text: str) -> Iterator[str]:
    for line in text.split("\n")[1:-1]:  # the last one has no end, or is nothing
        cells = line.split("\t", len(COLUMNS) - 1)
        if len(cells) == len(COLUMNS) and cells[6] == "0" and cells[7] == "0":
            yield cells[8]
