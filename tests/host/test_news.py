"""What is worth telling to pages that know the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hakuriver.host.news import event, fitting, is_news, node_news
from hakuriver.host.placement import Reserved
from hakuriver.host.registry import NodeState
from hakuriver.host.views import node_view
from hakuriver.model.node import Vitals
from hakuriver.model.task import Status, Task, TaskSpec
from tests.host.office import node


def row(*, now: float = 10.0, cpu: float = 50.0, **changes: Any) -> dict[str, Any]:
    vitals = Vitals(cpu, 4 << 30, 8 << 30)
    state = NodeState(node(), online=True, heartbeat_at=9.0, vitals=vitals)
    return {**node_view(state, Reserved(1000, 0, 1), now=now), **changes}


def test_a_node_that_was_never_told_is_news() -> None:
    assert is_news(None, row())


@pytest.mark.parametrize(
    "later",
    [
        row(now=99.0),
        row(last_heartbeat="2026-01-01T00:00:00.000+00:00"),
        row(cpu=50.9),
        row(cpu=49.1),
        row(memory_percent=50.9, memory_used_bytes=(4 << 30) + 1000),
    ],
    ids=["age", "heartbeat", "a bit more", "a bit less", "memory"],
)
def test_ages_and_loads_that_move_by_less_than_a_percent_are_no_news(later: dict[str, Any]) -> None:
    assert not is_news(row(), later)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "offline"},
        {"drained": ""},
        {"problems": ["no disk"]},
        {"environments": {"base": "sha256:2"}},
        {"cores_in_use": 2.0},
        {"running_tasks": 2},
        {"cpu_percent": 51.0},
        {"memory_percent": 48.9},
    ],
    ids=str,
)
def test_anything_else_is(changes: dict[str, Any]) -> None:
    assert is_news(row(), row(**changes))


def test_a_load_that_drifts_is_told_once_it_is_a_percent_from_what_was_told() -> None:
    told, times = row(cpu=10.0), 0
    for tenths in range(100, 150, 3):
        now = row(cpu=tenths / 10)
        if is_news(told, now):
            told, times = now, times + 1
    assert times == 4


def test_who_changed_and_who_is_gone() -> None:
    told = {"a": row(), "b": row(), "c": row()}
    rows = {"a": row(now=20.0), "b": row(status="offline"), "d": row()}
    changed, gone = node_news(told, rows)
    assert (list(changed), gone) == (["b", "d"], ["c"])
    assert node_news(rows, rows) == ({}, [])


def test_an_event_is_one_line_of_ascii_whatever_is_in_it() -> None:
    data = {"text": "line\nbreak\r\u2028 é \udc80"}
    sent = event("tasks", data)
    assert sent.startswith(b"event: tasks\ndata: ")
    assert sent.endswith(b"}\n\n")
    assert sent.count(b"\n") == 3
    assert json.loads(sent.split(b"data: ")[1]) == data


def task(number: int, *argv: str, **env: str) -> Task:
    return Task(number, number, TaskSpec(argv, tuple(env.items())), Status.PENDING, 0.0)


def test_tasks_with_endless_command_lines_do_not_fill_an_event() -> None:
    tasks = [task(1, "x" * 60), task(2, "y", NAME="z" * 30), task(3, "w" * 10)]
    assert [each.id for each in fitting(tasks, 1000)] == [1, 2, 3]
    assert [each.id for each in fitting(tasks, 96)] == [1, 2]
    assert [each.id for each in fitting(tasks, 60)] == [1]
    assert fitting(tasks, 59) == []
