"""What a typed command line would come to, before it is submitted. The table is in routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hakuriver.model.errors import HakuRiverError, UsageError
from hakuriver.model.fields import Fields
from hakuriver.model.submission import check_count, read_submission
from hakuriver.model.sweep import parse
from hakuriver.model.words import split_line
from hakuriver.system.router import Request, Response

_EXAMPLES = 5


def preview(request: Request, desk: object) -> Response:
    """A line that is wrong is an answer, not an error: it is half typed."""
    body = request.json()
    fields = Fields(body)
    line, targets = fields.text("line"), fields.texts("targets")
    rest = {name: body[name] for name in body.keys() - {"line", "command", "arguments", "sweep"}}
    problem = None
    answer: dict[str, Any] = {"argv": [], "tasks": 0, "examples": [], "sweep": None}
    try:
        answer = read_line(line, max(len(targets), 1), rest)
    except HakuRiverError as error:
        problem = {"detail": error.detail, "hint": error.hint}
    return Response.json({**answer, "problem": problem})


def read_line(line: str, places: int, rest: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a line and the tasks that it makes in so many places. Raises UsageError, Refused.

    rest: the other fields of POST /submit, which are checked as they are there. sweep is for it.
    """
    words = split_line(line)
    if not words:
        raise UsageError("the command is empty")
    sweep = parse(words, _no_files)
    check_count(sweep.total * places)
    examples = [list(sweep.argv(place)) for place in range(min(sweep.total, _EXAMPLES))]
    for argv in examples:
        read_submission({**rest, "command": argv[0], "arguments": argv[1:]})
    return {
        "argv": examples[0],
        "tasks": sweep.total * places,
        "examples": examples,
        "sweep": sweep.to_json() if sweep.axes else None,
    }


def _no_files(name: str) -> Sequence[str]:
    raise UsageError(
        f"the values of a span cannot be read from {name} here",
        "A page does not see your files: write the values out, or use client submit --sweep.",
    )
