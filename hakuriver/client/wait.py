"""Waiting for tasks to end: long polls that outlive a restart of the host."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from hakuriver.client.arguments import (
    POLL_MAX,
    Parser,
    Verb,
    add_ids_or_batch,
    add_poll_interval,
    ids_or_batch,
)
from hakuriver.client.host_api import HostApi, Row, ids_in_order
from hakuriver.client.output import Output
from hakuriver.client.render import FINAL, ending, progress
from hakuriver.model.errors import HakuRiverError, NotFound, Unavailable, Unreachable

T = TypeVar("T")

OUR_FAILURE = 125
KILLED = 137
MANY = 20
"""More tasks of one submission than this are spoken of, and waited for, as a batch."""
AT_ONCE = 500
"""Tasks asked about in one request: their ids have to fit into one line of HTTP."""
BREATH = 0.1
"""Seconds between two requests about many tasks: each end of one of them is an answer."""


class WaitFailed(HakuRiverError):
    """We failed, not the task: an exit code that cannot be mistaken for the task's own."""

    exit_code = OUR_FAILURE

    def __init__(self, cause: HakuRiverError) -> None:
        super().__init__(cause.detail, cause.hint)
        self.cause = cause

    def to_json(self) -> dict[str, str]:
        return self.cause.to_json()


class Patience:
    """Asks again while the host is away, once it has been there; says so once per absence."""

    def __init__(self, out: Output, met: bool = False) -> None:
        self._out = out
        self._met = met

    def ask(self, call: Callable[[], T]) -> T:
        pause = 0.1
        told = False
        while True:
            try:
                answer = call()
            except (Unreachable, Unavailable):
                if not self._met:
                    raise
                if not told:
                    self._out.note("The host does not answer; still trying.")
                    told = True
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                self._met = True
                return answer


@dataclass(frozen=True, slots=True)
class WaitOptions:
    ids: list[str]
    batch: str | None
    poll: float


def add_arguments(parser: Parser) -> None:
    add_ids_or_batch(parser)
    add_poll_interval(parser)


def options(given: argparse.Namespace) -> WaitOptions:
    return WaitOptions(*ids_or_batch(given), given.poll_interval)


def run(options: WaitOptions, api: HostApi, out: Output) -> int:
    if options.batch is not None:
        from hakuriver.client.wait_batch import wait_for_batch

        return wait_for_batch(options.batch, api, out)
    return wait_for(options.ids, api, out, poll=options.poll)


def wait_for(
    ids: Sequence[str], api: HostApi, out: Output, *, poll: float, met: bool = False
) -> int:
    """Wait until all have ended, say how, and give the exit code that stands for them.

    met: the host has answered before, so if it does not now, it will come back.
    """
    ordered = ids_in_order(ids)
    try:
        tasks = Waiting(ordered, api, out, poll=poll, met=met).until_all_ended()
    except HakuRiverError as error:
        raise WaitFailed(error) from None
    except KeyboardInterrupt:
        out.note(detached(ordered))
        return 130
    if out.mode == "json":
        out.json(tasks[0] if len(tasks) == 1 else tasks)
    for task in tasks:
        out.note(ending(task))
    return exit_code(tasks)


def exit_code(tasks: Sequence[Row]) -> int:
    """0 if all completed, else that of the first that did not, which is never 0."""
    for task in tasks:
        if task["status"] != "completed":
            fallback = KILLED if task["status"] == "killed" else OUR_FAILURE
            # A task that was killed and left with 0 has still not done its work.
            return int(task.get("exit_code") or fallback)
    return 0


class Waiting:
    """What is known of the tasks waited for; asks until all of them are final."""

    def __init__(
        self, ids: list[str], api: HostApi, out: Output, *, poll: float, met: bool
    ) -> None:
        self._ids = ids
        self._api = api
        self._out = out
        # A live line shows the time going by, so it is written anew every second.
        self._poll = min(poll, 1.0 if out.live else POLL_MAX)
        self._ask = Patience(out, met).ask
        self._tasks: dict[str, Row] = {}

    def until_all_ended(self) -> list[Row]:
        if len(self._ids) == 1:
            return [self._follow_one(self._ids[0])]
        self._follow_many()
        return [self._tasks[task_id] for task_id in self._ids]

    def _follow_one(self, task_id: str) -> Row:
        task = self._ask(partial(self._api.status, task_id))
        self._take_note([task])
        while task["status"] not in FINAL:
            since = int(task["revision"])
            task = self._ask(partial(self._api.status, task_id, wait=self._poll, since=since))
            self._take_note([task])
        return task

    def _follow_many(self) -> None:
        for place in range(0, len(self._ids), AT_ONCE):
            self._look(self._ids[place : place + AT_ONCE])
        watched: set[str] = set()
        revision = 0
        while unfinished := self._unfinished():
            part = unfinished[:AT_ONCE]
            # News of a task that the last request did not ask about may be older than `revision`.
            wait = self._poll if watched.issuperset(part) else None
            revision = self._look(part, wait=wait, since=revision if wait else None)
            watched = set(part)
            if wait and self._unfinished():
                time.sleep(BREATH)

    def _look(self, ids: list[str], wait: float | None = None, since: int | None = None) -> int:
        """Ask about these; the cluster's revision."""
        filters = {"ids": ids, "limit": len(ids)}
        page = self._ask(partial(self._api.tasks, filters, wait=wait, since=since))
        missing = set(ids) - {str(task["task_id"]) for task in page.rows}
        if missing:
            raise NotFound(f"there is no task {', '.join(ids_in_order(list(missing)))}")
        self._take_note(page.rows)
        return page.revision

    def _unfinished(self) -> list[str]:
        return [i for i in self._ids if self._tasks[i]["status"] not in FINAL]

    def _take_note(self, rows: Sequence[Row]) -> None:
        for task in rows:
            task_id = str(task["task_id"])
            before = self._tasks.get(task_id, {}).get("status")
            self._tasks[task_id] = task
            if task["status"] == "lost" and before != "lost":
                node = task.get("assigned_node")
                self._out.note(f"Task {task_id}: node {node} does not answer; still waiting.")
        self._out.progress(progress(list(self._tasks.values()), time.time()))


def detached(ids: Sequence[str]) -> str:
    names = " ".join(ids) if len(ids) <= MANY else f"--batch {ids[0]}"
    what = f"Task {names} goes on." if len(ids) == 1 else f"{len(ids)} tasks go on."
    return f"{what} Come back with: client wait {names}   Stop it with: client kill {names}"


VERBS = {"wait": Verb(add_arguments, options, run)}
