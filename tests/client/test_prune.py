"""`client prune`: how much it is comes before the question, and the question before the deed."""

from __future__ import annotations

import io
from typing import Any

import pytest

from hakuriver.client.output import Output
from hakuriver.client.prune import PruneOptions, run
from hakuriver.model.errors import Refused
from hakuriver.model.units import parse_duration
from tests.client.conftest import Client
from tests.client.fake_host import Answer, FakeHost

EMPTY = {"tasks": 0, "bytes": 0, "next": None}


def blocks(host: FakeHost, *bodies: dict[str, Any]) -> None:
    host.on("POST /prune", *(Answer(body) for body in bodies))


def bodies(host: FakeHost) -> list[dict[str, Any]]:
    return [seen.body for seen in host.seen]


def test_all_blocks_are_gone_through(host: FakeHost, client: Client) -> None:
    blocks(host, {"tasks": 500, "bytes": 1 << 20, "next": "5.0,7"},
           {"tasks": 2, "bytes": 1 << 20, "next": None})  # fmt: skip
    done = client("prune", "--older-than", "2w", "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out == "Deleted: 502 tasks that ended more than 2w ago, 2M of output.\n"
    assert bodies(host) == [
        {"older_than": 14 * 86400, "logs_only": False, "dry_run": False, "after": after}
        for after in ("", "5.0,7")
    ]


def test_a_dry_run_deletes_nothing_and_does_not_ask(host: FakeHost, client: Client) -> None:
    blocks(host, {"tasks": 1, "bytes": 5, "next": None})
    done = client("prune", "--dry-run", "--logs-only", "--yes")
    assert done.out == "Would be deleted: the output of 1 task that ended more than 30d ago, 5B.\n"
    assert [(body["dry_run"], body["logs_only"]) for body in bodies(host)] == [(True, True)]


def test_without_a_terminal_it_has_to_be_said(host: FakeHost, client: Client) -> None:
    blocks(host, {"tasks": 3, "bytes": 5, "next": None})
    done = client("prune")
    assert (done.code, done.out) == (2, "")
    assert "--yes" in done.err
    assert [body["dry_run"] for body in bodies(host)] == [True]
    assert client("prune", "--json").code == 2


def test_nothing_to_delete_is_no_question(host: FakeHost, client: Client) -> None:
    blocks(host, EMPTY)
    done = client("prune")
    assert (done.code, done.out) == (0, "Nothing to delete: no task ended more than 30d ago.\n")
    assert "no output" in client("prune", "--logs-only", "--yes").out


def test_programs_get_numbers(host: FakeHost, client: Client) -> None:
    blocks(host, {"tasks": 3, "bytes": 5, "next": None})
    assert client("prune", "--json", "--yes").json == {"tasks": 3, "bytes": 5, "deleted": True}


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("y\n", [True, False]),
        ("yes\n", [True, False]),
        ("n\n", [True]),
        ("\n", [True]),
        ("", [True]),
    ],
)
def test_at_a_terminal_only_yes_is_yes(
    typed: str, asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []

    class Api:
        def prune(self, older_than: float, *, dry_run: bool, **_: Any) -> dict[str, Any]:
            calls.append(dry_run)
            return {"tasks": 2, "bytes": 2048, "next": None}

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(typed))
    screen = Terminal()
    options = PruneOptions(86400.0, "1d", logs_only=False, dry_run=False, yes=False)
    assert run(options, Api(), Output(Terminal(), screen, environ={})) == 0  # type: ignore[arg-type]
    assert calls == asked
    question = "2 tasks that ended more than 1d ago, 2K of output. Delete them? [y/N] "
    assert question in screen.getvalue()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 30 * 86400), ("12h", 43200), ("90m", 5400), ("45s", 45), ("2w", 1209600), ("1.5D", 129600),
     ("0s", 0)],
)  # fmt: skip
def test_ages_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "1d2h", "inf", "1e9d", "٣d"])
def test_what_is_no_age_is_refused_with_an_example(
    host: FakeHost, client: Client, text: str
) -> None:
    with pytest.raises(Refused):
        parse_duration(text)
    done = client("prune", f"--older-than={text}")
    assert done.code == 2
    assert "30d" in done.err
    assert host.seen == []
