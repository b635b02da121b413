"""Waiting: whose exit code, what is said meanwhile, and what ends it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hakuriver.client.wait import exit_code
from tests.client.conftest import Client
from tests.client.fake_host import BREAK, HOLD, FakeHost, error, page, task
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ([task()], 0),
        ([task(), task()], 0),
        ([task(status="failed", exit_code=3)], 3),
        ([task(status="failed", exit_code=None)], 125),
        ([task(status="killed", exit_code=143)], 143),
        ([task(status="killed", exit_code=None)], 137),
        ([task(status="killed", exit_code=0)], 137),
        ([task(status="killed_oom", exit_code=137)], 137),
        ([task(), task(status="failed", exit_code=4), task(status="failed", exit_code=5)], 4),
        ([task(status="killed", exit_code=None), task(status="failed", exit_code=5)], 137),
    ],
    ids=lambda value: str([t["status"] for t in value]) if isinstance(value, list) else str(value),
)
def test_the_first_that_did_not_complete_gives_the_exit_code(
    tasks: list[dict[str, Any]], code: int
) -> None:
    assert exit_code(tasks) == code


def test_one_task_is_asked_about_until_it_has_ended(host: FakeHost, client: Client) -> None:
    host.on(
        "GET /status/12",
        task(status="pending", revision=3),
        task(status="running", revision=4),
        task(revision=6),
    )
    ended = client("wait", "12", "--poll-interval", "7")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "Task 12 completed (node1, 1.2s)\n"
    assert [seen.query for seen in host.seen] == [
        {},
        {"wait": "7", "since": "3"},
        {"wait": "7", "since": "4"},
    ]


def test_a_poll_is_never_longer_than_the_host_allows(host: FakeHost, client: Client) -> None:
    host.on("GET /status/12", task(status="running"), task())
    client("wait", "12", "--poll-interval", "3600")
    assert host.seen[1].query["wait"] == "60"


def test_several_tasks_are_asked_about_together(
    host: FakeHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hakuriver.client.wait.BREATH", 0)
    running = page(task("10", status="running"), task("9", status="running"), revision=7)
    host.on(
        "GET /tasks",
        running,
        running,
        page(task("10", status="failed"), task("9", status="running"), revision=8),
        page(task("9"), revision=9),
    )
    ended = client("wait", "10", "9", "10")
    assert ended.code == 3
    assert ended.err.splitlines() == [
        "Task 9 completed (node1, 1.2s)",
        "Task 10 failed: exit code 3 (node1, 1.2s)",
    ]
    assert [seen.query for seen in host.seen] == [
        {"ids": "9,10", "limit": "2"},
        {"ids": "9,10", "limit": "2"},
        {"ids": "9,10", "limit": "2", "wait": "30", "since": "7"},
        {"ids": "9", "limit": "1", "wait": "30", "since": "8"},
    ]


def test_thousands_of_tasks_are_asked_about_in_parts(
    host: FakeHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hakuriver.client.wait.AT_ONCE", 2)
    host.on(
        "GET /tasks",
        page(task("1"), task("2", status="running")),
        page(task("3", status="running"), task("4", status="running")),
        page(task("2"), task("3")),
        page(task("4")),
    )
    assert client("wait", "1", "2", "3", "4").code == 0
    # Task 4 was not in the request before: it may have ended meanwhile, so nothing is waited for.
    assert [seen.query["ids"] for seen in host.seen] == ["1,2", "3,4", "2,3", "4"]
    assert all("wait" not in seen.query for seen in host.seen)


def test_json_is_one_task_or_a_list(host: FakeHost, client: Client) -> None:
    host.on("GET /status/9", task("9"))
    host.on("GET /tasks", page(task("10"), task("9")))
    assert client("wait", "9", "--json").json == task("9")
    assert client("wait", "10", "9", "--json").json == [task("9"), task("10")]


def test_quiet_says_nothing(host: FakeHost, client: Client) -> None:
    host.on("GET /status/9", task("9", status="lost"), task("9", status="failed"))
    ended = client("wait", "9", "-q")
    assert (ended.code, ended.out, ended.err) == (3, "", "")


def test_a_lost_task_is_told_once_and_waited_for(host: FakeHost, client: Client) -> None:
    lost = task(status="lost")
    host.on("GET /status/12", task(status="running"), lost, lost, task(status="running"), task())
    ended = client("wait", "12")
    assert ended.code == 0
    assert ended.err.splitlines()[:-1] == ["Task 12: node node1 does not answer; still waiting."]


def test_a_host_that_goes_away_is_waited_for_and_told_once(host: FakeHost, client: Client) -> None:
    host.on(
        "GET /status/12",
        task(status="running"), BREAK, BREAK, error(503, "unavailable", "starting"), task(),
    )  # fmt: skip
    ended = client("wait", "12")
    assert ended.code == 0
    assert ended.err.splitlines()[:-1] == ["The host does not answer; still trying."]


def test_a_host_that_was_never_there_is_our_failure(host: FakeHost, client: Client) -> None:
    host.close()
    ended = client("wait", "12")
    assert ended.code == 125
    assert "connection refused" in ended.err


def test_a_task_that_does_not_exist_is_our_failure(host: FakeHost, client: Client) -> None:
    host.on("GET /status/99", error(404, "not_found", "there is no task 99"))
    host.on("GET /tasks", page(task("12")))
    assert client("wait", "99").code == 125
    ended = client("wait", "12", "99", "98")
    assert ended.code == 125
    assert ended.err == "hakuriver client: error: there is no task 98, 99\n"


class OnTerminal:
    """The client as a process whose stderr is a terminal."""

    def __init__(self, *argv: str, home: Path) -> None:
        self._master, slave = pty.openpty()
        environ = {**os.environ, "HAKURIVER_HOME": str(home), "TERM": "xterm"}
        self._process = subprocess.Popen(
            [sys.executable, "hakuriver.py", "client", *argv],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        code = self._process.wait(15)
        text = b""
        while True:
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                piece = b""
            if not piece:
                break
            text += piece
        os.close(self._master)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code, text.decode()


def test_an_interrupt_detaches_and_says_how_to_come_back(host: FakeHost, home: Path) -> None:
    host.on("GET /status/12", task(status="running"), HOLD)
    waiting = OnTerminal("--host", host.address, "wait", "12", home=home)
    wait_until(lambda: len(host.seen) > 1, message="the long poll has begun")
    waiting.interrupt()
    code, text = waiting.end()
    assert code == 130
    assert text.endswith(
        "Task 12 goes on. Come back with: client wait 12   Stop it with: client kill 12\r\n"
    )
    assert "Traceback" not in text


def test_a_terminal_sees_the_state_while_it_changes(host: FakeHost, home: Path) -> None:
    host.on(
        "GET /status/12",
        task(status="pending", error_message="no free cores"),
        task(status="running"),
        task(),
    )
    code, text = OnTerminal("--host", host.address, "wait", "12", home=home).end()
    assert code == 0
    assert "\rTask 12: pending, " in text
    assert ", no free cores\x1b[K" in text
    assert "\rTask 12: running, " in text
    assert text.endswith("\r\x1b[KTask 12 completed (node1, 1.2s)\r\n")
    assert host.seen[1].query["wait"] == "1"


def test_a_terminal_sees_how_many_are_done(host: FakeHost, home: Path) -> None:
    half = page(task("1"), task("2", status="failed"), task("3", status="running"))
    host.on("GET /tasks", half, half, page(task("3")))
    code, text = OnTerminal("--host", host.address, "wait", "1", "2", "3", home=home).end()
    assert code == 3
    assert "\r2/3 done, 1 failed, 1 running\x1b[K" in text
