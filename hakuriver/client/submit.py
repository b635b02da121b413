"""`client submit`, and every submission without the word: what is sent, and what is said."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hakuriver.client.arguments import Parser, Verb, add_poll_interval, not_negative, user_name
from hakuriver.client.host_api import HostApi, Row
from hakuriver.client.output import Output
from hakuriver.client.wait import MANY, WaitFailed, detached, wait_for
from hakuriver.client.wait_batch import wait_for_batch
from hakuriver.model.errors import HakuRiverError, Refused, Unavailable, Unreachable, UsageError
from hakuriver.model.units import parse_size

if TYPE_CHECKING:  # Only a sweep pays for what it needs.
    from hakuriver.model.sweep import Sweep

PAUSES = (0.2, 1.0)
"""Seconds before the second and the third try."""

WITH_VALUE = frozenset(
    {"target", "container", "cores", "memory", "env", "mount", "poll-interval", "user"}
)
ALONE = frozenset({"privileged", "wait"})


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    body: Mapping[str, Any]
    wait: bool
    poll: float
    notes: tuple[str, ...] = ()


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--target", metavar="NODE[:NUMA]", action="append", help="where to run; repeat for several")
    add("--container", metavar="ENV", help="environment to run in; NULL: directly on the node")
    add("--cores", metavar="N", type=not_negative, default=1.0,
        help="cores, fractions allowed; 0 reserves and limits nothing (default: 1)")  # fmt: skip
    add("--memory", metavar="SIZE", help="memory limit, as in 512M or 4G; binary units")
    add("--env", metavar="K=V", action="append", default=[], help="environment variable; repeat")
    add("--mount", metavar="SRC:DST[:ro]", action="append", help="additional mount; repeat")
    add("--privileged", action="store_true", help="run the container privileged")
    add("--user", metavar="NAME", help="who submits (default: who you are here)")
    add("--sweep", action="store_true", help="a task for every combination of the command's spans")
    add("--zip", action="store_true", help="with --sweep: pair the spans, do not combine them")
    add("--wait", action="store_true", help="wait for the end; the exit code is the task's own")
    add_poll_interval(parser)


def options(given: argparse.Namespace) -> SubmitOptions:
    """given.command is the user's command, a list that is not empty."""
    command: list[str] = given.command
    check_typo(command)
    cores: float = given.cores
    if given.zip and not given.sweep:
        raise UsageError("--zip is for a sweep", "Write --sweep --zip.")
    sweep = _sweep(command, zipped=given.zip) if given.sweep else None
    what: dict[str, Any] = {"command": command[0], "arguments": command[1:]}
    body = {
        **(what if sweep is None else {"sweep": sweep.to_json()}),
        "env_vars": dict(map(_variable, given.env)),
        "required_cores": int(cores) if cores.is_integer() else cores,
        "required_memory_bytes": None if given.memory is None else _memory(given.memory),
        "targets": given.target,
        "container_name": given.container,
        "privileged": True if given.privileged else None,
        "additional_mounts": given.mount,
        "user": user_name() if given.user is None else given.user,
    }
    notes = () if sweep is None else sweep.notes
    return SubmitOptions(body=body, wait=given.wait, poll=given.poll_interval, notes=notes)


def _sweep(command: list[str], *, zipped: bool) -> Sweep:
    from hakuriver.model.sweep import parse

    sweep = parse(command, read_lines, zipped=zipped)
    if not sweep.axes:
        raise UsageError("--sweep: there is no span in the command", "Write, say, 'span:{1..10}'.")
    return sweep


def read_lines(name: str) -> list[str]:
    """The lines of a file that a span names."""
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().split("\n")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None


def check_typo(command: list[str]) -> None:
    """Catch `--cores 2 -- memory 512M -- my_tool`, which would run a command named "memory"."""
    name = command[0]
    length = 2 if name in WITH_VALUE else 1 if name in ALONE else 0
    if not length or command[length : length + 1] != ["--"] or len(command) == length + 1:
        return
    shown = " ".join(command[: length + 2])
    more = " …" if len(command) > length + 2 else ""
    raise UsageError(
        f"'{shown}{more}' would run a command named '{name}'",
        f"Did you mean: --{shown}{more}? "
        f"To run a program of that name, give its path, as in ./{name}",
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--env {text}: there is no '=' in it", f"Write --env {text}=VALUE.")
    return name, value


def _memory(text: str) -> int:
    try:
        return parse_size(text)
    except Refused as error:
        raise UsageError(f"--memory: {error.detail}", error.hint) from None


def run(options: SubmitOptions, api: HostApi, out: Output) -> int:
    for note in options.notes:
        out.note(f"note: {note}")
    try:
        answer = submit(options.body, api)
    except HakuRiverError as error:
        raise WaitFailed(error) if options.wait else error from None
    except KeyboardInterrupt:
        out.note("Interrupted. It may have been accepted all the same: client list")
        return 130
    ids = [str(task_id) for task_id in answer["task_ids"]]
    try:
        _tell(answer, ids, out, waiting=options.wait)
        if not options.wait:
            return 0
        if len(ids) > MANY:
            return wait_for_batch(str(answer["batch_id"]), api, out, met=True)
        return wait_for(ids, api, out, poll=options.poll, met=True)
    except KeyboardInterrupt:  # a moment before wait_for() would have taken it
        out.note(detached(ids))
        return 130


def submit(body: Mapping[str, Any], api: HostApi) -> Row:
    """Send until it is answered: one key for all tries, so that it is accepted once."""
    key = os.urandom(16).hex()
    for pause in PAUSES:
        try:
            return api.submit(body, key)
        except (Unreachable, Unavailable) as error:
            if isinstance(error, Unreachable) and error.refused:
                raise
            time.sleep(pause)
    try:
        return api.submit(body, key)
    except Unreachable as error:
        hint = "It may have been accepted all the same. Before you submit it again: client list"
        raise Unreachable(error.detail, hint) from None


def _tell(answer: Row, ids: list[str], out: Output, *, waiting: bool) -> None:
    for failed in answer.get("failed_targets") or ():
        out.warn(f"Not submitted to {failed['target']}: {failed['reason']}")
    if out.mode == "quiet":
        out.lines(ids)
    elif out.mode == "text":
        batch = f" as batch {answer['batch_id']}" if len(ids) > 1 else ""
        named = ", ".join(ids) if len(ids) <= MANY else f"{ids[0]} to {ids[-1]}, {len(ids)} tasks,"
        out.line(f"Task{'s' if len(ids) > 1 else ''} {named} submitted{batch}.")
    elif not waiting:  # with --wait the tasks at their end are the one JSON document
        out.json(answer)


VERBS = {"submit": Verb(add_arguments, options, run)}
