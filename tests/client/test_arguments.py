"""What a command line means, before anything is sent."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from hakuriver.client.main import VERBS, load, parse
from hakuriver.client.submit import SubmitOptions
from hakuriver.model.errors import UsageError
from hakuriver.system.addresses import host_address


def meaning(*argv: str) -> tuple[str, Any]:
    """The sub-command, and its options."""
    given = argparse.Namespace()
    choice = parse(list(argv), given)
    return choice.verb, load(choice.verb).options(given) if choice.verb else None


def submitted(*argv: str) -> dict[str, Any]:
    verb, options = meaning(*argv)
    assert verb == "submit"
    assert isinstance(options, SubmitOptions)
    return dict(options.body)


COMMANDS: list[tuple[list[str], list[str]]] = [
    (["echo", "hi"], ["echo", "hi"]),
    (["--", "echo", "hi"], ["echo", "hi"]),
    (["submit", "echo", "hi"], ["echo", "hi"]),
    (["submit", "--", "echo", "hi"], ["echo", "hi"]),
    (["--target", "node1", "--", "echo", "hi"], ["echo", "hi"]),
    (["--target", "node1", "echo", "hi"], ["echo", "hi"]),
    (["--target=node1", "echo", "hi"], ["echo", "hi"]),
    (["--cores", "2", "--wait", "tool", "--cores", "3"], ["tool", "--cores", "3"]),
    (["tool", "--json", "-q", "--help"], ["tool", "--json", "-q", "--help"]),
    (["tool", "--", "--"], ["tool", "--", "--"]),
    (["--", "--", "tool"], ["--", "tool"]),
    (["--", "list"], ["list"]),
    (["--", "kill", "5"], ["kill", "5"]),
    (["--cores", "1", "list"], ["list"]),
    (["submit", "list"], ["list"]),
    (["--json", "submit", "submit"], ["submit"]),
    (["--json", "-q", "--host", "h", "echo"], ["echo"]),
    (["--quiet", "--", "status", "3"], ["status", "3"]),
    (["tool", ""], ["tool", ""]),
    (["--", ""], [""]),
    (["-"], ["-"]),
    (["--", "-x"], ["-x"]),
    (["sh", "-c", "echo $(id); exit 3"], ["sh", "-c", "echo $(id); exit 3"]),
    (["printf", "a\nb", "\udcff", "文"], ["printf", "a\nb", "\udcff", "文"]),
    (["--env", "A=1", "env", "B=2"], ["env", "B=2"]),
    (["tool", "@file", "\\"], ["tool", "@file", "\\"]),
    (["--poll-interval", "5", "memory", "512M"], ["memory", "512M"]),
    (["memory", "512M", "--"], ["memory", "512M", "--"]),
    (["./memory", "512M", "--", "tool"], ["./memory", "512M", "--", "tool"]),
    (["wait-for", "db"], ["wait-for", "db"]),
    (["hakurun", "--parallel", "p.py", "span:{1..3}"], ["hakurun", "--parallel", "p.py", "span:{1..3}"]),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "command"), COMMANDS, ids=lambda words: " ".join(words)[:40])
def test_the_command_begins_at_the_first_word_that_is_not_ours(
    argv: list[str], command: list[str]
) -> None:
    body = submitted(*argv)
    assert [body["command"], *body["arguments"]] == command


FIELDS: list[tuple[list[str], str, Any]] = [
    ([], "required_cores", 1),
    (["--cores", "0"], "required_cores", 0),
    (["--cores", "0.25"], "required_cores", 0.25),
    (["--cores", "4"], "required_cores", 4),
    ([], "required_memory_bytes", None),
    (["--memory", "512M"], "required_memory_bytes", 512 << 20),
    (["--memory", "4GiB"], "required_memory_bytes", 4 << 30),
    (["--memory", "1000"], "required_memory_bytes", 1000),
    ([], "targets", None),
    (["--target", "a", "--target", "b:1"], "targets", ["a", "b:1"]),
    ([], "container_name", None),
    (["--container", "NULL"], "container_name", "NULL"),
    ([], "privileged", None),
    (["--privileged"], "privileged", True),
    ([], "additional_mounts", None),
    (["--mount", "/a:/b", "--mount", "/c:/d:ro"], "additional_mounts", ["/a:/b", "/c:/d:ro"]),
    ([], "env_vars", {}),
    (["--env", "A= b=c ", "--env", "B="], "env_vars", {"A": " b=c ", "B": ""}),
    (["--env", "A=1", "--env", "A=2"], "env_vars", {"A": "2"}),
    (["--user", "ann"], "user", "ann"),
    (["--user", ""], "user", ""),
]


@pytest.mark.parametrize(("flags", "field", "value"), FIELDS, ids=lambda v: str(v)[:30])
def test_a_flag_becomes_a_field(flags: list[str], field: str, value: Any) -> None:
    body = submitted(*flags, "--", "tool")
    assert body[field] == value
    assert type(body[field]) is type(value)


def test_a_whole_number_of_cores_is_sent_as_one() -> None:
    assert submitted("--cores", "2.0", "x")["required_cores"] == 2


def test_who_submits_is_the_user_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "mei")
    assert submitted("x")["user"] == "mei"


def test_a_user_without_a_name_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert submitted("x")["user"] == ""


WRONG: list[tuple[list[str], str]] = [
    (["--cores", "-1", "x"], "'-1' is below 0"),
    (["--cores", "nan", "x"], "'nan' is no number"),
    (["--cores", "inf", "x"], "'inf' is no number"),
    (["--cores", "two", "x"], "'two' is no number"),
    (["--cores", "--", "x"], "--cores: expected one argument"),
    (["--memory", "much", "x"], "--memory: 'much' is no memory size"),
    (["--env", "A", "x"], "--env A: there is no '=' in it"),
    (["--poll-interval", "0", "x"], "'0' is not above 0"),
    (["--target"], "--target: expected one argument"),
    (["--memroy", "5M", "--", "x"], "unrecognized arguments: --memroy"),
    (["--mem", "5M", "--", "x"], "unrecognized arguments: --mem"),
    (["--privileged=yes", "x"], "ignored explicit argument"),
    (["-x", "tool"], "unrecognized arguments: -x"),
    (["--"], "there is no command to submit"),
    (["--cores", "2"], "there is no command to submit"),
    (["submit", "--wait"], "there is no command to submit"),
    (["--status", "3", "--kill", "4"], "not allowed with argument"),
    (["--list-nodes", "--health"], "not allowed with argument"),
    (["--status", "3", "tool"], "--status takes no command: tool"),
    (["--kill", "3", "--", "tool"], "--kill takes no command: tool"),
    (["--list-nodes", "tool"], "--list-nodes takes no command"),
    (["--health", "node1", "tool"], "--health takes no command"),
    (["submit", "--status", "3"], "unrecognized arguments: --status"),
    (["status"], "required: ID"),
    (["kill"], "name tasks, or a batch"),
    (["kill", "3", "--batch", "1"], "name tasks, or a batch"),
    (["retry"], "required: --failed"),
    (["--zip", "--", "true"], "--zip is for a sweep"),
    (["--sweep", "--", "true"], "there is no span"),
    (["logs", "3", "4"], "unrecognized arguments: 4"),
    (["logs", "3", "--tail", "-1"], "'-1' is no whole number"),
    (["list", "--limit", "many"], "'many' is no whole number"),
    (["list", "--bogus"], "unrecognized arguments: --bogus"),
    (["drain"], "required: NODE"),
    (["--cores", "2", "--", "memory", "512M", "--", "my_tool", "x"],
     "'memory 512M -- my_tool …' would run a command named 'memory'"),
    (["--", "memory", "512M", "--", "my_tool"],
     "'memory 512M -- my_tool' would run a command named 'memory'"),
    (["target", "node1", "--", "tool"], "'target node1 -- tool' would run"),
    (["--cores", "2", "wait", "--", "tool", "x"], "'wait -- tool …' would run"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "detail"), WRONG, ids=lambda v: str(v)[:50])
def test_a_wrong_command_line_is_refused_with_its_reason(argv: list[str], detail: str) -> None:
    with pytest.raises(UsageError) as caught:
        meaning(*argv)
    assert detail in caught.value.detail
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--memroy", "5M", "x"], "Did you mean: --memory"),
        (["--cores", "2", "--", "memory", "512M", "--", "my_tool", "x"],
         ("Did you mean: --memory 512M -- my_tool …? "
          "To run a program of that name, give its path, as in ./memory")),
        (["list", "--lmit=3"], "Did you mean: --limit"),
        (["--cores", "x", "y"], "See: hakuriver client --help"),
        (["--env", "A", "x"], "Write --env A=VALUE."),
    ],
)  # fmt: skip
def test_a_wrong_command_line_gets_a_hint(argv: list[str], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        meaning(*argv)
    assert caught.value.hint == hint


ALIASES: list[tuple[list[str], list[str]]] = [
    (["--status", "12"], ["status", "12"]),
    (["--status=12"], ["status", "12"]),
    (["--kill", "12"], ["kill", "12"]),
    (["--list-nodes"], ["nodes"]),
    (["--health"], ["health"]),
    (["--health", "node1"], ["health", "node1"]),
    (["--health", "--json"], ["--json", "health"]),
    (["--json", "--status", "12"], ["status", "--json", "12"]),
]


@pytest.mark.parametrize(("old", "new"), ALIASES, ids=" ".join)
def test_an_old_spelling_means_its_sub_command(old: list[str], new: list[str]) -> None:
    assert meaning(*old) == meaning(*new)


@pytest.mark.parametrize("argv", [[], ["--json"], ["-q"], ["submit"], ["--host", "h"]])
def test_no_command_at_all_asks_for_help(argv: list[str]) -> None:
    assert meaning(*argv) == ("", None)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "submit"])
def test_global_options_stand_before_or_after_a_sub_command(verb: str) -> None:
    own = {
        "nodes": [],
        "health": [],
        "list": [],
        "prune": [],
        "logs": ["1"],
        "retry": ["--failed", "1"],
        "join": [],
        "login": [],
        "logout": [],
    }.get(verb, ["1"])
    flags = ["--config", "c.toml", "--host", "h:1", "--token-file", "t", "--json", "-q"]
    before, after = argparse.Namespace(), argparse.Namespace()
    parse([*flags, verb, *own], before)
    parse([verb, *own, *flags], after)
    assert vars(before) == vars(after)
    assert (before.config, before.host, before.json, before.quiet) == ("c.toml", "h:1", True, True)


def test_a_flag_behind_a_mistake_is_still_seen() -> None:
    given = argparse.Namespace()
    with pytest.raises(UsageError):
        parse(["list", "--bogus", "--json"], given)
    assert given.json


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("node1", "node1", None),
        ("node1:9000", "node1", 9000),
        ("10.0.0.1:80", "10.0.0.1", 80),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[fe80::2]:9000", "fe80::2", 9000),
        ("http://node1:9000/", "node1", 9000),
    ],
)
def test_a_host_is_an_address_and_maybe_a_port(text: str, address: str, port: int | None) -> None:
    settings = host_address(text)
    assert settings.pop("network.host_reachable_address") == address
    assert settings == ({} if port is None else {"network.host_port": port})


@pytest.mark.parametrize(
    "text",
    ["", ":", ":80", "node1:", "node1:x", "node1:70000", "[::1", "[::1]x", "[::1]:", "a/b:1"],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        host_address(text)
