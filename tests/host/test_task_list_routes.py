"""Lists over HTTP: what can be asked for, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hakuriver.host import task_list_routes
from hakuriver.host.environment_containers import EnvironmentContainer
from hakuriver.host.environment_routes import overview
from hakuriver.host.environments import Tarball
from hakuriver.host.views import task_view
from hakuriver.model.errors import BadRequest
from hakuriver.model.tarball import Version
from hakuriver.system.router import Request
from tests.host.office import Office

SHARED = Path("/shared")


def ask(office: Office, handler: Any, **query: str) -> tuple[Any, dict[str, str]]:
    desk = SimpleNamespace(
        cluster=office.cluster, shared_dir=SHARED, view=lambda task: task_view(task, SHARED)
    )
    answer = handler(Request("GET", "/", {}, query, {}, b"", ""), desk)
    return json.loads(answer.body), dict(answer.headers)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["task_id"] for row in rows]


def test_a_page_tells_how_many_there_are_and_a_list_without_one_is_as_ever(office: Office) -> None:
    for _ in range(5):
        office.one()
    rows, headers = ask(office, task_list_routes.tasks, page="2", limit="2")
    assert (ids(rows), headers) == (["3", "2"], {"X-Hakuriver-Total": "5"})
    rows, headers = ask(office, task_list_routes.tasks, limit="2")
    assert (ids(rows), headers["X-Hakuriver-Next"]) == (["5", "4"], "4")
    assert "X-Hakuriver-Total" not in headers


def test_an_order_is_one_of_pages(office: Office) -> None:
    for user in ("bob", "ada", "eve"):
        office.one(user=user)
    rows, headers = ask(office, task_list_routes.tasks, sort="user", limit="2")
    assert (ids(rows), headers["X-Hakuriver-Total"]) == (["2", "1"], "3")


def test_a_batch_is_told_with_its_first_task_and_why_that_waits(office: Office) -> None:
    office.submit(
        sweep={"words": [["echo"], [0]], "axes": [["a", "b"]], "names": [""]},
        user="ada",
        required_cores=9,
    )
    (row,), headers = ask(office, task_list_routes.batches, q="echo b")
    assert headers == {"X-Hakuriver-Total": "1"}
    assert (row["batch_id"], row["total"], row["by_status"]) == ("1", 2, {"pending": 2})
    assert (row["first"]["task_id"], row["first"]["user"], row["ended_at"]) == ("1", "ada", None)
    assert row["first"]["error_message"]


@pytest.mark.parametrize(
    "query",
    [{"sort": "colour"}, {"sort": "--id"}, {"page": "0"}, {"page": "x"}, {"page": "1", "limit": "1001"}, {"q": "x" * 301},
     {"text": "x " * 2000}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_asked_for_is_a_bad_request(office: Office, query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        ask(office, task_list_routes.tasks, **query)


def test_an_environment_is_told_whole() -> None:
    old, new, again = (
        Tarball(Version("box", time, image, 10), ("n1",) if image == "sha256:b" else ())
        for time, image in ((1, "sha256:a"), (2, "sha256:b"), (3, "sha256:b"))
    )
    container = EnvironmentContainer("c", "box", "python", "running", "2026-01-01T00:00:00Z")
    held = {"n1": {"box": "sha256:b"}, "n2": {"box": "sha256:a"}, "n3": {"box": "sha256:x", "own": "sha256:y"}}  # fmt: skip
    box, own = overview([container], [again, new, old], held, {"box": 3})
    assert box["container"] == {"status": "running", "image": "python", "created_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    assert [each["timestamp"] for each in box["versions"]] == [3, 2, 1]
    assert box["nodes"] == {
        "n1": {"version": 3, "newest": True},
        "n2": {"version": 1, "newest": False},
        "n3": {"version": None, "newest": False},
    }
    assert box["tasks"] == 3
    assert (own["name"], own["container"], own["versions"]) == ("own", None, [])
