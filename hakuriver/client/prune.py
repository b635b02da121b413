"""`client prune`: delete what ended long ago, after saying how much that is."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from hakuriver.client.arguments import Parser, Verb
from hakuriver.client.host_api import HostApi
from hakuriver.client.output import Output
from hakuriver.model.errors import Internal, Refused, UsageError
from hakuriver.model.units import format_size, parse_duration

_USUAL = "30d"


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """older_than in seconds, age as it was typed."""

    older_than: float
    age: str
    logs_only: bool
    dry_run: bool
    yes: bool


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--older-than", metavar="AGE", default=_USUAL,
        help=f"what ended longer ago than this, as in 12h, 30d, 8w (default: {_USUAL})")  # fmt: skip
    add("--logs-only", action="store_true", help="only their output; the tasks stay listed")
    add("--dry-run", action="store_true", help="say how much it would be, and delete nothing")
    add("--yes", action="store_true", help="do not ask")


def options(given: argparse.Namespace) -> PruneOptions:
    try:
        seconds = parse_duration(given.older_than)
    except Refused as error:
        raise UsageError(f"--older-than: {error.detail}", error.hint) from None
    return PruneOptions(seconds, given.older_than, given.logs_only, given.dry_run, given.yes)


def run(options: PruneOptions, api: HostApi, out: Output) -> int:
    sure = options.yes and not options.dry_run
    tasks, size = _through(options, api, out, dry_run=not sure)
    if not sure and tasks and not options.dry_run:
        if out.mode == "json":
            raise UsageError("--json does not ask", "Add --yes or --dry-run.")
        if not out.confirmed(f"{_amount(options, tasks, size)}. Delete them?"):
            out.note("Nothing was deleted.")
            return 0
        sure = True
        tasks, size = _through(options, api, out, dry_run=False)
    if out.mode == "json":
        out.json({"tasks": tasks, "bytes": size, "deleted": sure})
    elif out.mode == "quiet":
        out.line(str(tasks))
    elif not tasks:
        left = "no output is left of tasks that" if options.logs_only else "no task"
        out.line(f"Nothing to delete: {left} ended more than {options.age} ago.")
    else:
        verb = "Deleted" if sure else "Would be deleted"
        out.line(f"{verb}: {_amount(options, tasks, size)}.")
    return 0


def _through(options: PruneOptions, api: HostApi, out: Output, *, dry_run: bool) -> tuple[int, int]:
    """All blocks: tasks and bytes."""
    tasks = size = 0
    after: str | None = ""
    while after is not None:
        block = api.prune(
            options.older_than, logs_only=options.logs_only, dry_run=dry_run, after=after
        )
        try:
            tasks, size, after = tasks + block["tasks"], size + block["bytes"], block["next"]
        except (KeyError, TypeError):
            raise Internal("the host's answer to POST /prune is none") from None
        out.progress(f"{tasks} tasks, {format_size(size)} …")
    return tasks, size


def _amount(options: PruneOptions, tasks: int, size: int) -> str:
    what = "the output of " if options.logs_only else ""
    logs = format_size(size) if options.logs_only else f"{format_size(size)} of output"
    noun = "task" if tasks == 1 else "tasks"
    return f"{what}{tasks} {noun} that ended more than {options.age} ago, {logs}"


VERBS = {"prune": Verb(add_arguments, options, run)}
