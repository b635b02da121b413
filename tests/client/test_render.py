"""Rows as text: widths, times, and lines that fit."""

from __future__ import annotations

from typing import Any

import pytest

from hakuriver.client.output import clip, columns
from hakuriver.client.render import FINAL, Table, ending, progress, span
from hakuriver.model import task as model
from hakuriver.model.errors import Internal
from tests.client.fake_host import task


@pytest.mark.parametrize(
    ("text", "width", "clipped"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("文字", 4, "文字"),
        ("文字文", 4, "文…"),
        ("文字文", 5, "文字…"),
        ("", 0, ""),
    ],
)
def test_a_text_is_cut_by_columns_and_not_by_letters(text: str, width: int, clipped: str) -> None:
    assert clip(text, width) == clipped
    assert columns(clipped) <= width


def test_a_table_is_aligned_by_what_is_seen() -> None:
    table = Table(("STATUS", "NAME", "X"))
    lines = list(table.lines([("a", "文字", "1"), ("bb", "x\n", "2")]))
    assert lines == ["STATUS  NAME   X", "a       文字   1", "bb      x\\x0a  2"]


def test_a_later_page_of_a_table_keeps_the_columns() -> None:
    table = Table(("ID", "STATUS", "X"))
    first = list(table.lines([("1000", "completed", "x")]))
    second = list(table.lines([("1", "ok", "x")]))
    assert len(second) == 1
    assert first[1].index("x") == second[0].index("x")


@pytest.mark.parametrize(
    ("begin", "end", "text"),
    [
        (None, None, ""),
        ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01.500000+00:00", "1.5s"),
        ("2026-01-01T08:00:00+08:00", "2026-01-01T00:03:05+00:00", "3m05s"),
        ("2026-01-01T00:00:09+00:00", "2026-01-01T00:00:01+00:00", "0.0s"),
        ("1970-01-01T00:00:00", None, "1m40s"),
    ],
)
def test_a_span_is_from_begin_to_end_or_now(begin: str | None, end: str | None, text: str) -> None:
    assert span(begin, end, 100.0) == text


def test_a_time_that_is_none_is_the_hosts_fault() -> None:
    with pytest.raises(Internal, match="yesterday"):
        span("yesterday", None, 0)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "Task 12 completed (node1, 1.2s)"),
        ({"status": "failed"}, "Task 12 failed: exit code 3 (node1, 1.2s)"),
        ({"status": "failed", "exit_code": 9, "error_message": ""},
         "Task 12 failed: exit code 9 (node1, 1.2s)"),
        ({"status": "killed", "error_message": "killed before it started", "started_at": None,
          "assigned_node": None}, "Task 12 killed: killed before it started"),
        ({"status": "killed_oom", "error_message": "out of memory"},
         "Task 12 killed_oom: out of memory (node1, 1.2s)"),
    ],
)  # fmt: skip
def test_an_end_is_one_line(fields: dict[str, Any], line: str) -> None:
    assert ending(task(**fields)) == line


def test_the_final_statuses_are_those_of_the_model() -> None:
    assert {status.value for status in model.FINAL} == FINAL


def test_progress_of_many_counts_them() -> None:
    tasks = [
        *(task(status="completed") for _ in range(2)), task(status="failed"),
        *(task(status="running") for _ in range(2)), *(task(status="pending") for _ in range(5)),
    ]  # fmt: skip
    assert progress(tasks, 0) == "3/10 done, 1 failed, 2 running, 5 pending"


def test_progress_of_one_says_where_it_is_and_what_it_waits_for() -> None:
    pending = task(status="pending", error_message="no free cores")
    now = 1767323055.0  # 2026-01-02T03:04:15Z
    assert progress([pending], now) == "Task 12: pending, 10s, no free cores"
    assert progress([task(status="running")], now) == "Task 12: running, 9.0s, node1"
