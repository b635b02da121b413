"""list, status, kill, pause, resume, requeue, forget."""

from __future__ import annotations

import io
from contextlib import closing

import pytest

from hakuriver.client.host_api import HostApi
from hakuriver.client.output import Output
from hakuriver.client.tasks import ListOptions, run_list
from hakuriver.system.httpc import HttpClient
from tests.client.conftest import Client
from tests.client.fake_host import BREAK, Answer, FakeHost, error, page, task


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


LONG = task("7", status="running", arguments=["x" * 300], required_memory_bytes=512 << 20)


def test_a_list_is_a_table_with_the_whole_command(host: FakeHost, client: Client) -> None:
    host.on("GET /tasks", page(LONG, task("6", status="failed", required_cores=0.5)))
    ended = client("list")
    title, running, failed = ended.out.splitlines()
    assert " ".join(title.split()) == "ID STATUS NODE CORES MEM AGE DURATION EXIT COMMAND"
    assert running.split()[:5] == ["7", "running", "node1", "1", "512M"]
    assert running.endswith(f" -     echo {'x' * 300}")
    assert failed.split()[:5] == ["6", "failed", "node1", "0.5", "-"]
    assert failed.split()[-4:] == ["1.2s", "3", "echo", "hi"]
    assert ended.err == ""
    assert title.index("COMMAND") == running.index("echo") == failed.index("echo")


def test_filters_are_the_hosts(host: FakeHost, client: Client) -> None:
    host.on("GET /tasks", page())
    client(
        "list", "--status", "pending,running", "--node", "n1", "--batch", "3", "--user", "ann",
        "--text", "a b&c=文", "--limit", "5", "--after", "90",
    )  # fmt: skip
    assert host.seen[0].query == {
        "status": "pending,running", "node": "n1", "batch": "3", "user": "ann",
        "text": "a b&c=文", "limit": "5", "after": "90",
    }  # fmt: skip


def test_a_list_that_was_cut_says_how_to_go_on(host: FakeHost, client: Client) -> None:
    host.on("GET /tasks", page(task("7"), task("6"), next="6"))
    ended = client("list", "--limit", "2")
    assert len(ended.out.splitlines()) == 3
    assert ended.err == "There are more: add --after 6, or --all.\n"
    assert client("list", "--limit", "2", "-q").err == ""


def test_all_is_read_page_by_page(host: FakeHost, client: Client) -> None:
    host.on("GET /tasks", page(task("7"), next="7"), page(task("6"), next="6"), page(task("5")))
    ended = client("list", "--all", "--json")
    assert [row["task_id"] for row in ended.json] == ["7", "6", "5"]
    assert [(s.query["limit"], s.query.get("after")) for s in host.seen] == [
        ("1000", None), ("1000", "7"), ("1000", "6"),
    ]  # fmt: skip
    assert ended.err == ""


def test_a_limit_beyond_one_page_takes_several(host: FakeHost, client: Client) -> None:
    tasks = [task(str(n)) for n in range(1500, 0, -1)]
    host.on("GET /tasks", page(*tasks[:1000], next="501"), page(*tasks[1000:1200], next="301"))
    ended = client("list", "--limit", "1200", "-q")
    assert ended.out.split() == [str(n) for n in range(1500, 300, -1)]
    assert [seen.query["limit"] for seen in host.seen] == ["1000", "200"]


def test_the_columns_of_all_pages_have_the_same_head(host: FakeHost, client: Client) -> None:
    host.on("GET /tasks", page(task("7"), next="7"), page(task("6")))
    assert client("list", "--all").out.count("COMMAND") == 1


@pytest.mark.parametrize(("mode", "text"), [("--json", "[]\n"), ("-q", "")])
def test_an_empty_list_is_empty(host: FakeHost, client: Client, mode: str, text: str) -> None:
    host.on("GET /tasks", page())
    ended = client("list", mode)
    assert (ended.code, ended.out) == (0, text)


def listed(host: FakeHost, environ: dict[str, str]) -> str:
    """The list as a terminal of 80 columns gets it."""
    screen = Terminal()
    out = Output(screen, io.StringIO(), environ=environ)
    with closing(HttpClient(f"http://{host.address}")) as http:
        assert run_list(ListOptions({}, 50, None), HostApi(http, ""), out) == 0
    return screen.getvalue()


def test_a_terminal_gets_colours_and_lines_that_fit(host: FakeHost) -> None:
    host.on("GET /tasks", page({**LONG, "arguments": ["文" * 300]}))
    _, row = listed(host, {}).splitlines()
    assert "\x1b[36mrunning\x1b[0m" in row
    bare = row.replace("\x1b[36m", "").replace("\x1b[0m", "")
    assert bare.endswith("文…")
    assert 78 <= len(bare) + bare.count("文") <= 80


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_they_are_not_wanted(
    host: FakeHost, environ: dict[str, str]
) -> None:
    host.on("GET /tasks", page(LONG))
    assert "\x1b" not in listed(host, environ)


def test_nothing_of_a_task_steers_a_terminal(host: FakeHost, client: Client) -> None:
    evil = task(
        "7", command="a\x1b[2J", arguments=["b\rc\nd", "\udcff", "e\u202ef"], assigned_node="n\x07",
        error_message="m\x1b]0;title\x07", user="u\x08", env_vars={"A": "\x9b31m"},
    )  # fmt: skip
    host.on("GET /tasks", page(evil))
    host.on("GET /status/7", evil)
    host.on("POST /kill/7", Answer({"message": "killed \x1b[2J", "task": evil}, 202))
    host.on("GET /task/7/stdout", error(404, "not_found", "no \x1b[2J", "try \x1b[2J"))
    for argv in (["list"], ["status", "7"], ["kill", "7"], ["logs", "7"]):
        ended = client(*argv)
        steering = [c for c in ended.out + ended.err if not c.isprintable() and c != "\n"]
        assert not steering, argv
    assert len(client("list").out.splitlines()) == 2


def test_status_tells_everything_that_is_known(host: FakeHost, client: Client) -> None:
    known = task(
        status="failed", arguments=["a b", "it's"], target_node="node1", target_numa_node_id=0,
        required_memory_bytes=1 << 30, image="sha256:77", privileged=True, attempt=2,
        additional_mounts=["/a:/b:ro"], env_vars={"A": "1"}, peak_memory_bytes=3 << 20,
        cpu_seconds=0.5, wish="kill", batch_id="11",
    )  # fmt: skip
    host.on("GET /status/12", known)
    ended = client("status", "12")
    title, *lines = ended.out.splitlines()
    fields = {line[2:].split("  ")[0]: line[2:].split("  ", 1)[1].strip() for line in lines}
    assert title == "Task 12: failed"
    assert fields["command"] == """echo 'a b' 'it'"'"'s'"""
    assert fields["message"] == "exit code 3"
    assert {
        "asked for": "kill", "exit code": "3", "node": "node1", "target": "node1:0", "cores": "1",
        "memory": "1G", "container": "hakuriver-base", "image": "sha256:77", "privileged": "yes",
        "mount": "/a:/b:ro", "env": "A=1", "driver": "docker", "unit": "hakuriver-task-12",
        "batch": "11", "attempt": "2", "user": "ann", "duration": "1.2s", "peak memory": "3M",
        "CPU time": "0.5s", "stdout": "task_outputs/12.out", "stderr": "task_errors/12.err",
    }.items() <= fields.items()  # fmt: skip
    assert fields["submitted"].endswith(" ago)")


def test_status_of_a_waiting_task_says_why(host: FakeHost, client: Client) -> None:
    host.on("GET /status/12", task(status="pending", error_message="no node has 8 free cores"))
    lines = client("--status", "12").out.splitlines()
    assert any(
        line.split("  ")[1:3] == ["waits because", "no node has 8 free cores"] for line in lines
    )
    assert not any(line.startswith("  exit code") for line in lines)


def test_status_in_other_modes(host: FakeHost, client: Client) -> None:
    host.on("GET /status/12", task())
    host.on("GET /status/13", task("13", status="lost"))
    assert client("status", "12", "-q").out == "completed\n"
    assert client("status", "12", "13", "-q").out == "completed\nlost\n"
    assert client("status", "12", "--json").json == task()
    assert client("status", "12", "13", "--json").json == [task(), task("13", status="lost")]


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("kill", "POST /kill/12"),
        ("pause", "POST /command/12/pause"),
        ("resume", "POST /command/12/resume"),
        ("requeue", "POST /requeue/12"),
        ("forget", "POST /forget/12"),
    ],
)
def test_a_verb_is_one_request_and_its_answer(
    host: FakeHost, client: Client, verb: str, line: str
) -> None:
    answer = {"message": f"{verb} asked for", "task": task()}
    host.on(line, answer)
    assert client(verb, "12").out == f"{verb} asked for\n"
    assert client(verb, "12", "-q").out == ""
    assert client(verb, "12", "--json").json == answer
    assert host.lines() == [line] * 3


def test_all_are_tried_and_the_first_failure_counts(host: FakeHost, client: Client) -> None:
    host.on("POST /kill/1", Answer({"message": "killing 1"}, 202))
    host.on("POST /kill/2", error(409, "conflict", "task 2 is completed"))
    host.on("POST /kill/4", Answer({"message": "killing 4"}, 202))
    ended = client("kill", "1", "2", "3", "4")
    assert (ended.code, ended.out) == (5, "killing 1\nkilling 4\n")
    assert "task 2 is completed" in ended.err
    assert "POST /kill/3" in ended.err


def test_a_host_that_is_gone_is_not_asked_again(host: FakeHost, client: Client) -> None:
    host.on("POST /kill/1", BREAK)
    ended = client("kill", "1", "2", "--json")
    assert (ended.code, ended.json, host.lines()) == (3, [], ["POST /kill/1"])
    assert len(ended.err.splitlines()) == 1


def test_an_id_cannot_lead_to_another_route(host: FakeHost, client: Client) -> None:
    client("kill", "../nodes/n1/drain?x")
    assert host.lines() == ["POST /kill/..%2Fnodes%2Fn1%2Fdrain%3Fx"]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (error(401, "unauthorized", "no token"), 6, "no token"),
        (error(403, "forbidden", "not yours"), 6, "not yours"),
        (error(404, "not_found", "no such task"), 4, "no such task"),
        (error(500, "internal", "a fault"), 1, "a fault"),
        (Answer(b"<html>", 404), 1, "is not from HakuRiver"),
        (Answer(b"<html>", 502), 1, "is not from HakuRiver"),
        (Answer(b"<html>", 200), 1, "is not from HakuRiver"),
        (Answer([1], 200), 1, "is no JSON object"),
    ],
)
def test_an_error_has_its_words_and_its_exit_code(
    host: FakeHost, client: Client, answer: Answer, code: int, words: str
) -> None:
    host.on("GET /status/12", answer)
    ended = client("status", "12")
    assert ended.code == code
    assert words in ended.err


@pytest.mark.parametrize(
    "argv",
    [
        ("status", ""), ("kill", ""), ("kill", "--batch", ""), ("logs", ""), ("pause", ""),
        ("forget", ""), ("requeue", ""), ("retry", "--failed", ""), ("drain", ""), ("remove", ""),
        ("list", "--batch", ""), ("list", "-q", "--node", ""), ("list", "--status", ""),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_variable_is_told_and_nothing_is_asked(
    host: FakeHost, client: Client, argv: tuple[str, ...]
) -> None:
    ended = client(*argv)
    assert ended.code == 2
    assert "is empty" in ended.err
    assert "Is the variable set" in ended.err
    assert host.seen == []
