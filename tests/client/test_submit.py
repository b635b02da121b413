"""Submissions: what is sent, again and again if need be, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hakuriver.client.host_api import HOST_HINT, HostApi
from tests.client.conftest import Client
from tests.client.fake_host import BREAK, Answer, FakeHost, error, task

ROOT = Path(__file__).resolve().parent.parent.parent
ONE = Answer({"message": "ok", "task_ids": ["12"], "batch_id": "12"}, 202)
TWO = Answer({"message": "ok", "task_ids": ["12", "13"], "batch_id": "12"}, 202)
PARTLY = Answer(
    {
        "message": "ok",
        "task_ids": ["12"],
        "batch_id": "12",
        "failed_targets": [{"target": "node9", "reason": "no such node\x1b[2J"}],
    },
    202,
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hakuriver.client.submit.PAUSES", (0, 0))


def test_a_submission_is_answered_with_its_number(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", ONE)
    ended = client("--cores", "2", "--", "echo", "a b")
    assert (ended.code, ended.out, ended.err) == (0, "Task 12 submitted.\n", "")
    body = host.seen[0].body
    assert (body["command"], body["arguments"], body["required_cores"]) == ("echo", ["a b"], 2)


def test_several_tasks_are_a_batch(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", TWO)
    ended = client("--target", "a", "--target", "b", "true")
    assert ended.out == "Tasks 12, 13 submitted as batch 12.\n"


def test_quiet_is_the_numbers_alone(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", TWO)
    assert client("-q", "true").out == "12\n13\n"


def test_json_is_the_answer_of_the_host(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", PARTLY)
    assert client("--json", "true").json == PARTLY.body


def test_a_target_that_failed_is_told_beside_those_that_did_not(
    host: FakeHost, client: Client
) -> None:
    host.on("POST /submit", PARTLY)
    ended = client("--target", "a", "--target", "node9", "-q", "--", "true")
    assert (ended.code, ended.out) == (0, "12\n")
    assert ended.err == "Not submitted to node9: no such node\\x1b[2J\n"


def test_a_refusal_is_shown_with_its_hint(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", error(422, "refused", "the command is empty", "Give one."))
    ended = client("--", "")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == "hakuriver client: error: the command is empty\n  hint: Give one.\n"


@pytest.mark.parametrize(
    ("failures", "kind"),
    [([BREAK], "a broken connection"), ([BREAK, BREAK], "two of them")],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_submission_is_sent_again_with_the_same_key(
    host: FakeHost, client: Client, failures: list[Answer], kind: str
) -> None:
    host.on("POST /submit", *failures, ONE)
    assert client("true").out == "Task 12 submitted.\n", kind
    keys = {seen.headers["idempotency-key"] for seen in host.seen}
    assert len(host.seen) == len(failures) + 1
    assert len(keys) == 1
    assert len(keys.pop()) == 32


def test_a_host_that_is_stopping_is_asked_again(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", error(503, "unavailable", "stopping"), ONE)
    assert client("true").code == 0


def test_after_three_tries_it_says_that_the_task_may_exist(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", BREAK)
    ended = client("true")
    assert ended.code == 3
    assert len(host.seen) == 3
    assert "cannot reach the host at http://127.0.0.1" in ended.err
    assert "It may have been accepted all the same" in ended.err


def test_two_submissions_have_two_keys(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", ONE)
    client("true")
    client("true")
    assert len({seen.headers["idempotency-key"] for seen in host.seen}) == 2


def test_a_refused_connection_fails_at_once(host: FakeHost, client: Client) -> None:
    host.close()
    ended = client("true")
    assert ended.code == 3
    assert ended.err.splitlines() == [
        f"hakuriver client: error: cannot reach the host at http://{host.address}: connection refused",
        f"  hint: {HOST_HINT}",
    ]


def test_bytes_that_are_no_text_are_sent_as_they_are(host: FakeHost) -> None:
    host.on("POST /submit", ONE)
    raw = bytes(range(1, 256))
    argv = [sys.executable, "hakuriver.py", "client", "--host", host.address, "--env"]
    done = subprocess.run([*argv, b"A=" + raw, "--", "tool", raw], cwd=ROOT, timeout=30)
    assert done.returncode == 0
    body = host.seen[0].body
    assert os.fsencode(body["arguments"][0]) == raw
    assert os.fsencode(body["env_vars"]["A"]) == raw


def test_the_token_of_the_configuration_is_shown_to_the_host(
    host: FakeHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.on("POST /submit", ONE)
    monkeypatch.setenv("HAKURIVER_TOKEN", "s3cret")
    client("true")
    assert host.seen[0].headers["authorization"] == "Bearer s3cret"


def test_waiting_gives_the_exit_code_of_the_task(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", ONE)
    host.on("GET /status/12", task(status="failed"))
    ended = client("--wait", "--", "false")
    assert (ended.code, ended.out) == (3, "Task 12 submitted.\n")
    assert ended.err == "Task 12 failed: exit code 3 (node1, 1.2s)\n"


def test_waiting_with_json_prints_the_task_at_its_end_alone(host: FakeHost, client: Client) -> None:
    host.on("POST /submit", ONE)
    host.on("GET /status/12", task(status="running"), task())
    ended = client("--wait", "--json", "true")
    assert (ended.code, ended.json) == (0, task())


def test_waiting_for_a_submission_that_failed_is_our_failure(
    host: FakeHost, client: Client
) -> None:
    host.on("POST /submit", error(422, "refused", "no such node"))
    ended = client("--wait", "--json", "true")
    assert (ended.code, ended.out) == (125, "")
    assert '"error": "refused"' in ended.err


def test_a_host_that_restarts_after_the_submission_is_waited_for(
    host: FakeHost, client: Client
) -> None:
    host.on("POST /submit", ONE)
    host.on("GET /status/12", BREAK, BREAK, task())
    ended = client("--wait", "true")
    assert ended.code == 0
    assert ended.err.splitlines()[0] == "The host does not answer; still trying."


def test_an_interrupt_before_the_answer_says_that_it_may_have_been_accepted(
    host: FakeHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(api: HostApi, body: object, key: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HostApi, "submit", interrupted)
    ended = client("--wait", "true")
    assert ended.code == 130
    assert ended.err == "Interrupted. It may have been accepted all the same: client list\n"
