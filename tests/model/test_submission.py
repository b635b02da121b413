"""What is refused at submit, and that the refusal names it."""

from __future__ import annotations

from typing import Any

import pytest

from hakuriver.model.errors import Refused
from hakuriver.model.submission import (
    ARGUMENT_MAX,
    TOTAL_MAX,
    Mount,
    check_for_container,
    parse_mount,
    read_submission,
)

HUGE = "x" * ARGUMENT_MAX


def test_only_a_command_is_needed() -> None:
    submission = read_submission({"command": "true"})
    assert submission.argv == ("true",)
    assert (submission.env, submission.targets, submission.mounts) == ((), (), None)
    assert (submission.cores, submission.memory) == (1, None)
    assert (submission.container, submission.privileged, submission.user) == (None, None, "")


def test_everything_that_can_be_said_is_taken_as_it_is() -> None:
    submission = read_submission(
        {
            "command": "exit",
            "arguments": ["", " ", "a\nb", "$(x)", "'\"", "-x", "\udcff", "é"],
            "env_vars": {"A": "", "_b1": "\udc80=\n"},
            "required_cores": 0.5,
            "required_memory_bytes": 1 << 40,
            "targets": ["n1", "n1:1"],
            "container_name": "NULL",
            "privileged": False,
            "additional_mounts": ["/data:/data:ro"],
            "user": "u" * 500,
        }
    )
    assert submission.argv == ("exit", "", " ", "a\nb", "$(x)", "'\"", "-x", "\udcff", "é")
    assert submission.env == (("A", ""), ("_b1", "\udc80=\n"))
    assert (submission.cores, submission.memory) == (0.5, 1 << 40)
    assert submission.targets == ("n1", "n1:1")
    assert (submission.container, submission.privileged) == ("NULL", False)
    assert submission.mounts == ("/data:/data:ro",)
    assert submission.user == "u" * 256


def test_no_memory_and_none_at_all_are_the_same() -> None:
    assert read_submission({"command": "true", "required_memory_bytes": 0}).memory is None


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "lacks the field 'command'"),
    ({"command": None}, "lacks the field 'command'"),
    ({"command": ""}, "the command is empty"),
    ({"command": "-x"}, "begins with '-': '-x'"),
    ({"command": 7}, "command must be a text, not a number"),
    ({"command": True}, "command must be a text, not true or false"),
    ({"command": "a\0b"}, "command contains a NUL byte"),
    ({"command": "\ud800"}, "command contains a lone surrogate"),
    ({"command": HUGE}, "the command has 131072 bytes"),
    ({"command": "true", "arguments": "x"}, "arguments must be a list of texts"),
    ({"command": "true", "arguments": [1]}, "arguments must hold texts only, not a number"),
    ({"command": "true", "arguments": ["a\0"]}, "arguments contains a NUL byte"),
    ({"command": "true", "arguments": ["a", HUGE]}, "argument 2 has 131072 bytes"),
    ({"command": "true", "arguments": ["é" * (ARGUMENT_MAX // 2)]}, "argument 1 has 131072 bytes"),
    ({"command": "true", "arguments": ["x" * 100_000] * 20}, f"at most {TOTAL_MAX} can be passed"),
    ({"command": "true", "arguments": [""] * 300_000}, f"at most {TOTAL_MAX} can be passed"),
    ({"command": "true", "env_vars": ["A"]}, "env_vars must be an object"),
    ({"command": "true", "env_vars": {"": "x"}}, "'': the name is no identifier"),
    ({"command": "true", "env_vars": {"1A": "x"}}, "'1A': the name is no identifier"),
    ({"command": "true", "env_vars": {"A-B": "x"}}, "'A-B': the name is no identifier"),
    ({"command": "true", "env_vars": {"A\n": "x"}}, "the name is no identifier"),
    ({"command": "true", "env_vars": {"É": "x"}}, "the name is no identifier"),
    ({"command": "true", "env_vars": {"\ud800": "x"}}, "the name is no identifier"),
    ({"command": "true", "env_vars": {"HAKURIVER_X": "x"}}, "HAKURIVER_X: names with HAKURIVER_"),
    ({"command": "true", "env_vars": {"A": 1}}, "environment variable A: the value must be a text"),
    ({"command": "true", "env_vars": {"A": None}}, "variable A: the value must be a text"),
    ({"command": "true", "env_vars": {"A": "\0"}}, "variable A: the value contains a NUL byte"),
    ({"command": "true", "env_vars": {"A": "\ud800"}}, "variable A: the value holds a lone surrogate"),
    ({"command": "true", "env_vars": {"A": HUGE}}, "environment variable A has 131074 bytes"),
    ({"command": "true", "required_cores": -1}, "required_cores must be a number from 0 on"),
    ({"command": "true", "required_cores": "1"}, "required_cores must be a number, not a text"),
    ({"command": "true", "required_cores": True}, "required_cores must be a number"),
    ({"command": "true", "required_cores": float("inf")}, "required_cores must be a number from 0"),
    ({"command": "true", "required_cores": float("nan")}, "required_cores must be a number from 0"),
    ({"command": "true", "required_memory_bytes": -1}, "required_memory_bytes must be between"),
    ({"command": "true", "required_memory_bytes": 1.5}, "required_memory_bytes must be a whole"),
    ({"command": "true", "required_memory_bytes": 2**63}, "required_memory_bytes must be between"),
    ({"command": "true", "targets": "n1"}, "targets must be a list of texts"),
    ({"command": "true", "container_name": "Base"}, "'Base' is no environment name"),
    ({"command": "true", "container_name": ""}, "'' is no environment name"),
    ({"command": "true", "container_name": "a/b:c"}, "'a/b:c' is no environment name"),
    ({"command": "true", "privileged": 1}, "privileged must be true, false or null"),
    ({"command": "true", "additional_mounts": ["x"]}, "mount 'x' is not SRC:DST"),
    ({"command": "true", "user": 1}, "user must be a text"),
    ({"command": "true", "gpus": 1}, "unknown field 'gpus'"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "named"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_passed_on_is_refused_by_name(document: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused) as refused:
        read_submission(document)
    assert named in refused.value.detail
    assert len(refused.value.detail) < 400


@pytest.mark.parametrize("document", [None, [], "true", 1, True])
def test_a_body_that_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(Refused, match="the body must be an object"):
        read_submission(document)


def test_the_longest_argument_that_the_kernel_takes_is_taken() -> None:
    argument = "x" * (ARGUMENT_MAX - 1)
    assert read_submission({"command": "true", "arguments": [argument]}).argv[1] == argument


def test_two_thousand_arguments_are_taken() -> None:
    arguments = [f"argument number {number}" for number in range(2000)]
    assert read_submission({"command": "true", "arguments": arguments}).argv[1:] == tuple(arguments)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", Mount("/a", "/b", False)),
        ("/a:/b:ro", Mount("/a", "/b", True)),
        ("/a:/b:rw", Mount("/a", "/b", False)),
        ("/a:/b:", Mount("/a", "/b", False)),
        ("/a,b c:/d=e", Mount("/a,b c", "/d=e", False)),
        ("/:/host", Mount("/", "/host", False)),
    ],
)
def test_a_mount_is_two_absolute_paths(text: str, mount: Mount) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize(
    "text",
    ["", "/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:ro:x", ":/b", "/a:", "/a/../etc:/b", "/a:/b/..",
     "/a:/", "/a://", "/a:/shared", "/a:/shared/", "/a:/local_temp", "/a:/hakuriver/record",
     "/a://shared", "/a:/./shared", "/a://hakuriver/stdout", "/a:/."],
)  # fmt: skip
def test_a_mount_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_mount(text)


@pytest.mark.parametrize(
    ("argv", "env", "named"),
    [
        (("\udcff",), (), "the command"),
        (("cat", "ok", "a\udc80"), (), "argument 2"),
        (("cat",), (("A", "é"), ("B", "\udce9")), "environment variable B"),
    ],
)
def test_bytes_that_are_no_text_cannot_enter_a_container(
    argv: tuple[str, ...], env: tuple[tuple[str, str], ...], named: str
) -> None:
    with pytest.raises(Refused, match=f"{named} is not UTF-8"):
        check_for_container(argv, env)
    check_for_container(("écho", "ok"), (("A", "é"),))


SWEEP = {"words": [["echo"], ["--lr=", 0], [1]], "axes": [["1", "2"], ["a", "b"]], "names": ["HAKURUN_LR", ""], "zipped": False}  # fmt: skip


def test_a_sweep_is_a_command_for_each_combination() -> None:
    submission = read_submission({"sweep": SWEEP, "env_vars": {"A": "b", "HAKURUN_LR": "mine"}})
    commands = list(submission.commands())
    assert [argv for argv, _ in commands] == [
        ("echo", "--lr=1", "a"), ("echo", "--lr=1", "b"), ("echo", "--lr=2", "a"), ("echo", "--lr=2", "b"),
    ]  # fmt: skip
    assert submission.argv == commands[0][0]
    assert dict(commands[2][1]) == {
        "A": "b", "HAKURUN_LR": "mine", "HAKURUN_INDEX": "3", "HAKURUN_TOTAL": "4",
    }, "what the user sets stands"  # fmt: skip
    zipped = read_submission({"sweep": {**SWEEP, "zipped": True}})
    assert [argv for argv, _ in zipped.commands()] == [("echo", "--lr=1", "a"), ("echo", "--lr=2", "b")]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"words": []}, "has words"),
        ({"words": [[2]]}, "numbers of axes"),
        ({"words": [[-1]]}, "numbers of axes"),
        ({"words": [[True]]}, "numbers of axes"),
        ({"words": ["echo"]}, "is a list"),
        ({"axes": [["1"], []]}, "a value or more"),
        ({"axes": [["1"], [2]]}, "list of texts"),
        ({"axes": [["1"], ["\0"]]}, "NUL"),
        ({"names": [""]}, "a name for each"),
        ({"names": ["PATH", ""]}, "'PATH' cannot be the variable"),
        ({"names": ["HAKURUN_INDEX", ""]}, "cannot be the variable"),
        ({"names": ["HAKURUN_A B", ""]}, "cannot be the variable"),
        ({"axes": [["1", "2", "3"], ["a", "b"]], "zipped": True}, "same number"),
        ({"axes": [["x"] * 1000, ["y"] * 101]}, "101000 tasks at once"),
        ({"words": [["-x"], [0], [1]]}, "begins with '-'"),
        ({"words": [[0]], "axes": [["ok", ""], ["a"]]}, "the command is empty"),
        ({"words": [["echo"], [0, 0]], "axes": [["x" * 70_000], ["a"]]}, "at most"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named):
        read_submission({"sweep": {**SWEEP, **change}})


def test_a_sweep_and_a_command_do_not_go_together() -> None:
    with pytest.raises(Refused, match="not in 'command'"):
        read_submission({"sweep": SWEEP, "command": "true"})
