"""`hakuriver client`: which sub-commands exist, and which one a command line means.

A sub-command counts only as the first word behind the global options; everything else is a
submission. The flag spellings of the first HakuRiver (--status ID …) mean their sub-commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from hakuriver.client.arguments import (
    Parser,
    Verb,
    add_globals,
    config_of,
    globals_end,
    user_name,
)
from hakuriver.client.host_api import HOST_HINT, HostApi
from hakuriver.client.output import Output
from hakuriver.model.errors import HakuRiverError, UsageError

PROG = "hakuriver client"

VERBS: dict[str, tuple[str, str]] = {
    "submit": ("submit", "submit a command; the word may be left out"),
    "list": ("tasks", "list tasks, newest first"),
    "status": ("tasks", "everything about tasks"),
    "logs": ("logs", "the output of a task, -f to follow it"),
    "wait": ("wait", "wait for tasks; the exit code is theirs"),
    "kill": ("tasks", "end tasks"),
    "pause": ("tasks", "stop tasks for a while"),
    "resume": ("tasks", "let paused tasks go on"),
    "retry": ("tasks", "run the failed tasks of a batch again"),
    "requeue": ("tasks", "run lost or failed tasks again"),
    "forget": ("tasks", "give up lost tasks: their node will not come back"),
    "shell": ("shell", "a shell beside a running task, or a command there"),
    "nodes": ("nodes", "the nodes, what they offer and what is in use"),
    "health": ("nodes", "CPU and memory use of the nodes"),
    "drain": ("nodes", "give a node no more tasks"),
    "undrain": ("nodes", "give a node tasks again"),
    "remove": ("nodes", "do without a node that left for good"),
    "prune": ("prune", "delete tasks that ended long ago, or their logs"),
    "join": ("join", "what to type on a machine that is to become a node"),
    "login": ("login", "keep the token of a host for this user"),
    "logout": ("login", "forget it"),
}
"""Sub-command: its module, imported only when it is chosen, and its help."""

USAGE = f"""{PROG} [SUBMIT OPTIONS] [--] COMMAND [ARGUMENTS …]
       {PROG} SUB-COMMAND [OPTIONS]"""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a command line means. verb "": there is nothing to do but to show parser's help."""

    verb: str
    parser: Parser
    given: argparse.Namespace


def main(argv: list[str]) -> int:
    given = argparse.Namespace()
    try:
        choice = parse(argv, given)
        if not choice.verb:
            choice.parser.print_help()
            return 0
        verb = load(choice.verb)
        options = verb.options(given)
        with connect(given) as api:
            return verb.run(options, api, Output.of_process(mode(given)))
    except HakuRiverError as error:
        if mode(given) != "json":
            raise
        Output.of_process("json").error(error)
        return error.exit_code


def parse(argv: list[str], given: argparse.Namespace) -> Choice:
    """Fills `given` as far as it gets. Raises UsageError."""
    start = globals_end(argv)
    name = argv[start] if start < len(argv) else ""
    if name not in VERBS:
        _check_misspelt(argv[start:])
        return _parse_submission(argv, given)
    own = argv[:start] + argv[start + 1 :]
    parser = Parser(f"{PROG} {name}", VERBS[name][1])
    if name == "submit":
        parser.usage = f"{PROG} submit [OPTIONS] [--] COMMAND [ARGUMENTS …]"
        return _with_command(parser, own, given)
    load(name).add_arguments(parser)
    add_globals(parser)
    parser.parse_args(own, given)
    return Choice(name, parser, given)


def _check_misspelt(words: list[str]) -> None:
    """Catch `client kil 5`, which would submit a command named "kil".

    Only what looks like a sub-command with its arguments, and names no program of this machine.
    """
    if not 1 <= len(words) <= 2 or not words[0].isalpha() or len(words[0]) < 3:
        return
    import difflib
    import shutil

    close = difflib.get_close_matches(words[0], VERBS, 1, 0.75)
    if not close or words[0] in ("node", "clear") or shutil.which(words[0]):
        return
    shown = " ".join([close[0], *words[1:]])
    raise UsageError(
        f"there is no sub-command '{words[0]}'",
        f"Did you mean: {PROG} {shown}? To run a program of that name: {PROG} -- {' '.join(words)}",
    )


def _parse_submission(argv: list[str], given: argparse.Namespace) -> Choice:
    names = "\n".join(f"  {name:<9}{what}" for name, (_, what) in VERBS.items())
    parser = Parser(
        PROG,
        f"Submit a command to the cluster, and see what became of it.\n\nsub-commands:\n{names}",
        usage=USAGE,
    )
    group = parser.add_argument_group(
        "other spellings of sub-commands"
    ).add_mutually_exclusive_group()
    group.add_argument("--status", metavar="ID", dest="old_status", help="status ID")
    group.add_argument("--kill", metavar="ID", dest="old_kill", help="kill ID")
    group.add_argument("--list-nodes", action="store_true", dest="old_nodes", help="nodes")
    group.add_argument(
        "--health", metavar="NODE", nargs="?", const="", dest="old_health", help="health [NODE]"
    )
    return _with_command(parser, argv, given)


def _with_command(parser: Parser, argv: list[str], given: argparse.Namespace) -> Choice:
    load("submit").add_arguments(parser)
    add_globals(parser)
    own, command = parser.split_command(argv)
    parser.parse_args(own, given)
    old = _old_spelling(given)
    if old:
        if command is not None:
            raise UsageError(f"--{_OLD_FLAGS[old]} takes no command: {' '.join(command)[:80]}")
        return Choice(old, parser, given)
    if command is None and globals_end(own) == len(own):
        return Choice("", parser, given)
    if not command:
        raise UsageError("there is no command to submit", f"See: {PROG} --help")
    given.command = command
    return Choice("submit", parser, given)


_OLD_FLAGS = {"status": "status", "kill": "kill", "nodes": "list-nodes", "health": "health"}


def _old_spelling(given: argparse.Namespace) -> str:
    """The sub-command that a flag stands for, with its arguments put where it looks for them."""
    for name in ("status", "kill"):
        if getattr(given, f"old_{name}", None) is not None:
            given.ids = [getattr(given, f"old_{name}")]
            return name
    if getattr(given, "old_nodes", False):
        return "nodes"
    if getattr(given, "old_health", None) is not None:
        given.node = given.old_health or None
        return "health"
    return ""


def load(name: str) -> Verb:
    verb: Verb = import_module(f"hakuriver.client.{VERBS[name][0]}").VERBS[name]
    return verb


def mode(given: argparse.Namespace) -> Literal["text", "json", "quiet"]:
    if getattr(given, "json", False):
        return "json"
    return "quiet" if getattr(given, "quiet", False) else "text"


@contextmanager
def connect(given: argparse.Namespace) -> Iterator[HostApi]:
    """The host that flags and configuration name; it is not called before the first request."""
    from hakuriver.system.httpc import HttpClient
    from hakuriver.system.logins import token_for

    config = config_of(given)
    http = HttpClient(
        config.host_url,
        token=token_for(config),
        user=user_name(),
        ca=config.text("network.tls_ca"),
        hint=HOST_HINT,
    )
    with closing(http):
        yield HostApi(http, config.host_url)
