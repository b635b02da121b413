"""The stream of events: everything to who comes, then only what changed, the same for all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from hakuriver.host.feed import READERS_MAX, TASKS_MAX, Feed
from hakuriver.host.jobs import Jobs, Progress
from hakuriver.host.readers import Reader
from hakuriver.model.errors import Unavailable
from hakuriver.model.task import Status
from tests.host.office import RUNNING, Office

Events = list[tuple[str, dict[str, Any]]]


def events(data: bytes | None) -> Events:
    assert data is not None, "the reader was ended"
    found = []
    for block in data.decode("ascii").split("\n\n")[:-1]:
        kind, text = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(text.removeprefix("data: "))))
    return found


@dataclass
class Desk:
    """An office with a feed. containers: what rises when one of them changes."""

    office: Office
    jobs: Jobs = field(default_factory=lambda: Jobs(epoch=1))
    containers: int = 0

    def __post_init__(self) -> None:
        self.feed = Feed(
            cluster=self.office.cluster, jobs=self.jobs, environments=lambda: self.containers,
            shared_dir=self.office.folder, clock=lambda: self.office.now,
        )  # fmt: skip
        self.office.on_change = self.feed.changed

    def page(self) -> Reader:
        """One that has read what everybody gets first."""
        reader = self.feed.attach()
        reader.next(0)
        return reader

    def tell(self, reader: Reader, *, seconds: float = 1.0) -> Events:
        """What the next step tells."""
        self.office.now += seconds
        self.feed.step()
        return events(reader.next(0))


@pytest.fixture
def desk(office: Office) -> Iterator[Desk]:
    desk = Desk(office)
    yield desk
    desk.jobs.stop()


def of(kind: str, told: Events) -> list[dict[str, Any]]:
    return [data for name, data in told if name == kind]


def test_a_newcomer_knows_everything_at_once(desk: Desk) -> None:
    desk.office.running()
    waits = desk.office.one(targets=["n1"], required_cores=4)
    told = events(desk.feed.attach().next(0))
    assert [kind for kind, _ in told] == ["hello", "nodes", "counts", "jobs"]
    (hello,), (nodes,), (counts,) = (of(kind, told) for kind in ("hello", "nodes", "counts"))
    assert hello.keys() == {"cluster", "version", "build", "epoch", "now", "revision"}
    assert hello["revision"] == desk.office.store.revision
    assert [node["hostname"] for node in nodes["nodes"]] == ["n1"]
    assert nodes["nodes"][0]["running_tasks"] == 1
    assert counts["by_status"].keys() == {status.value for status in Status}
    assert (counts["by_status"]["running"], counts["by_status"]["pending"]) == (1, 1)
    assert [task["task_id"] for task in counts["waiting"]] == [str(waits)]
    assert "n1" in counts["waiting"][0]["error_message"], "why it waits"


def test_nothing_is_told_while_nothing_changes(desk: Desk) -> None:
    desk.office.running()
    reader = desk.page()
    for _ in range(12):
        desk.office.beat("n1")
        assert desk.tell(reader) == []


def test_a_task_that_changed_is_told_once_with_the_numbers_and_its_node(desk: Desk) -> None:
    reader = desk.page()
    task_id = desk.office.running()
    told = desk.tell(reader)
    (tasks,) = of("tasks", told)
    assert tasks["revision"] == desk.office.store.revision
    assert tasks["more"] is False
    assert [(each["task_id"], each["status"]) for each in tasks["tasks"]] == [
        (str(task_id), "running")
    ]
    assert of("counts", told)[0]["by_status"]["running"] == 1
    assert of("nodes", told)[0]["nodes"][0]["cores_in_use"] == 1
    assert desk.tell(reader) == []


def test_more_changes_than_are_told_are_said_to_be_more(desk: Desk) -> None:
    reader = desk.page()
    sweep = {"words": [["true"], [0]], "axes": [[str(n) for n in range(TASKS_MAX + 5)]],
             "names": [""], "zipped": False}  # fmt: skip
    ids = desk.office.submit(sweep=sweep)["task_ids"]
    (tasks,) = of("tasks", desk.tell(reader))
    assert tasks["more"] is True
    assert [each["task_id"] for each in tasks["tasks"]] == ids[:4:-1]


def test_tasks_that_are_forgotten_or_lose_their_output_are_told(desk: Desk) -> None:
    first, second = desk.office.ended(), desk.office.ended()
    reader = desk.page()
    kept = [desk.office.task(task_id) for task_id in (first, second)]
    assert desk.office.store.write(lambda tx: tx.mark_logs_pruned(kept)) == 2
    (tasks,) = of("tasks", desk.tell(reader))
    assert [each["logs_pruned"] for each in tasks["tasks"]] == [True, True]
    assert tasks["gone"] == []
    assert desk.office.store.write(lambda tx: tx.forget_tasks([kept[0], kept[0]])) == 1
    (tasks,) = of("tasks", desk.tell(reader))
    assert (tasks["tasks"], tasks["gone"], tasks["more"]) == ([], [str(first)], False)


def test_tasks_with_endless_arguments_end_no_stream(desk: Desk) -> None:
    reader = desk.page()
    for _ in range(15):
        desk.office.one(arguments=["x" * 100_000])
    told = desk.tell(reader)
    (tasks,), (counts,) = of("tasks", told), of("counts", told)
    assert (len(tasks["tasks"]), tasks["more"]) == (10, True)
    assert (len(counts["waiting"]), counts["by_status"]["pending"]) == (10, 15)


def test_failures_are_told_latest_first(desk: Desk) -> None:
    first, second = desk.office.ended(1), desk.office.ended(2)
    desk.office.ended(0)
    (counts,) = of("counts", events(desk.feed.attach().next(0)))
    failed = [(task["task_id"], task["exit_code"]) for task in counts["failures"]]
    assert sorted(failed) == [(str(first), 1), (str(second), 2)]


def test_why_a_task_waits_is_told_without_any_task_changing(desk: Desk) -> None:
    desk.office.one(required_cores=4)
    reader = desk.page()
    desk.office.cluster.drain("n1", "a new disk")
    told = desk.tell(reader)
    assert of("nodes", told)[0]["nodes"][0]["drained"] == "a new disk"
    (counts,) = of("counts", desk.tell(reader, seconds=5))
    assert "a new disk" in counts["waiting"][0]["error_message"]


def test_nodes_that_come_fall_silent_and_go(desk: Desk) -> None:
    reader = desk.page()
    desk.office.join("n2")
    assert [n["hostname"] for n in of("nodes", desk.tell(reader))[0]["nodes"]] == ["n2"]
    desk.office.silence()
    (nodes,) = of("nodes", desk.tell(reader))
    assert {n["hostname"]: n["status"] for n in nodes["nodes"]} == {
        "n1": "offline",
        "n2": "offline",
    }
    desk.office.registry.remove("n2")
    assert of("nodes", desk.tell(reader)) == [{"nodes": [], "gone": ["n2"]}]


def test_a_job_is_told_whenever_it_changes(desk: Desk) -> None:
    def work(progress: Progress) -> dict[str, Any]:
        return {"message": "made"}

    before = desk.jobs.end(desk.jobs.start("pack", "old", work))
    told = events(desk.feed.attach().next(0))
    assert [job["job_id"] for job in of("jobs", told)[0]["jobs"]] == [before.id]
    reader = desk.page()
    job = desk.jobs.end(desk.jobs.start("pack", "env", work))
    (jobs,) = of("jobs", desk.tell(reader))
    assert [(each["job_id"], each["state"]) for each in jobs["jobs"]] == [(job.id, "done")]
    assert desk.tell(reader) == []


def test_environments_are_told_when_containers_or_what_nodes_have_changed(desk: Desk) -> None:
    reader = desk.page()
    desk.containers += 1
    assert desk.tell(reader) == [("environments", {})]
    desk.office.join("n1", environments={"base": "sha256:2"})
    assert of("environments", desk.tell(reader)) == [{}]
    assert of("environments", desk.tell(reader)) == []


def test_every_reader_gets_the_same_bytes(desk: Desk) -> None:
    readers = [desk.page() for _ in range(3)]
    desk.office.running()
    desk.office.now += 1
    desk.feed.step()
    first, *others = [reader.next(0) for reader in readers]
    assert first
    assert all(other is first for other in others), "not copies: there may be many"


def test_who_comes_later_knows_what_the_others_know(desk: Desk) -> None:
    early = desk.page()
    desk.office.running()
    desk.tell(early)
    (counts,) = of("counts", events(desk.feed.attach().next(0)))
    assert counts["by_status"]["running"] == 1
    assert early.next(0) == b"", "a newcomer makes no work for the others"


def test_a_change_while_the_first_page_comes_is_not_missed(desk: Desk) -> None:
    task_id = desk.office.assigned()
    desk.office.send()
    look, done = desk.office.cluster.reserved, False

    def reserved() -> Any:
        nonlocal done
        found = look()
        if not done:
            done = True
            desk.office.report(task_id, RUNNING, 1)
        return found

    desk.office.cluster.reserved = reserved  # type: ignore[method-assign]
    reader = desk.page()
    (tasks,) = of("tasks", desk.tell(reader))
    assert [each["status"] for each in tasks["tasks"]] == ["running"]


def test_nobody_listens_nothing_is_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = desk.page()
    desk.feed.detach(reader)
    desk.office.running()

    def refuse(*_: object) -> Any:
        raise AssertionError("somebody looked")

    monkeypatch.setattr(desk.office.store, "read", refuse)
    monkeypatch.setattr(desk.office.registry, "all", refuse)
    desk.feed.step()
    desk.feed.sample({"t": 1})
    assert reader.next(0) == b""


def test_a_sample_goes_to_all_as_it_is(desk: Desk) -> None:
    reader = desk.page()
    desk.feed.sample({"t": 5, "cluster": {}, "nodes": {}})
    assert events(reader.next(0)) == [("sample", {"t": 5, "cluster": {}, "nodes": {}})]


def test_there_is_a_bound_on_pages_and_a_place_is_free_again(desk: Desk) -> None:
    readers = [desk.feed.attach() for _ in range(READERS_MAX)]
    with pytest.raises(Unavailable, match="64 pages are open already"):
        desk.feed.attach()
    desk.feed.detach(readers[0])
    desk.feed.attach()


def test_a_step_that_fails_ends_all_as_they_may_have_missed_something(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = desk.page()
    desk.office.running()
    with monkeypatch.context() as patch:
        patch.setattr(desk.office.cluster, "reserved", _fail)
        with pytest.raises(sqlite3.OperationalError):
            desk.feed.step()
        assert reader.next(0) is None
        with pytest.raises(sqlite3.OperationalError):
            desk.feed.attach()
    (counts,) = of("counts", events(desk.feed.attach().next(0)))
    assert counts["by_status"]["running"] == 1


def _fail() -> Any:
    raise sqlite3.OperationalError("disk I/O error")


def test_a_host_that_stops_ends_all_and_takes_nobody_on(desk: Desk) -> None:
    reader = desk.page()
    desk.feed.close()
    assert reader.next(60) is None
    with pytest.raises(Unavailable, match="stopping"):
        desk.feed.attach()


def test_a_reader_that_does_not_keep_up_is_ended() -> None:
    reader = Reader(backlog=10)
    reader.put(b"x" * 100)
    assert reader.next(0) == b"x" * 100, "one message may be longer than all that may wait"
    reader.put(b"x" * 11)
    reader.put(b"y")
    assert reader.next(0) is None


def test_a_reader_that_waits_is_told_of_the_silence() -> None:
    assert Reader().next(0.01) == b""
