"""What a typed line comes to."""

from __future__ import annotations

import pytest

from hakuriver.host.task_list_routes import read_line
from hakuriver.model.errors import HakuRiverError


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("echo hi", ["echo", "hi"]), ("  echo   hi\n", ["echo", "hi"]), ("echo 'a b' \"c d\" e\\ f", ["echo", "a b", "c d", "e f"]),
        ("echo $HOME * | ;", ["echo", "$HOME", "*", "|", ";"]), ("echo ''", ["echo", ""]), ("echo 'it'\\''s'", ["echo", "it's"]),
        ("echo # no comment", ["echo", "#", "no", "comment"]), ("echo ünï", ["echo", "ünï"]),
    ],
)  # fmt: skip
def test_words_are_what_a_shell_would_make_of_them_without_expanding(
    line: str, argv: list[str]
) -> None:
    told = read_line(line, 1)
    assert (told["argv"], told["tasks"], told["sweep"]) == (argv, 1, None)


def test_spans_are_counted_with_the_places() -> None:
    told = read_line("echo span:{1..3} span:{a,b}", 2)
    assert told["tasks"] == 12
    assert told["examples"][:2] == [["echo", "1", "a"], ["echo", "1", "b"]]
    assert len(told["examples"]) == 5
    assert told["sweep"]["axes"] == [["1", "2", "3"], ["a", "b"]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "empty"), ("   ", "empty"), ("echo 'a", "quote"), ('echo "a', "quote"), ("echo a\\", "backslash"), ("-x", "begins with '-'"),
        ("''", "empty"), ("echo span:{1..", "span"), ("echo span:{1..1000000}", "1000000 tasks"), ("echo span:{@/etc/passwd}", "/etc/passwd"),
    ],
)  # fmt: skip
def test_what_is_not_right_is_said_in_words(line: str, said: str) -> None:
    with pytest.raises(HakuRiverError) as wrong:
        read_line(line, 1)
    assert said in wrong.value.detail
