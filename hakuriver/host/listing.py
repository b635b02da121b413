"""Lists of tasks and of batches, a page at a time: which rows, in which order, how many in all.

Ids are found first, from indexes alone, and only the rows of the page are read. 100,000 tasks cost a
few hundredths of a second, a search for words somewhat more: it has to look at every task.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from hakuriver.host.records import task_of
from hakuriver.model.submission import NO_CONTAINER
from hakuriver.model.task import FINAL, Status, Task

SORTS = {
    "id": "task_id",
    "status": "status",
    "node": "node",
    "user": "user",
    "environment": "container",
    # Ids are given out in the order of submission.
    "submitted": "task_id",
    "started": "started_at",
    "ended": "completed_at",
}
_LAST = 10**12


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks to list: newest first, below the id `after`.

    text: words that must all occur in the command line or the message; words: anywhere in it, its
    message, its user, node, environment and id. environment "NULL" stands for none.
    """

    statuses: tuple[Status, ...] = ()
    node: str = ""
    batch: int | None = None
    user: str = ""
    environment: str = ""
    text: str = ""
    words: str = ""
    ids: tuple[int, ...] | None = None
    after: int | None = None
    limit: int = 100

    def where(self) -> tuple[str, list[Any]]:
        """The condition as SQL, "" for none, and its values."""
        conditions: list[str] = []
        values: list[Any] = []
        for clause, given in (
            ("node = ?", self.node or None),
            ("batch_id = ?", self.batch),
            ("user = ?", self.user or None),
            ("task_id < ?", self.after),
        ):
            if given is not None:
                conditions.append(clause)
                values.append(given)
        if self.environment == NO_CONTAINER:
            conditions.append("container IS NULL")
        elif self.environment:
            conditions.append("container = ?")
            values.append(self.environment)
        for column, chosen in (("status", self.statuses), ("task_id", self.ids)):
            if chosen:
                conditions.append(f"{column} IN ({','.join('?' * len(chosen))})")
                values += [getattr(value, "value", value) for value in chosen]
        for words, others in ((self.text, ("message",)), (self.words, _ANYWHERE)):
            for word in dict.fromkeys(words.split()):
                places = " || ' ' || ".join(f"IFNULL({column}, '')" for column in others)
                conditions.append(f"({_IN_ARGV} OR {places} LIKE ? ESCAPE '\\')")
                values += [
                    _like(json.dumps(word)[1:-1]),
                    word in _OF_JSON,
                    _like(word),
                    _like(word),
                ]
        return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


# argv holds JSON, so the word is looked for as JSON writes it. Only where that may be found in what is
# JSON's own, marks between words and escapes, are the words read one by one, which takes longer.
_IN_ARGV = (
    "argv LIKE ? ESCAPE '\\' AND (NOT ? AND instr(argv, '\\') = 0"
    " OR EXISTS (SELECT 1 FROM json_each(argv) WHERE value LIKE ? ESCAPE '\\'))"
)
_OF_JSON = ("[", ",", "]")
_ANYWHERE = ("message", "user", "node", "target_node", "container", "task_id")


@dataclass(frozen=True, slots=True)
class Page:
    """Rows (number - 1) * size and following of a list; number counts from 1."""

    number: int
    size: int

    @property
    def skipped(self) -> int:
        return min((self.number - 1) * self.size, _LAST)


@dataclass(frozen=True, slots=True)
class BatchRow:
    """by_status: how many tasks have each. ended_at: None while one has not ended."""

    id: int
    by_status: dict[str, int]
    first: Task
    ended_at: float | None

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


def tasks_page(
    sql: sqlite3.Connection, wanted: Filter, page: Page, *, sort: str, falling: bool
) -> tuple[list[Task], int]:
    """The tasks of a page, and how many there are on all. sort: one of SORTS."""
    where, values = wanted.where()
    (total,) = sql.execute(f"SELECT COUNT(*) FROM tasks {where}", values).fetchone()
    if not total:
        return [], 0
    column, direction = SORTS[sort], "DESC" if falling else "ASC"
    order = f"{column} {direction}" + (f", task_id {direction}" if column != "task_id" else "")
    rows = sql.execute(
        f"SELECT t.* FROM (SELECT task_id AS found, {column} AS sorted_by FROM tasks {where}"
        f" ORDER BY {order} LIMIT ? OFFSET ?) JOIN tasks t ON t.task_id = found"
        f" ORDER BY sorted_by {direction}, found {direction}",
        (*values, page.size, page.skipped),
    )
    return [task_of(row) for row in rows], total


def batches_page(sql: sqlite3.Connection, wanted: Filter, page: Page) -> tuple[list[BatchRow], int]:
    """The batches of a page that have a task like that, newest first, and how many there are."""
    where, values = wanted.where()
    (total,) = sql.execute(f"SELECT COUNT(DISTINCT batch_id) FROM tasks {where}", values).fetchone()
    if not total:
        return [], 0
    rows = sql.execute(
        f"SELECT batch_id FROM tasks {where} GROUP BY batch_id ORDER BY batch_id DESC LIMIT ? OFFSET ?",
        (*values, page.size, page.skipped),
    )
    return [_batch(sql, row[0]) for row in rows.fetchall()], total


def _batch(sql: sqlite3.Connection, batch_id: int) -> BatchRow:
    counts = sql.execute(
        "SELECT status, COUNT(*) FROM tasks WHERE batch_id = ? GROUP BY status", (batch_id,)
    )
    by_status = {row[0]: row[1] for row in counts}
    first = sql.execute(
        "SELECT * FROM tasks WHERE batch_id = ? ORDER BY task_id LIMIT 1", (batch_id,)
    ).fetchone()
    ended = None
    if by_status.keys() <= {status.value for status in FINAL}:
        (ended,) = sql.execute(
            "SELECT MAX(completed_at) FROM tasks WHERE batch_id = ?", (batch_id,)
        ).fetchone()
    return BatchRow(batch_id, by_status, task_of(first), ended)


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
