"""How hakurun reads its command line: its own options end at the first word that is none.

On the way of every start, so it imports little: no dataclasses, no pathlib.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from hakuriver.model.errors import UsageError

PROG = "hakurun"
MODES = ("group", "prefix", "raw")
DESCRIPTION = """\
Run a command once for every combination of its spans, on this machine.

  hakurun --parallel python train.py 'span:[1e-3,1e-4]' 'span:{1..5}'

spans:
  span:{1..10}  span:{10..1}  span:{0..1..0.25}  span:{01..10}  span:{a..z}
  span:[foo,"b, c"]   span:@FILE (a line each); several in one word, and text around them
  The last one changes fastest. bash takes the braces of span:{1..10} away unless they are quoted;
  hakurun puts the words together again. Quote span:[…] in zsh, always.

APP is a program, a path, or a Python module: module, or module:function."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Options(NamedTuple):
    """words: APP and its arguments, spans and all. timeout in seconds."""

    words: tuple[str, ...]
    module: bool
    zipped: bool
    jobs: int
    output: str
    dry_run: bool
    fail_fast: bool
    timeout: float | None
    joblog: str | None
    resume: bool
    quiet: bool

    @property
    def watched(self) -> bool:
        """Whether even one run alone needs us beside it."""
        return bool(
            self.output != "raw" or self.joblog or self.timeout or self.dry_run or self.zipped
        )


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"See: {PROG} --help")

    def print_help(self, file: Any = None) -> None:
        # argparse's own swallows the error of a stdout that nobody reads.
        (file or sys.stdout).write(self.format_help())


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises UsageError; --help leaves with SystemExit."""
    parser = _parser()
    own, words = _split(parser, list(argv))
    given = parser.parse_args(own)
    if not words:
        raise UsageError("there is nothing to run", f"Write {PROG} [OPTIONS] APP [ARGUMENTS …].")
    if not words[0]:
        raise UsageError("the command is empty")
    if given.resume and given.joblog is None:
        raise UsageError("--resume needs --joblog FILE, which says what has succeeded")
    parallel = given.parallel or given.jobs is not None
    jobs = (given.jobs or default_jobs(environ)) if parallel else 1
    return Options(
        words=tuple(words),
        module=given.module,
        zipped=given.zip,
        jobs=jobs,
        output=_output(given.output) or ("group" if parallel else "raw"),
        dry_run=given.dry_run,
        fail_fast=given.fail_fast,
        timeout=given.timeout,
        joblog=given.joblog,
        resume=given.resume,
        quiet=given.quiet,
    )


def default_jobs(environ: Mapping[str, str]) -> int:
    """Inside a task the cores that were reserved for it, else those that we may use."""
    try:
        reserved = int(float(environ.get("HAKURIVER_CORES", "0")))
    except ValueError:
        reserved = 0
    return reserved if reserved > 0 else len(os.sched_getaffinity(0))


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} [OPTIONS] APP [ARGUMENTS …]",
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parallel", action="store_true", help="several runs at once, as many as there are cores")
    add("-j", "--jobs", metavar="N", type=_jobs, help="so many at once; implies --parallel")
    add("--zip", action="store_true", help="pair the values of the spans instead of combining them")
    add("-m", "--module", action="store_true", help="APP is a Python module, whatever is on PATH")
    add("--output", metavar="MODE", help="group: each run's whole, at its end (default with "
        "--parallel); prefix: line by line, numbered; raw: as it comes (default without); or a "
        "DIR (with a / in it) for files")  # fmt: skip
    add("--dry-run", action="store_true", help="print the command lines and run nothing")
    add("--fail-fast", action="store_true", help="stop everything when a run fails")
    add("--timeout", metavar="T", type=_duration, help="end a run after 90, 90s, 5m, 1.5h or 2d")
    add("--joblog", metavar="FILE", help="write a line for every run that has ended")
    add("--resume", action="store_true", help="run only what has not succeeded by the joblog")
    add("-q", "--quiet", action="store_true", help="say nothing but errors")
    return parser


def _split(parser: Parser, argv: list[str]) -> tuple[list[str], list[str]]:
    """Our options, and the user's command, which is not looked at."""
    place = 0
    while place < len(argv):
        word = argv[place]
        if word == "--":
            return argv[:place], argv[place + 1 :]
        if not word.startswith("-") or word == "-":
            break
        action = parser._option_string_actions.get(word)
        place += 2 if action is not None and action.nargs != 0 else 1
    return argv[:place], argv[place:]


def _output(text: str | None) -> str:
    """A mode or a folder, or "". Raises UsageError for what may be a mode misspelt."""
    if not text or text in MODES or "/" in text or os.path.isdir(text):
        return text or ""
    raise UsageError(
        f"--output: '{text}' is neither {', '.join(MODES)} nor a folder that is there",
        f"For a new folder, write ./{text}",
    )


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of runs")
    return int(text)


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration; write 90, 90s, 5m or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]
