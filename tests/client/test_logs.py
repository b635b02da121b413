"""Logs: every byte, once, wherever the connection breaks."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Client
from tests.client.fake_host import BREAK, HOLD, FakeHost, error, output, task
from tests.client.test_wait import OnTerminal
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
LIVE: dict[str, Any] = {"status": "running", "final": False}


def test_what_is_there_is_read_in_pieces_and_not_waited_for(host: FakeHost, client: Client) -> None:
    host.on(
        "GET /task/12/stdout",
        output(b"one\n", size=8, **LIVE),
        output(b"two\n", offset=4, size=12, **LIVE),
    )
    ended = client("logs", "12")
    assert (ended.code, ended.out, ended.err) == (0, "one\ntwo\n", "")
    assert [seen.query for seen in host.seen] == [
        {"offset": "0", "limit": "1048576"},
        {"offset": "4", "limit": "1048576"},
    ]


def test_bytes_come_out_as_they_are(host: FakeHost) -> None:
    data = random.Random(1).randbytes(3 << 20)
    size = len(data)
    pieces = [
        output(data[at : at + (1 << 20)], offset=at, size=size) for at in range(0, size, 1 << 20)
    ]
    host.on("GET /task/12/stderr", *pieces)
    argv = [sys.executable, "hakuriver.py", "client", "--host", host.address]
    done = subprocess.run(
        [*argv, "logs", "--stderr", "12"], cwd=ROOT, capture_output=True, timeout=30
    )
    assert done.stdout == data


def test_no_output_yet_is_no_error(host: FakeHost, client: Client) -> None:
    host.on("GET /task/12/stdout", output(b"", status="pending", final=False))
    ended = client("logs", "12")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_no_task_is_an_error(host: FakeHost, client: Client) -> None:
    host.on("GET /task/99/stdout", error(404, "not_found", "there is no task 99"))
    assert client("logs", "-f", "99").code == 4


def test_following_ends_with_the_task_and_its_last_byte(host: FakeHost, client: Client) -> None:
    host.on(
        "GET /task/12/stdout",
        output(b"", status="pending", final=False),
        output(b"a", **LIVE),
        output(b"", offset=1, **LIVE),
        output(b"b", offset=1, size=3),
        output(b"c", offset=2),
    )
    ended = client("logs", "-f", "12")
    assert (ended.code, ended.out) == (0, "abc")
    asked = [(seen.query["offset"], seen.query.get("wait")) for seen in host.seen]
    assert asked == [("0", None), ("0", "30"), ("1", "30"), ("1", "30"), ("2", "30")]


def test_following_goes_on_at_the_same_byte_when_the_host_is_back(
    host: FakeHost, client: Client
) -> None:
    host.on(
        "GET /task/12/stdout",
        output(b"abc", **LIVE),
        BREAK,
        BREAK,
        error(503, "unavailable", "starting"),
        output(b"def", offset=3),
    )
    ended = client("logs", "-f", "12")
    assert (ended.code, ended.out) == (0, "abcdef")
    assert ended.err == "The host does not answer; still trying.\n"
    assert {seen.query["offset"] for seen in host.seen[1:]} == {"3"}


def test_a_new_attempt_has_a_new_output(host: FakeHost, client: Client) -> None:
    host.on(
        "GET /task/12/stdout",
        output(b"old\n", **LIVE),
        output(b"", offset=4, size=0, status="pending", final=False),
        output(b"new\n"),
    )
    ended = client("logs", "-f", "12")
    assert ended.out == "old\nnew\n"
    assert ended.err == "Task 12 was started again: a new output.\n"


def test_a_tail_begins_where_the_host_says(host: FakeHost, client: Client) -> None:
    host.on(
        "GET /task/12/stdout", output(b"y\n", offset=90, **LIVE), output(b"z\n", offset=92, size=94)
    )
    ended = client("logs", "12", "--tail", "1", "--follow")
    assert ended.out == "y\nz\n"
    assert [seen.query.get("tail") for seen in host.seen] == ["1", None]
    assert host.seen[1].query["offset"] == "92"
    assert "offset" not in host.seen[0].query


def test_json_and_quiet_leave_the_bytes_alone(host: FakeHost, client: Client) -> None:
    host.on("GET /task/12/stdout", output(b"x"))
    assert [client("logs", "12", flag).out for flag in ("--json", "-q")] == ["x", "x"]


def test_a_terminal_is_told_why_there_is_nothing_yet(host: FakeHost, home: Path) -> None:
    pending = output(b"", status="pending", final=False)
    host.on("GET /task/12/stdout", pending, pending, pending, output(b"", status="completed"))
    host.on("GET /status/12", task(status="pending", error_message="node1 is\x07 offline"))
    code, text = OnTerminal("--host", host.address, "logs", "-f", "12", home=home).end()
    assert code == 0
    assert text == "Task 12 is pending: node1 is\\x07 offline.\r\n"


def test_an_interrupt_ends_following_without_a_word(host: FakeHost, home: Path) -> None:
    host.on("GET /task/12/stdout", output(b"", **LIVE), HOLD)
    following = OnTerminal("--host", host.address, "logs", "-f", "12", home=home)
    wait_until(lambda: len(host.seen) > 1, message="the long poll has begun")
    following.interrupt()
    assert following.end() == (130, "")


@pytest.mark.parametrize("missing", ["Offset", "Size", "Status", "Final"])
def test_an_answer_that_is_none_of_ours_is_an_error(
    host: FakeHost, client: Client, missing: str
) -> None:
    answer = output(b"x")
    del answer.headers[f"X-Hakuriver-{missing}"]
    host.on("GET /task/12/stdout", answer)
    ended = client("logs", "12")
    assert ended.code == 1
    assert f"x-hakuriver-{missing.lower()}" in ended.err
