"""What pages are told: everything at first, then what changed, once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hakuriver.host.feed import READERS_MAX, TASKS_MAX, Feed, Reader, event, steady
from hakuriver.host.jobs import Jobs
from hakuriver.model.errors import Unavailable
from tests.host.office import Office


class Desk:
    """A feed of an office, on which the test does what the threads do."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.environments = 0
        self.feed = Feed(
            cluster=office.cluster,
            jobs=Jobs(1),
            environments=lambda: self.environments,
            shared_dir=office.folder,
            clock=lambda: office.now,
        )
        office.store._on_change = self.feed.changed

    def told(self, reader: Reader) -> list[tuple[str, Any]]:
        """The events since the last look, after a step."""
        self.feed.step()
        return events(reader.next(0) or b"")


def events(data: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        kind, body = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(body.removeprefix("data: "))))
    return found


@pytest.fixture
def desk(office: Office) -> Desk:
    office.beat()
    return Desk(office)


def test_a_newcomer_knows_everything_at_once(desk: Desk) -> None:
    desk.office.one(user="ada")
    told = dict(desk.told(desk.feed.attach()))
    assert list(told) == ["hello", "nodes", "counts", "jobs"]
    assert told["hello"]["cluster"] == desk.office.cluster.id
    assert [row["hostname"] for row in told["nodes"]["nodes"]] == ["n1"]
    assert told["counts"]["by_status"]["pending"] == 1
    assert told["counts"]["waiting"][0]["user"] == "ada"


def test_nothing_is_told_while_nothing_changes(desk: Desk) -> None:
    reader = desk.feed.attach()
    desk.told(reader)
    desk.office.beat()
    desk.office.now += 100
    assert desk.told(reader) == []


def test_changed_tasks_are_told_once_and_with_them_the_counts(desk: Desk) -> None:
    reader = desk.feed.attach()
    desk.told(reader)
    task_id = desk.office.one()
    told = dict(desk.told(reader))
    assert [task["task_id"] for task in told["tasks"]["tasks"]] == [str(task_id)]
    assert told["tasks"]["more"] is False
    assert told["counts"]["by_status"]["pending"] == 1
    assert desk.told(reader) == []


def test_of_very_many_changes_the_newest_are_told_and_that_there_are_more(desk: Desk) -> None:
    reader = desk.feed.attach()
    desk.told(reader)
    values = [str(number) for number in range(TASKS_MAX + 50)]
    sweep = {"words": [["true"], [0]], "axes": [values], "names": [""], "zipped": False}
    desk.office.submit(sweep=sweep)
    told = dict(desk.told(reader))
    assert len(told["tasks"]["tasks"]) == TASKS_MAX
    assert told["tasks"]["more"] is True
    assert told["tasks"]["tasks"][0]["task_id"] == str(TASKS_MAX + 50)


def test_a_node_that_comes_goes_or_is_drained_is_told(desk: Desk) -> None:
    reader = desk.feed.attach()
    desk.told(reader)
    desk.office.cluster.drain("n1", "moving house")
    ((kind, data),) = desk.told(reader)
    assert (kind, data["nodes"][0]["drained"]) == ("nodes", "moving house")
    desk.office.join("n2")
    told = dict(desk.told(reader))
    assert [row["hostname"] for row in told["nodes"]["nodes"]] == ["n2"]
    desk.office.registry.silent_since(9e9)
    desk.told(reader)
    desk.office.registry.remove("n2")
    assert dict(desk.told(reader))["nodes"] == {"nodes": [], "gone": ["n2"]}


def test_two_readers_are_told_the_same_and_one_that_left_nothing(desk: Desk) -> None:
    first, second, third = (desk.feed.attach() for _ in range(3))
    for reader in (first, second, third):
        reader.next(0)
    desk.feed.detach(third)
    desk.office.one()
    desk.feed.step()
    assert first.next(0) == second.next(0) != b""
    assert third.next(0) == b""


def test_changes_of_environments_are_told(desk: Desk) -> None:
    reader = desk.feed.attach()
    desk.told(reader)
    desk.environments += 1
    assert desk.told(reader) == [("environments", {})]


def test_samples_go_to_whoever_listens(desk: Desk) -> None:
    desk.feed.sample({"t": 1})
    reader = desk.feed.attach()
    desk.told(reader)
    desk.feed.sample({"t": 2})
    assert events(reader.next(0) or b"") == [("sample", {"t": 2})]


def test_a_reader_that_takes_nothing_is_dropped() -> None:
    reader = Reader()
    for _ in range(9):
        reader.put(b"x" * (1 << 20))
    assert reader.next(0) is None


def test_there_is_an_end_to_how_many_listen_and_to_listening(desk: Desk) -> None:
    readers = [desk.feed.attach() for _ in range(READERS_MAX)]
    with pytest.raises(Unavailable, match="64 pages"):
        desk.feed.attach()
    desk.feed.detach(readers.pop())
    readers.append(desk.feed.attach())
    desk.feed.close()
    assert all(reader.next(0) is None for reader in readers)
    with pytest.raises(Unavailable):
        desk.feed.attach()


def test_noise_of_load_is_no_change() -> None:
    row = {"hostname": "n", "cpu_percent": 10.2, "memory_percent": 40.1, "memory_used_bytes": 40_100_000,
           "memory_total_bytes": 100_000_000, "heartbeat_age": 1.0, "last_heartbeat": "x"}  # fmt: skip
    calm = {
        **row,
        "cpu_percent": 10.4,
        "memory_used_bytes": 40_200_000,
        "heartbeat_age": 2.0,
        "last_heartbeat": "y",
    }
    assert steady(row) == steady(calm)
    assert steady(row) != steady({**row, "cpu_percent": 12.0})
    assert steady(row) != steady({**row, "hostname": "m"})


def test_an_event_is_one_line_whatever_it_holds() -> None:
    data = event("x", {"text": "a\nb\r\u2028ü"})
    assert data.isascii()
    assert data.count(b"\n") == 3
    assert data.endswith(b"\n\n")
