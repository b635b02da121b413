"""Where the log goes."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType

from hakuriver.model.errors import UsageError
from hakuriver.system.plain import plain

_TIME = "%Y-%m-%dT%H:%M:%S"
_WITH_TIME = "%(asctime)s %(levelname)s %(message)s"
_WITHOUT_TIME = "%(levelname)s %(message)s"


class _PlainFormatter(logging.Formatter):
    """One line for each message; only our own tracebacks have more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = plain(record.message)
        return super().formatMessage(record)

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        return "\n".join(map(plain, super().formatException(ei).split("\n")))


def setup(name: str, *, file: Path | None, level: int = logging.INFO) -> None:
    """Log to stderr and, if given, to the file too; replaces what was set up before.

    The journal stamps each line itself, so the time (local) is left out there. The file may be
    moved away by a log rotation: a new one is begun. A file that cannot be written is a UsageError.
    """
    stderr = logging.StreamHandler(sys.stderr)
    to_journal = "JOURNAL_STREAM" in os.environ
    stderr.setFormatter(_PlainFormatter(_WITHOUT_TIME if to_journal else _WITH_TIME, _TIME))
    handlers: list[logging.Handler] = [stderr]
    if file is not None:
        handlers.append(_file_handler(name, file))
    # Finding out where each call stands takes longer than writing the line, and no line says it
    # (Python's documentation, "Logging HOWTO", Optimization).
    logging._srcfile = None
    logging.basicConfig(level=level, handlers=handlers, force=True)


def _file_handler(name: str, file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"the log file of {name}, {plain(str(file))}, cannot be written: {error.strerror}",
            "Name a file in a folder that this user may write to, or leave the log file out.",
        ) from error
    handler.setFormatter(_PlainFormatter(_WITH_TIME, _TIME))
    return handler
