"""Pages of tasks and of batches: the right ones, in order, and how many there are."""

from __future__ import annotations

from typing import Any

import pytest

from hakuriver.host.listing import SORTS, Filter, Page
from hakuriver.model.task import Status
from tests.host.office import Office

ALL = Filter()


def page(office: Office, wanted: Filter = ALL, number: int = 1, size: int = 10, sort: str = "-id") -> tuple[list[int], int]:  # fmt: skip
    found, total = office.cluster.tasks_page(
        wanted, Page(number, size), sort=sort.removeprefix("-"), falling=sort.startswith("-")
    )
    return [task.id for task in found], total


@pytest.fixture
def full(office: Office) -> Office:
    """Tasks 1 to 5: of ada, of bob, and a sweep of three of ada's, which wait for other nodes."""
    office.one(command="train", arguments=["--lr", "0.1"], user="ada")
    office.one(command="test", arguments=["ünï", "100%_"], user="bob", targets=["n1"])
    sweep = {"words": [["span"], [0]], "axes": [["x", "y", "z"]], "names": [""], "zipped": False}
    office.submit(sweep=sweep, user="ada")
    return office


def test_pages_follow_each_other_and_know_how_many_there_are(full: Office) -> None:
    assert page(full, number=1, size=2) == ([5, 4], 5)
    assert page(full, number=2, size=2) == ([3, 2], 5)
    assert page(full, number=3, size=2) == ([1], 5)
    assert page(full, number=4, size=2) == ([], 5)
    assert page(full, number=2**62, size=2) == ([], 5)
    assert page(full, sort="id") == ([1, 2, 3, 4, 5], 5)


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("train", [1]), ("TRAIN 0.1", [1]), ("ada", [5, 4, 3, 1]), ("ada train", [1]), ("ünï", [2]), ("100%_", [2]),
        ("100%x", []), ("n1", [2]), ("span z", [5]), ("4", [4]), ("nothing", []), ("", [5, 4, 3, 2, 1]),
        (",", []), ("[", []), ("]", []), ("fc", []), ("u00", []), ("n\xef", [2]), ("0_", []), ("%", [2]), ("\\", []),
    ],
)  # fmt: skip
def test_each_word_is_looked_for_everywhere(full: Office, words: str, ids: list[int]) -> None:
    assert page(full, Filter(words=words)) == (ids, len(ids))


def test_filters_go_together(full: Office) -> None:
    assert page(full, Filter(user="ada", words="span", statuses=(Status.PENDING,))) == (
        [5, 4, 3],
        3,
    )
    assert page(full, Filter(environment="NULL")) == ([5, 4, 3, 2, 1], 5)
    assert page(full, Filter(environment="box")) == ([], 0)
    assert page(full, Filter(batch=3)) == ([5, 4, 3], 3)


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_the_other_one_backwards(full: Office, sort: str) -> None:
    rising, falling = page(full, sort=sort)[0], page(full, sort=f"-{sort}")[0]
    assert sorted(rising) == [1, 2, 3, 4, 5]
    assert rising == falling[::-1]


def test_waiting_tasks_of_a_page_say_why(full: Office) -> None:
    found, _ = full.cluster.tasks_page(Filter(), Page(1, 1), sort="id", falling=True)
    assert found[0].message


def batches(office: Office, wanted: Filter = ALL, number: int = 1, size: int = 10) -> Any:
    with office.store.read() as tx:
        return tx.batches_page(wanted, Page(number, size))


def test_batches_are_counted_whole_whatever_was_asked_for(full: Office) -> None:
    found, total = batches(full)
    assert [(batch.id, batch.total, batch.first.id) for batch in found] == [
        (3, 3, 3),
        (2, 1, 2),
        (1, 1, 1),
    ]
    assert total == 3
    (one,), total = batches(full, Filter(words="span y"))
    assert (one.id, one.total, total) == (3, 3, 1)
    assert batches(full, number=2, size=2)[0][0].id == 1
    assert batches(full, Filter(user="nobody")) == ([], 0)


def test_a_batch_has_ended_when_all_of_it_has(full: Office) -> None:
    full.cluster.kill(3)
    (batch, *_), _ = batches(full)
    assert batch.by_status == {"killed": 1, "pending": 2}
    assert batch.ended_at is None
    full.now += 7
    for task_id in (4, 5):
        full.cluster.kill(task_id)
    (batch, *_), _ = batches(full)
    assert batch.ended_at == full.now
