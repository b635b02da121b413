"""Sweeps and batches on the host: one transaction each, whatever their size."""

from __future__ import annotations

import sqlite3

import pytest

from hakuriver.host import rows
from hakuriver.host.batches import Batches
from hakuriver.host.records import task_of
from hakuriver.model.errors import Conflict, NotFound
from hakuriver.model.node import Capacity
from hakuriver.model.task import Status, Task, Wish
from tests.host.office import Office


def sweep(count: int, **more: object) -> dict[str, object]:
    axis = [str(number) for number in range(count)]
    return {"words": [["echo"], [0]], "axes": [axis], "names": [""], "zipped": False, **more}


@pytest.fixture
def batches(office: Office) -> Batches:
    return Batches(office.store, on_orders=office.told.append, on_room=office._room)


def test_a_sweep_is_one_batch_with_consecutive_numbers(office: Office) -> None:
    office.one()
    answer = office.submit(sweep=sweep(250))
    ids = [int(task_id) for task_id in answer["task_ids"]]
    assert ids == list(range(ids[0], ids[0] + 250))
    assert answer["batch_id"] == str(ids[0])
    assert answer["message"] == f"250 tasks, {ids[0]} to {ids[-1]}, accepted."
    assert office.task(ids[7]).spec.argv == ("echo", "7")
    assert office.one() == ids[-1] + 1


def test_targets_and_combinations_multiply(office: Office) -> None:
    office.join("n1")
    office.join("n2")
    answer = office.submit(sweep=sweep(3), targets=["n1", "n2"])
    tasks = [office.task(int(task_id)) for task_id in answer["task_ids"]]
    assert [(str(task.spec.target), task.spec.argv[1]) for task in tasks] == [
        (node, number) for node in ("n1", "n2") for number in ("0", "1", "2")
    ]
    assert {task.batch_id for task in tasks} == {tasks[0].id}


def test_the_same_key_is_the_same_batch(office: Office) -> None:
    first = office.submit(key="k", sweep=sweep(5))
    assert office.submit(key="k", sweep=sweep(5)) == first
    assert len(office.all()) == 5


def test_a_batch_is_counted_and_its_first_failure_is_named(
    office: Office, batches: Batches
) -> None:
    ids = [int(task_id) for task_id in office.submit(sweep=sweep(4))["task_ids"]]
    assert batches.get(ids[0]).by_status == {"pending": 4}
    office.cluster.kill(ids[2])
    office.cluster.kill(ids[1])
    found = batches.get(ids[0])
    assert (found.total, found.by_status) == (4, {"killed": 2, "pending": 2})
    assert found.first_failed is not None
    assert found.first_failed.id == ids[1]


def test_how_far_a_batch_is_costs_the_same_however_many_of_it_failed(
    office: Office, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it asks twice a second."""
    ids = [int(task_id) for task_id in office.submit(sweep=sweep(50))["task_ids"]]
    batches.kill(ids[0])
    made: list[int] = []

    def counted(row: sqlite3.Row) -> Task:
        made.append(row["task_id"])
        return task_of(row)

    monkeypatch.setattr(rows, "task_of", counted)
    first = batches.get(ids[0]).first_failed
    assert first is not None
    assert made == [first.id] == [ids[0]]


def test_killing_a_batch_reaches_what_waits_and_what_runs(office: Office, batches: Batches) -> None:
    office.join(capacity=Capacity(2, 1 << 33, 8))
    ids = [int(task_id) for task_id in office.submit(sweep=sweep(5))["task_ids"]]
    office.cluster.place()
    other = office.one()
    assert batches.kill(ids[0]) == 5
    after = [office.task(task_id) for task_id in ids]
    assert [task.status for task in after[2:]] == [Status.KILLED] * 3
    assert [task.wish for task in after[:2]] == [Wish.KILL] * 2
    assert office.told[-1] == "n1"
    assert office.task(other).status is Status.PENDING
    assert batches.kill(ids[0]) == 2, "again is no harm"


def test_retry_is_for_those_that_failed(office: Office, batches: Batches) -> None:
    ids = [int(task_id) for task_id in office.submit(sweep=sweep(3))["task_ids"]]
    with pytest.raises(Conflict, match="no task of batch"):
        batches.retry(ids[0])
    office.cluster.kill(ids[0])
    with pytest.raises(Conflict, match="no task of batch"):
        batches.retry(ids[0])


@pytest.mark.parametrize("verb", ["get", "kill", "retry"])
def test_a_batch_that_is_not_there_is_told(batches: Batches, verb: str) -> None:
    with pytest.raises(NotFound, match="no batch 7"):
        getattr(batches, verb)(7)
