"""`hakuriver docker-shell` and `client shell`: a terminal in an environment, or beside a task."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from hakuriver.client.arguments import Parser, Verb, add_globals, globals_end
from hakuriver.client.host_api import HostApi
from hakuriver.client.main import connect, mode
from hakuriver.client.output import Output
from hakuriver.client.wait import OUR_FAILURE
from hakuriver.model.errors import HakuRiverError, UsageError

PROG = "hakuriver docker-shell"
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """name is an environment's, or the number of a task; command () means a shell."""

    name: str
    command: tuple[str, ...]


class ShellFailed(HakuRiverError):
    """We failed, not the command: an exit code that cannot be mistaken for the command's own."""

    exit_code = OUR_FAILURE


def main(argv: list[str]) -> int:
    given = argparse.Namespace()
    try:
        own, command = _split(argv)
        parser = Parser(
            PROG,
            "Open a shell in the container of an environment, or run a command in it.",
            usage=f"{PROG} [OPTIONS] ENV [-- COMMAND [ARGUMENTS …]]",
        )
        parser.add_argument("name", metavar="ENV", help="the environment's name")
        add_globals(parser)
        parser.parse_args(own, given)
        with connect(given) as api:
            out = Output.of_process(mode(given))
            return _attach(ShellOptions(given.name, command), api, out, kind="environment")
    except HakuRiverError as error:
        if mode(given) != "json":
            raise
        Output.of_process("json").error(error, "docker-shell")
        return error.exit_code


def _split(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """What is ours, and the command behind `--`, or behind the name as `docker exec` takes it."""
    words = list(argv)
    place = globals_end(words)
    end = place + 1
    while end < len(words) and words[end].startswith("-") and words[end] != "--":
        end += 1
    if end < len(words) and words[end] == "--":
        command = words[end + 1 :]
        if not command:
            raise UsageError("there is no command behind '--'", f"See: {PROG} --help")
        return words[:end], tuple(command)
    return words[:end], tuple(words[end:])


def add_arguments(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="the task's number")
    parser.add_argument(
        "command", metavar="COMMAND", nargs="*", help="behind --: instead of a shell"
    )


def options(given: argparse.Namespace) -> ShellOptions:
    return ShellOptions(given.id, tuple(given.command))


def run(options: ShellOptions, api: HostApi, out: Output) -> int:
    return _attach(options, api, out, kind="task")


def _attach(options: ShellOptions, api: HostApi, out: Output, *, kind: str) -> int:
    from hakuriver.system.terminal import ESCAPE_HELP, Ended, attach, is_interactive, terminal_size

    interactive = is_interactive()
    size = terminal_size() if interactive else None
    session = api.shell(
        kind, options.name, options.command, size=size, term=os.environ.get("TERM", "")
    )
    if interactive and not options.command:
        out.note(f"Connected to {kind} {options.name}. {ESCAPE_HELP}")
    try:
        result = attach(session, interactive=interactive)
    except Ended as ended:
        return _SIGNALLED + ended.number
    except KeyboardInterrupt:
        return 130
    finally:
        session.hang_up()
    if result.error:
        raise ShellFailed(f"{kind} {options.name}: {result.error}", result.hint)
    return result.code


VERBS = {"shell": Verb(add_arguments, options, run)}
