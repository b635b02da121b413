"""Looking at tasks and acting on them: list status kill pause resume requeue forget."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hakuriver.client.arguments import (
    Parser,
    Verb,
    add_ids,
    add_ids_or_batch,
    count,
    ids_or_batch,
    user_name,
)
from hakuriver.client.host_api import HostApi, Page, Row
from hakuriver.client.output import Output
from hakuriver.client.render import TASK_TITLES, Table, task_cells, task_details, word
from hakuriver.model.errors import HakuRiverError, Unreachable, UsageError
from hakuriver.system.plain import plain

PAGE = 1000
"""Tasks in one request, at most."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """limit None: all of them."""

    filters: dict[str, str | None]
    limit: int | None
    after: str | None


def list_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--status", metavar="S,S", help="only these statuses, as in pending,running")
    add("--node", metavar="NODE", help="only tasks of this node")
    add("--batch", metavar="ID", help="only tasks of this batch")
    add("--user", metavar="NAME", help="only tasks that this user submitted")
    add("--text", metavar="TEXT", help="only tasks with these words in command line or message")
    add("--limit", metavar="N", type=count, default=50, help="at most so many (default: 50)")
    add("--after", metavar="ID", help="continue below this task")
    add("--all", action="store_true", help="all, however many there are")


def list_options(given: argparse.Namespace) -> ListOptions:
    names = ("status", "node", "batch", "user", "text")
    filters = {name: getattr(given, name) for name in names}
    for name, value in (*filters.items(), ("after", given.after)):
        if value == "":  # it would be no filter at all, and `kill $(list -q …)` kill everything
            raise UsageError(f"--{name} is empty", "Is the variable set that it comes from?")
    return ListOptions(filters, None if given.all else given.limit, given.after)


def run_list(options: ListOptions, api: HostApi, out: Output) -> int:
    pages = Pages(options, api)
    if out.mode == "json":
        out.json_array(row for page in pages for row in page.rows)
    elif out.mode == "quiet":
        for page in pages:
            out.lines(plain(word(row, "task_id")) for row in page.rows)
    else:
        table = Table(TASK_TITLES, paint=out.painted, width=out.width)
        now = time.time()
        for page in pages:
            out.lines(table.lines(task_cells(row, now) for row in page.rows))
    if pages.next:
        out.note(f"There are more: add --after {pages.next}, or --all.")
    return 0


class Pages:
    """The pages that make up a list; `next` is where it was cut off, None if it was not."""

    def __init__(self, options: ListOptions, api: HostApi) -> None:
        self._options = options
        self._api = api
        self.next: str | None = None

    def __iter__(self) -> Iterator[Page]:
        left = self._options.limit
        after = self._options.after
        while left is None or left > 0:
            limit = PAGE if left is None else min(left, PAGE)
            page = self._api.tasks({**self._options.filters, "limit": limit, "after": after})
            yield page
            after = self.next = page.next
            if after is None or not page.rows:
                return
            left = None if left is None else left - len(page.rows)


@dataclass(frozen=True, slots=True)
class IdsOptions:
    """batch: instead of ids."""

    ids: tuple[str, ...]
    batch: str | None = None


def ids_options(given: argparse.Namespace) -> IdsOptions:
    return IdsOptions(tuple(given.ids))


def kill_options(given: argparse.Namespace) -> IdsOptions:
    ids, batch = ids_or_batch(given)
    return IdsOptions(tuple(ids), batch)


def retry_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--failed", metavar="BATCH", required=True, help="the tasks of this batch that failed"
    )


def retry_options(given: argparse.Namespace) -> IdsOptions:
    return IdsOptions((), given.failed)


def status(options: IdsOptions, api: HostApi, out: Output) -> int:
    return for_each(options.ids, api.status, _show, out)


def _show(tasks: Sequence[Row], out: Output) -> None:
    for place, task in enumerate(tasks):
        if out.mode == "quiet":
            out.line(plain(word(task, "status")))
        else:
            out.lines([""] if place else [])
            out.lines(task_details(task, time.time(), out.painted))


def kill(options: IdsOptions, api: HostApi, out: Output) -> int:
    if options.batch is not None:
        return for_each([options.batch], api.kill_batch, _say, out)
    return for_each(options.ids, api.kill, _say, out)


def retry(options: IdsOptions, api: HostApi, out: Output) -> int:
    return for_each([options.batch or ""], api.retry_batch, _retried, out)


def _retried(answers: Sequence[Row], out: Output) -> None:
    if out.mode == "quiet":
        out.lines(plain(task_id) for answer in answers for task_id in answer["task_ids"])
    else:
        _say(answers, out)


def pause(options: IdsOptions, api: HostApi, out: Output) -> int:
    return for_each(options.ids, lambda task_id: api.command(task_id, "pause"), _say, out)


def resume(options: IdsOptions, api: HostApi, out: Output) -> int:
    return for_each(options.ids, lambda task_id: api.command(task_id, "resume"), _say, out)


def requeue(options: IdsOptions, api: HostApi, out: Output) -> int:
    return for_each(options.ids, api.requeue, _say, out)


def forget(options: IdsOptions, api: HostApi, out: Output) -> int:
    return for_each(options.ids, lambda task_id: api.forget(task_id, user_name()), _say, out)


def _say(answers: Sequence[Row], out: Output) -> None:
    if out.mode != "quiet":
        out.lines(plain(word(answer, "message")) for answer in answers)


def for_each(
    ids: Sequence[str],
    ask: Callable[[str], Row],
    show: Callable[[Sequence[Row], Output], None],
    out: Output,
) -> int:
    """Ask about every task, show what was answered; the exit code of the first that failed.

    Only a host that is not there ends it early: it would not be there for the others either.
    """
    code = 0
    answers: list[Row] = []
    for task_id in ids:
        try:
            answers.append(ask(task_id))
        except HakuRiverError as error:
            if len(ids) == 1:
                raise
            out.error(error)
            code = code or error.exit_code
            if isinstance(error, Unreachable):
                break
    if out.mode == "json":
        shown: Any = answers if len(ids) > 1 else answers[0]
        out.json(shown)
    else:
        show(answers, out)
    return code


VERBS = {
    "list": Verb(list_arguments, list_options, run_list),
    "status": Verb(add_ids, ids_options, status),
    "kill": Verb(add_ids_or_batch, kill_options, kill),
    "retry": Verb(retry_arguments, retry_options, retry),
    "pause": Verb(add_ids, ids_options, pause),
    "resume": Verb(add_ids, ids_options, resume),
    "requeue": Verb(add_ids, ids_options, requeue),
    "forget": Verb(add_ids, ids_options, forget),
}
