"""`hakuriver COMMAND …`: which commands exist, and how every one of them ends.

A link to this program may be named after a command, hakurun or hakuriver.client, and then is it.

A module is imported only when its command is chosen: a zip file has no compiled cache.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from hakuriver.model.errors import HakuRiverError, UsageError


class Command(NamedTuple):  # dataclasses would be a tenth of the start of `hakurun true`
    """module has main(argv) -> exit code, which may raise HakuRiverError. lasts: it outlives the file
    that it was started from."""

    module: str
    help: str
    lasts: bool = False


COMMANDS: dict[str, Command] = {
    "up": Command("hakuriver.up", "a whole cluster on this machine, at once", True),
    "host": Command(
        "hakuriver.host.main", "serve a cluster: accept tasks and give them to nodes", True
    ),
    "runner": Command("hakuriver.runner.main", "make this machine a node of a cluster", True),
    "client": Command("hakuriver.client.main", "submit, list, watch and kill tasks; show nodes"),
    "docker": Command(
        "hakuriver.client.environments", "prepare, pack and synchronise environments"
    ),
    "docker-shell": Command("hakuriver.client.shell", "open a shell in an environment's container"),
    "hakurun": Command("hakuriver.hakurun.main", "run a command once for every combination, here"),
    "init": Command("hakuriver.client.init", "write a configuration file, or units for systemd"),
    "licenses": Command(
        "hakuriver.client.licenses", "show what is inside this file, and its licences"
    ),
}

LINKS: dict[str, str] = {
    name: name if name.startswith("haku") else f"hakuriver.{name}" for name in COMMANDS
}
"""Command: the name of a link that is this command."""

BELOW: dict[str, str] = {
    "init links": "hakuriver.links",
    "init service": "hakuriver.client.service",
}
"""Words that are a module of their own; main(argv) as for a command."""

EXIT_CODES: tuple[tuple[str, str], ...] = (
    ("0", "done"),
    ("1", "anything that is not below"),
    ("2", "the command line or the configuration is wrong"),
    ("3", "the host cannot be reached"),
    ("4", "no such task, node or container"),
    ("5", "refused: not possible, or not possible now"),
    ("6", "not allowed: no token, or a wrong one"),
    ("125", "with --wait, wait and up --once: we failed, not the task"),
    ("130", "interrupted with Ctrl-C"),
    ("else", "with --wait, wait and up --once: the exit code of the task itself"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. argv is without the program's name."""
    _open_what_was_closed()
    arguments = [*role(sys.argv[0]), *(sys.argv[1:] if argv is None else argv)]
    name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    try:
        code = _run(name, arguments)
        sys.stdout.flush()
        return code
    except HakuRiverError as error:
        from hakuriver.client.output import explain

        sys.stderr.write(explain(error, name))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _abandon_stdout()
        return 141
    except Exception as error:  # the outer edge: one line, and never a traceback by default
        if isinstance(error.__cause__, KeyboardInterrupt):  # in a __set_name__, up to Python 3.11
            return 130
        return _internal(error, name)


def _open_what_was_closed() -> None:
    """A stream that was closed when we started is None, and the next file that is opened gets its
    number: it is /dev/null instead, for our children too. What would be lost by that, data on stdout,
    is refused as a closed one refuses it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            access = os.O_RDONLY if name == "stdout" else os.O_RDWR
            descriptor = os.open(os.devnull, access)  # the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


def role(program: str) -> list[str]:
    """The command that a program's own name stands for: hakurun, hakuriver.client, …"""
    name = os.path.basename(program)
    return [command for command in COMMANDS if name == LINKS[command]]


def _run(name: str, arguments: list[str]) -> int:
    if name:
        if COMMANDS[name].lasts and not {"-h", "--help"} & set(arguments):
            from hakuriver.system import program

            program.hold()
        below = " ".join(arguments[:2])
        module = import_module(BELOW.get(below) or COMMANDS[name].module)
        try:
            return int(module.main(arguments[2 if below in BELOW else 1 :]))
        except SystemExit as leaving:  # argparse does, when it has shown its help
            return int(leaving.code or 0)
    words = [word for word in arguments if word != "--json"]
    if not words or words[0] in ("--help", "-h", "help"):
        sys.stdout.write(_help())
    elif words[0] == "--version":
        sys.stdout.write(_version("--json" in arguments))
    else:
        raise _unknown(words[0])
    return 0


def _unknown(word: str) -> UsageError:
    import difflib

    from hakuriver.client.main import VERBS

    kind = "option" if word.startswith("-") else "command"
    right = {name: name for name in (*COMMANDS, "--help", "--version")}
    right |= {verb: f"client {verb}" for verb in VERBS}
    close = difflib.get_close_matches(word, right, 1, 0.5)
    hint = (
        f"Did you mean: {right[close[0]]}" if close else f"The commands are: {', '.join(COMMANDS)}."
    )
    return UsageError(f"there is no {kind} '{word}'", hint)


def _help() -> str:
    commands = "".join(f"  {name:<12} {command.help}\n" for name, command in COMMANDS.items())
    codes = "".join(f"  {code:<8} {meaning}\n" for code, meaning in EXIT_CODES)
    return (
        "usage: hakuriver COMMAND [ARGUMENTS …]\n\n"
        "A handful of machines, used as one computer.\n\n"
        f"commands:\n{commands}\n"
        "  COMMAND --help says more about each. --version prints the version.\n\n"
        f"exit codes:\n{codes}"
    )


def _version(as_json: bool) -> str:
    from hakuriver import PROTOCOL, __version__

    if not as_json:
        return f"HakuRiver {__version__}\n"
    import json

    from hakuriver.system import program

    python = ".".join(map(str, sys.version_info[:3]))
    facts = {
        "name": "HakuRiver",
        "version": __version__,
        "build": program.build() or None,
        "protocol": PROTOCOL,
        "python": python,
    }
    return json.dumps(facts) + "\n"


_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)  # EBADF: stdout is closed


def _internal(error: Exception, name: str) -> int:
    if os.environ.get("HAKURIVER_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    from hakuriver.system.plain import plain

    program = f"hakuriver {name}".rstrip()
    if isinstance(error, OSError) and error.errno in _NOT_WRITTEN and error.filename is None:
        what = f"error: cannot write: {error.strerror}"  # stdout, as a rule: no fault of ours
    else:
        what = f"internal error: {type(error).__name__}: {plain(str(error))}"
    sys.stderr.write(f"{program}: {what}\n")
    _abandon_stdout()
    return 1


def _abandon_stdout() -> None:
    """Let the interpreter's last flush succeed: what is still buffered has no reader."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
