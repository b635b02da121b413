"""How the client reads a command line: what is ours, and where the user's command begins."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from hakuriver.client.host_api import HostApi
from hakuriver.client.output import Output
from hakuriver.model.errors import UsageError
from hakuriver.system.addresses import check_scheme, host_address

if TYPE_CHECKING:  # Reading it costs more than the help of a sub-command.
    from hakuriver.system.config import Config

POLL_MAX = 60.0
"""Seconds that the host holds a request back, at most."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One sub-command: its arguments, what they mean, and what it does.

    options turns the parsed arguments into whatever run takes; it raises UsageError.
    run returns the exit code; it raises HakuRiverError.
    """

    add_arguments: Callable[[Parser], None]
    options: Callable[[argparse.Namespace], Any]
    run: Callable[[Any, HostApi, Output], int]


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of leaving the program, and never guesses at abbreviations."""

    def __init__(self, prog: str, description: str, usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            allow_abbrev=False,
            formatter_class=_formatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self._nearest(message) or f"See: {self.prog} --help")

    def print_help(self, file: Any = None) -> None:
        # argparse's own swallows the error of a stdout that nobody reads or that is full.
        (file or sys.stdout).write(self.format_help())

    def _nearest(self, message: str) -> str:
        _, unrecognized, words = message.partition("unrecognized arguments: ")
        if not unrecognized or not words.startswith("-"):
            return ""
        import difflib

        flags = list(self._option_string_actions)
        close = difflib.get_close_matches(words.split()[0].split("=")[0], flags, 1, 0.6)
        return f"Did you mean: {close[0]}" if close else ""

    def split_command(self, argv: list[str]) -> tuple[list[str], list[str] | None]:
        """Our part and the user's command.

        The command begins at the first token that is neither an option nor an option's value,
        or behind the first `--`; it is not looked at any further. None: there is neither.
        """
        place = 0
        while place < len(argv):
            token = argv[place]
            if token == "--":
                return argv[:place], argv[place + 1 :]
            if not token.startswith("-") or token == "-":
                return argv[:place], argv[place:]
            place += 1
            if self._takes_value(token, argv[place : place + 1]):
                place += 1
        return argv, None

    def _takes_value(self, token: str, following: list[str]) -> bool:
        action = self._option_string_actions.get(token)
        if action is None or action.nargs == 0 or not following:
            return False
        return action.nargs != "?" or not following[0].startswith("-")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """argparse makes one for each argument, and would import shutil to ask for the width."""
    columns = os.environ.get("COLUMNS", "")
    try:
        width = int(columns) if columns.isdecimal() else os.get_terminal_size(1).columns
    except OSError:
        width = 0
    return argparse.RawDescriptionHelpFormatter(prog, width=(width or 80) - 2)


def add_globals(parser: Parser) -> None:
    """Options of every sub-command, accepted before and after its name."""
    group = parser.add_argument_group("everywhere")
    group.add_argument("--config", metavar="PATH", help="configuration file")
    group.add_argument("--host", metavar="ADDR[:PORT]", help="the host, instead of the configured")
    group.add_argument("--token-file", metavar="PATH", help="file that holds the token")
    group.add_argument("--json", action="store_true", help="answers and errors as JSON")
    group.add_argument("-q", "--quiet", action="store_true", help="the bare essence, no chatter")


def globals_end(argv: list[str]) -> int:
    """Where the global options at the beginning of argv end."""
    place = 0
    while place < len(argv):
        token = argv[place]
        if token in ("--config", "--host", "--token-file"):
            place += 2
        elif token in ("--json", "-q", "--quiet") or token.startswith(
            ("--config=", "--host=", "--token-file=")
        ):
            place += 1
        else:
            break
    return min(place, len(argv))


def add_ids(parser: Parser, many: bool = True) -> None:
    if many:
        parser.add_argument("ids", nargs="+", metavar="ID", help="a task's number")
    else:
        parser.add_argument("id", metavar="ID", help="the task's number")


def add_ids_or_batch(parser: Parser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a task's number")
    parser.add_argument("--batch", metavar="ID", help="all tasks of a batch, instead")


def ids_or_batch(given: argparse.Namespace) -> tuple[list[str], str | None]:
    """Raises UsageError if both are given, or neither."""
    batch = getattr(given, "batch", None)
    if bool(given.ids) == (batch is not None):
        raise UsageError(
            "name tasks, or a batch with --batch", "The numbers are shown by: client list"
        )
    return list(given.ids), batch


def add_poll_interval(parser: Parser) -> None:
    parser.add_argument(
        "--poll-interval",
        metavar="S",
        type=positive,
        default=30.0,
        help="seconds that one request waits for news, at most (default: 30)",
    )


def positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
    return value


def not_negative(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is below 0")
    return value


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no number")
    return value


def config_of(given: argparse.Namespace) -> Config:
    """The configuration, with what the flags of every sub-command say. Raises UsageError."""
    from hakuriver.system.config import load_config

    overrides: dict[str, Any] = {} if given.host is None else host_address(given.host)
    if given.token_file is not None:
        overrides |= {"auth.token_file": given.token_file, "auth.token": ""}
    config = load_config(given.config, overrides)
    check_scheme(given.host or "", has_ca=bool(config.text("network.tls_ca")))
    return config


def user_name() -> str:
    """Who is typing; a container may run as a user without a name."""
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError, ImportError):
        return ""
