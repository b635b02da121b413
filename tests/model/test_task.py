"""The life of a task, against a table that was written by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.model.task import (
    ACTS,
    FACTS,
    FINAL,
    ON_NODE,
    Cancelled,
    Dispatched,
    Ended,
    Event,
    Forgotten,
    IllegalTransition,
    Observed,
    RefusedByNode,
    Requeued,
    Result,
    State,
    Status,
    Task,
    TaskSpec,
    Undelivered,
    Unreachable,
    Vanished,
    advance,
    explain_exit,
    output_name,
)

EVENTS: dict[str, Event] = {
    "starting": Observed(State.STARTING),
    "running": Observed(State.RUNNING),
    "paused": Observed(State.PAUSED),
    "exit_0": Ended(Result(0)),
    "exit_0_oom": Ended(Result(0, oom=True)),
    "exit_1": Ended(Result(1)),
    "exit_?": Ended(Result(None, problem="the keeper is gone")),
    "oom_137": Ended(Result(137, oom=True)),
    "oom_?": Ended(Result(None, oom=True)),
    "kill_0": Ended(Result(0, kill_sent=True)),
    "kill_143": Ended(Result(143, kill_sent=True)),
    "kill_oom": Ended(Result(137, kill_sent=True, oom=True)),
    "kill_?": Ended(Result(None, kill_sent=True)),
    "refused_now": RefusedByNode("full", for_good=False),
    "refused": RefusedByNode("no image", for_good=True),
    "unreachable": Unreachable(),
    "vanished": Vanished(),
    "dispatched": Dispatched(),
    "undelivered": Undelivered(),
    "cancelled": Cancelled(),
    "requeued": Requeued(),
    "forgotten": Forgotten(),
}

# "!" is illegal, "=" changes nothing. Statuses by their first letters, k is killed, o killed_oom.
COLUMNS = ("pending", "assigning", "running", "paused", "lost",
           "completed", "failed", "killed", "killed_oom")  # fmt: skip
WORDS = {"pe": "pending", "as": "assigning", "ru": "running", "pa": "paused", "lo": "lost",
         "co": "completed", "fa": "failed", "ki": "killed", "oo": "killed_oom"}  # fmt: skip
TABLE = """
    event        pe  as  ru  pa  lo   co  fa  ki  oo
    starting      !  as  as  as  as    =   =   =   =
    running       !  ru  ru  ru  ru    =   =   =   =
    paused        !  pa  pa  pa  pa    =   =   =   =
    exit_0        !  co  co  co  co    =   =   =   =
    exit_0_oom    !  co  co  co  co    =   =   =   =
    exit_1        !  fa  fa  fa  fa    =   =   =   =
    exit_?        !  fa  fa  fa  fa    =   =   =   =
    oom_137       !  oo  oo  oo  oo    =   =   =   =
    oom_?         !  fa  fa  fa  fa    =   =   =   =
    kill_0        !  ki  ki  ki  ki    =   =   =   =
    kill_143      !  ki  ki  ki  ki    =   =   =   =
    kill_oom      !  ki  ki  ki  ki    =   =   =   =
    kill_?        !  ki  ki  ki  ki    =   =   =   =
    refused_now   !  pe  pe  pe  pe    =   =   =   =
    refused       !  fa  fa  fa  fa    =   =   =   =
    unreachable   !  lo  lo  lo  lo    =   =   =   =
    vanished      !  fa  fa  fa  fa    =   =   =   =
    dispatched   as   !   !   !   !    !   !   !   !
    undelivered   !  pe   !   !  pe    !   !   !   !
    cancelled    ki   !   !   !   !    !   !   !   !
    requeued      !   !   !   !  pe    !  pe   !   !
    forgotten     !   !   !   !  fa    !   !   !   !
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
PRODUCT = [
    (row[0], Status(status), cell)
    for row in ROWS[1:]
    for status, cell in zip(COLUMNS, row[1:], strict=True)
]
FACT_NAMES = [name for name, event in EVENTS.items() if isinstance(event, FACTS)]


def pairs(statuses: Iterable[Status]) -> list[tuple[Status, str]]:
    """Each status with each fact."""
    return list(itertools.product(sorted(statuses), FACT_NAMES))


def test_the_table_holds_the_whole_product() -> None:
    assert ROWS[0] == [
        "event",
        *(status[:2] if status != "killed_oom" else "oo" for status in COLUMNS),
    ]
    assert set(COLUMNS) == {status.value for status in Status}
    assert [row[0] for row in ROWS[1:]] == list(EVENTS)
    assert {type(event) for event in EVENTS.values()} == {*FACTS, *ACTS}
    assert len(PRODUCT) == len(Status) * len(EVENTS)


@pytest.mark.parametrize(("name", "status", "cell"), PRODUCT)
def test_every_event_leads_where_the_table_says(name: str, status: Status, cell: str) -> None:
    if cell == "!":
        with pytest.raises(IllegalTransition, match=status.value):
            advance(status, EVENTS[name])
    else:
        after = status if cell == "=" else Status(WORDS[cell])
        assert advance(status, EVENTS[name]) is after


@pytest.mark.parametrize(("status", "name"), pairs(FINAL))
def test_no_fact_moves_a_final_status(status: Status, name: str) -> None:
    assert advance(status, EVENTS[name]) is status


@pytest.mark.parametrize(("status", "name"), pairs(ON_NODE))
def test_a_fact_that_comes_twice_counts_once(status: Status, name: str) -> None:
    once = advance(status, EVENTS[name])
    if once is Status.PENDING:
        return  # Another attempt by now: its number tells the repetition apart.
    assert advance(once, EVENTS[name]) is once


observations = st.lists(
    st.sampled_from(["starting", "running", "paused", "unreachable"]), max_size=8
)
ends = st.sampled_from(["exit_0", "exit_1", "oom_137", "kill_143", "refused", "vanished"])


@given(st.sampled_from(sorted(ON_NODE)), observations, ends, st.data())
def test_what_comes_late_does_not_change_an_end(
    status: Status, before: list[str], end: str, data: st.DataObject
) -> None:
    late = data.draw(st.lists(st.sampled_from(FACT_NAMES), max_size=8))
    wanted = advance(status, EVENTS[end])
    for name in [*before, end, *late]:
        status = advance(status, EVENTS[name])
    assert status is wanted


@given(
    st.sampled_from(sorted(ON_NODE)),
    observations,
    st.sampled_from(["starting", "running", "paused"]),
)
def test_the_last_observation_decides_whatever_came_before(
    status: Status, before: list[str], last: str
) -> None:
    wanted = {"starting": "assigning"}.get(last, last)
    for name in [*before, last]:
        status = advance(status, EVENTS[name])
    assert status.value == wanted


def test_final_and_holding_room_exclude_each_other() -> None:
    assert set(Status) == FINAL | ON_NODE | {Status.PENDING}
    assert not FINAL & ON_NODE
    assert all(status.final == (status in FINAL) for status in Status)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (Result(0), ""),
        (Result(3), "exit code 3"),
        (Result(126), "exit code 126: the command was found but is not executable"),
        (Result(127), "exit code 127: command not found"),
        (Result(137), "exit code 137: ended by signal KILL"),
        (Result(128 + 64), "exit code 192: ended by signal 64"),
        (Result(128), "exit code 128"),
        (Result(137, oom=True), "out of memory: the kernel killed it at its memory limit; ask for more with --memory"),
        (Result(137, kill_sent=True, oom=True), "killed on request"),
        (Result(0, kill_sent=True), "killed on request"),
        (Result(None, kill_sent=True), "killed before it started"),
        (Result(None, problem="the keeper is gone"), "the keeper is gone"),
        (Result(137, oom=True, problem="the engine stopped"), "the engine stopped"),
    ],
)  # fmt: skip
def test_an_end_is_explained_in_one_line(result: Result, text: str) -> None:
    assert explain_exit(result) == text


def test_attempts_never_share_an_output_file() -> None:
    names = [
        output_name(task, attempt, stream)
        for task in (1, 11, 12)
        for attempt in (1, 2, 12)
        for stream in ("stdout", "stderr")
    ]
    assert len(set(names)) == len(names)
    assert output_name(7, 1, "stdout") == "task_outputs/7.out"
    assert output_name(7, 2, "stderr") == "task_errors/7.2.err"
    task = Task(7, 7, TaskSpec(("true",)), Status.PENDING, 0.0, attempt=3)
    assert task.output_name("stdout") == "task_outputs/7.3.out"
    assert task.output_name("stdout", 1) == "task_outputs/7.out"
