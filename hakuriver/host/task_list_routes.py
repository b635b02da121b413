"""Lists of tasks and batches over HTTP. The table is in routes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hakuriver.host.listing import SORTS, Filter, Page
from hakuriver.host.views import batch_row_view
from hakuriver.model.errors import BadRequest
from hakuriver.model.fields import WHOLE_MAX
from hakuriver.model.task import Status, Task
from hakuriver.system.router import Request, Response

if TYPE_CHECKING:
    from hakuriver.host.routes import Desk

PAGE_MAX = 1000
WAIT_MAX = 60.0
WORDS_MAX = 300


def tasks(request: Request, desk: Desk) -> Response:
    wanted = _filter(request)
    if "page" in request.query or "sort" in request.query:
        return _page_of_tasks(request, desk, wanted)
    seconds = request.number("wait", 0, 0, WAIT_MAX)
    store = desk.cluster.store
    since = request.whole("since", store.revision, 0, WHOLE_MAX)

    def look() -> tuple[bool, tuple[int, list[Task]]]:
        # The revision first: what changes in between is then asked for again, not missed.
        revision = store.revision
        # One more than asked for tells whether there is a next page.
        found = desk.cluster.tasks(replace(wanted, limit=wanted.limit + 1))
        newest = max((task.revision for task in found), default=0)
        return (newest if wanted.ids else revision) > since, (revision, found)

    if seconds:
        revision, found = desk.watch.until(wanted.ids, seconds, look)
    else:
        revision, found = look()[1]
    headers = [("X-Hakuriver-Revision", str(revision))]
    if len(found) > wanted.limit:
        found = found[: wanted.limit]
        headers.append(("X-Hakuriver-Next", str(found[-1].id)))
    return Response.json([desk.view(task) for task in found], headers=tuple(headers))


def _page_of_tasks(request: Request, desk: Desk, wanted: Filter) -> Response:
    given = request.query.get("sort", "-id")
    sort = given.removeprefix("-")
    if sort not in SORTS:
        raise BadRequest(f"sort: {sort[:40]!r} is none of {', '.join(SORTS)}")
    found, total = desk.cluster.tasks_page(
        wanted, _page(request, wanted), sort=sort, falling=given.startswith("-")
    )
    return Response.json([desk.view(task) for task in found], headers=_total(total))


def batches(request: Request, desk: Desk) -> Response:
    wanted = _filter(request)
    with desk.cluster.store.read() as tx:
        found, total = tx.batches_page(wanted, _page(request, wanted))
    firsts = desk.cluster.explained([batch.first for batch in found])
    rows = [
        batch_row_view(replace(batch, first=first), desk.shared_dir)
        for batch, first in zip(found, firsts, strict=True)
    ]
    return Response.json(rows, headers=_total(total))


def _page(request: Request, wanted: Filter) -> Page:
    return Page(request.whole("page", 1, 1, WHOLE_MAX), wanted.limit)


def _total(total: int) -> tuple[tuple[str, str], ...]:
    return (("X-Hakuriver-Total", str(total)),)


def read_id(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= WHOLE_MAX):
        return None
    return int(text)


def _filter(request: Request) -> Filter:
    query = request.query
    try:
        statuses = tuple(Status(word) for word in query.get("status", "").split(",") if word)
    except ValueError:
        known = ", ".join(known.value for known in Status)
        raise BadRequest(f"status: {query['status'][:80]!r} is none of {known}") from None
    ids, words, text = query.get("ids"), query.get("q", ""), query.get("text", "")
    for name, given in (("q", words), ("text", text)):
        if len(given) > WORDS_MAX:
            raise BadRequest(f"{name} has {len(given)} characters, at most {WORDS_MAX} are taken")
    return Filter(
        statuses=statuses,
        node=query.get("node", ""),
        batch=_given_id(request, "batch"),
        user=query.get("user", ""),
        environment=query.get("environment", ""),
        text=text,
        words=words,
        ids=None if ids is None else tuple(_ids(ids)),
        after=_given_id(request, "after"),
        limit=request.whole("limit", 100, 1, PAGE_MAX),
    )


def _given_id(request: Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    value = read_id(text)
    if value is None:
        raise BadRequest(f"{name}: {text[:40]!r} is no id")
    return value


def _ids(text: str) -> list[int]:
    ids = [read_id(word) for word in text.split(",")]
    if len(ids) > PAGE_MAX or None in ids:
        raise BadRequest(f"ids must be at most {PAGE_MAX} numbers with commas between them")
    return [task_id for task_id in ids if task_id is not None]
