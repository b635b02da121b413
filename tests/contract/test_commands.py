"""What a user typed is what runs: argv, environment, output, exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.model.task import Status
from tests.contract.bench import Bench

BUILTINS = ("exit", "eval", "cd", "exec", "trap", "set", "return", ":", ".", "export", "command")


@pytest.mark.parametrize("name", BUILTINS)
def test_a_builtin_never_takes_the_commands_place(bench: Bench, name: str) -> None:
    """There is no program of that name, unless the system has one; then it is what runs."""
    run = bench.run(name, "echo", "taken by the shell")
    result = run.result()
    assert run.out == b""
    assert result.exit_code is not None
    assert result.exit_code != 0 or name in ("cd", "command"), result


def test_programs_that_are_also_builtins_are_the_programs(bench: Bench) -> None:
    echo = bench.run("echo", r"a\nb")
    test = bench.run("test", "a", "=", "b")
    printf = bench.run("printf", r"%s|", "a b", "", "c")
    kill = bench.run("kill", "-0", "1000000")
    assert (echo.result().exit_code, echo.out) == (0, b"a\\nb\n")
    assert test.result().exit_code == 1
    assert (printf.result().exit_code, printf.out) == (0, b"a b||c|")
    assert kill.result().exit_code not in (0, None)


def test_a_command_named_exit_is_a_program(bench: Bench) -> None:
    for name in ("exit", "eval"):
        program = bench.places.shared_data / name
        program.write_text('#!/bin/sh\necho "$0 $*"; exit 5\n')
        program.chmod(0o755)
    run = bench.run("eval", "a b", env=(("PATH", in_task(bench, "") + ":/bin:/usr/bin"),))
    assert (run.result().exit_code, run.out.split()[-2:]) == (5, [b"a", b"b"])


def in_task(bench: Bench, name: str) -> str:
    """A name below shared_data as the task sees it."""
    root = "/shared" if bench.kind.environment else str(bench.places.shared_data)
    return f"{root}/{name}".rstrip("/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/nope"),
        ("IFS", "/x"),
        ("ENV", "/nope/profile"),
        ("d", "mine"),
        ("rc", "mine"),
        ("HOME", "/nope"),
        ("PS4", "$(touch pwned)"),
        ("LD_PRELOAD", ""),
        ("EMPTY", ""),
        ("LINES", "a\nb\n"),
        ("DOCKER_HOST", "tcp://127.0.0.1:9"),
        ("TINI_KILL_PROCESS_GROUP", "user's"),
    ],
)
def test_a_variable_arrives_and_steers_nothing_of_ours(bench: Bench, name: str, value: str) -> None:
    printenv = "/bin/busybox" if bench.kind.environment else "/usr/bin/env"
    argv = [printenv, "env", "-0"] if bench.kind.environment else [printenv, "-0"]
    run = bench.run(*argv, env=((name, value),))
    result = run.result()
    assert (result.status, result.exit_code) == (Status.COMPLETED, 0), run.err
    given = dict(line.partition(b"=")[::2] for line in run.out.split(b"\0") if line)
    assert given[name.encode()] == value.encode("utf-8", "surrogateescape")
    carried = [word for word in given if word.startswith((b"HAKURIVER_ENV", b"hakuriver_"))]
    assert not carried
    assert not (bench.places.shared_data / "pwned").exists()


def test_a_task_knows_its_place(bench: Bench) -> None:
    run = bench.run("env", cores=1.5)
    run.result()
    given = dict(line.partition("=")[::2] for line in run.out.decode().splitlines())
    assert given["HAKURIVER_TASK_ID"] == str(run.key[0])
    assert given["HAKURIVER_SHARED_DIR"] == in_task(bench, "")
    assert given["HAKURIVER_CORES"] == "1.5"
    assert given["OMP_NUM_THREADS"] == "1"
    assert "HAKURIVER_TOKEN" not in given
    assert "TINI_KILL_PROCESS_GROUP" not in given
    where = bench.sh('pwd; [ -d "$HAKURIVER_LOCAL_TEMP_DIR" ] && echo there; umask')
    where.result()
    assert where.out.decode().split() == [in_task(bench, ""), "there", "0022"]


@pytest.mark.parametrize("cores", [0.0004, 0.004, 4096.0])
def test_any_number_of_cores_that_a_node_offers_can_be_had(bench: Bench, cores: float) -> None:
    """runner.cores may say more than the machine has; a limit may be less than can be counted."""
    run = bench.run("true", cores=cores)
    assert run.result().exit_code == 0, run.result()


def test_every_byte_of_an_argument_arrives(bench: Bench) -> None:
    arguments = ["", " ", "a b", "'", '"', "a\nb\n", "$(id)", "`id`", ";", "*", "\\", "-n", "--",
                 "é", "\x01\x1b[31m", "$HOME", "&& false", "%s"]  # fmt: skip
    run = bench.run("sh", "-c", 'printf "[%s]\\n" "$@"', "sh", *arguments)
    run.result()
    wanted = "".join(f"[{word}]\n" for word in arguments)
    assert run.out == wanted.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("kind", ["process"], indirect=True)
def test_bytes_that_are_no_text_arrive(bench: Bench) -> None:
    """For containers they are refused at submit: the engine's API is JSON."""
    run = bench.run("sh", "-c", 'printf "%s|%s" "$1" "$V"', "sh", "\udcff", env=(("V", "\udcfe"),))
    assert (run.result().exit_code, run.out) == (0, b"\xff|\xfe")


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137), ("kill -11 $$", 139)],
)
def test_exit_codes_arrive(bench: Bench, script: str, code: int) -> None:
    result = bench.sh(script).result()
    status = Status.FAILED if code else Status.COMPLETED
    assert (result.status, result.exit_code, result.problem) == (status, code, "")


def test_a_command_that_does_not_exist_is_127_with_a_message(bench: Bench) -> None:
    run = bench.run("no-such-program", "a")
    assert run.result().exit_code == 127
    assert b"no-such-program" in run.err


def test_a_command_that_is_not_executable_is_126_with_a_message(bench: Bench) -> None:
    (bench.places.shared_data / "data").write_text("just text")
    run = bench.run("./data")
    assert run.result().exit_code == 126
    assert b"data" in run.err


def test_stdin_is_empty(bench: Bench) -> None:
    run = bench.run("cat")
    assert (run.result().exit_code, run.out) == (0, b"")


def test_output_that_is_not_text_arrives(bench: Bench) -> None:
    run = bench.sh(r"printf '\377\000\200\r\n'; printf '\376' >&2; exec >&- 2>&-; exit 4")
    assert run.result().exit_code == 4
    assert (run.out, run.err) == (b"\xff\x00\x80\r\n", b"\xfe")


def test_a_broken_pipe_ends_the_writer(bench: Bench) -> None:
    run = bench.sh("(while echo y; do :; done) | head -1; echo over")
    assert (run.result().exit_code, run.out) == (0, b"y\nover\n")


def test_output_is_appended_to_what_is_there(bench: Bench) -> None:
    run = bench.prepared("echo", "new")
    Path(run.assignment.stdout).write_bytes(b"old\n")
    bench.driver.start(run.assignment)
    run.result()
    assert run.out == b"old\nnew\n"


def test_times_are_those_of_the_command(bench: Bench) -> None:
    run = bench.sh("sleep 0.3")
    ending = run.end()
    started = run.assignment.started()
    assert started is not None
    assert 0.25 < ending.ended_at - started.at < 5
