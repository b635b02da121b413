"""`client submit`, and every submission without the word: what is sent, and what is said."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hakuriver.client.arguments import Parser, Verb, add_poll_interval, not_negative, user_name
from hakuriver.client.host_api import HostApi, Row
from hakuriver.client.output import Output
from hakuriver.client.wait import WaitFailed, detached, wait_for
from hakuriver.model.errors import HakuRiverError, Refused, Unavailable, Unreachable, UsageError
from hakuriver.model.units import parse_size

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
    add("--wait", action="store_true", help="wait for the end; the exit code is the task's own")
    add_poll_interval(parser)


def options(given: argparse.Namespace) -> SubmitOptions:
    """given.command is the user's command, a list that is not empty."""
    command: list[str] = given.command
    check_typo(command)
    cores: float = given.cores
    body = {
        "command": command[0],
        "arguments": command[1:],
        "env_vars": dict(map(_variable, given.env)),
        "required_cores": int(cores) if cores.is_integer() else cores,
        "required_memory_bytes": None if given.memory is None else _memory(given.memory),
        "targets": given.target,
        "container_name": given.container,
        "privileged": True if given.privileged else None,
        "additional_mounts": given.mount,
        "user": user_name() if given.user is None else given.user,
    }
    return SubmitOptions(body=body, wait=given.wait, poll=given.poll_interval)


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
    try:
        answer = submit(options.body, api)
    except HakuRiverError as error:
        raise WaitFailed(error) if options.wait else error from None
    ids = [str(task_id) for task_id in answer["task_ids"]]
    try:
        _tell(answer, ids, out, waiting=options.wait)
        return wait_for(ids, api, out, poll=options.poll, met=True) if options.wait else 0
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
        out.line(f"Task{'s' if len(ids) > 1 else ''} {', '.join(ids)} submitted{batch}.")
    elif not waiting:  # with --wait the tasks at their end are the one JSON document
        out.json(answer)


VERBS = {"submit": Verb(add_arguments, options, run)}
