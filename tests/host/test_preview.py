"""What a typed line comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hakuriver.host.preview_routes import preview, read_line
from hakuriver.model.errors import HakuRiverError, Refused
from hakuriver.system.router import Request


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("echo hi", ["echo", "hi"]), ("  echo   hi\n", ["echo", "hi"]), ("echo 'a b' \"c d\" e\\ f", ["echo", "a b", "c d", "e f"]),
        ("echo $HOME * | ;", ["echo", "$HOME", "*", "|", ";"]), ("echo ''", ["echo", ""]), ("echo 'it'\\''s'", ["echo", "it's"]),
        ("python a.py \\\n  --lr 1\n", ["python", "a.py", "--lr", "1"]), ('echo "\\$x \\a \\\\ b\\\nc"', ["echo", "$x \\a \\ bc"]),
        ("echo a'b'\"c\"''", ["echo", "abc"]), ("echo a\\\nb", ["echo", "ab"]), ("echo \\'", ["echo", "'"]),
        ("echo # no comment", ["echo", "#", "no", "comment"]), ("echo ünï", ["echo", "ünï"]),
    ],
)  # fmt: skip
def test_words_are_what_a_shell_would_make_of_them_without_expanding(
    line: str, argv: list[str]
) -> None:
    told = read_line(line, 1, {})
    assert (told["argv"], told["tasks"], told["sweep"]) == (argv, 1, None)


def test_spans_are_counted_with_the_places() -> None:
    told = read_line("echo span:{1..3} span:{a,b}", 2, {})
    assert told["tasks"] == 12
    assert told["examples"][:2] == [["echo", "1", "a"], ["echo", "1", "b"]]
    assert len(told["examples"]) == 5
    assert told["sweep"]["axes"] == [["1", "2", "3"], ["a", "b"]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "empty"), ("   ", "empty"), ("echo 'a", "quote"), ('echo "a', "quote"), ("echo a\\", "backslash"), ("-x", "begins with '-'"),
        ("''", "empty"), ("echo span:{1..", "span"), ("echo span:{1..1000000}", "1000000 tasks"), ("echo span:@/etc/passwd", "/etc/passwd"),
    ],
)  # fmt: skip
def test_what_is_not_right_is_said_in_words(line: str, said: str) -> None:
    with pytest.raises(HakuRiverError) as wrong:
        read_line(line, 1, {})
    assert said in wrong.value.detail


def ask(**body: Any) -> Any:
    request = Request("POST", "/submit/preview", {}, {}, {}, json.dumps(body).encode(), "")
    answer = preview(request, None).body
    assert isinstance(answer, bytes)
    return json.loads(answer)


def test_the_rest_of_a_submission_may_be_there_and_is_checked() -> None:
    told = ask(line="echo span:{a,b}", targets=["n1", "n2:0"], user="ada", required_cores=2)
    assert (told["tasks"], told["problem"]) == (4, None)
    assert "HAKURIVER_" in ask(line="echo", env_vars={"HAKURIVER_X": "1"})["problem"]["detail"]
    assert "unknown field" in ask(line="echo", colour="red")["problem"]["detail"]


def test_a_quote_that_is_not_closed_is_shown_where_it_is() -> None:
    problem = ask(line="echo it's")["problem"]
    assert problem["detail"] == "the quote ' at character 8 is not closed"
    assert problem["hint"]


def test_a_body_without_a_line_is_refused() -> None:
    with pytest.raises(Refused, match="line"):
        ask(targets=[])


def test_targets_count_in_what_is_too_much() -> None:
    told = ask(line="echo span:{1..60000}", targets=["n1", "n2"])
    assert told["problem"]["detail"].startswith("120000 tasks at once")
