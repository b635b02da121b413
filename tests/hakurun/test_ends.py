"""How a sweep ends before its end: signals, timeouts, failures; and how it goes on afterwards."""

from __future__ import annotations

import os
import signal

import pytest

from hakuriver.hakurun.joblog import HEADER
from tests.hakurun.conftest import Shell
from tests.support.wait import wait_until

STUBBORN = "trap 'echo asked >>asked' INT TERM; echo up >>up; while :; do sleep 0.05; done"
POLITE = "trap 'echo asked >>asked; exit 0' INT TERM; echo up >>up; while :; do sleep 0.05; done"
HIDDEN = "setsid sh -c 'echo $$ >>up; exec sleep 1000' & timeout 1000 sleep 1000"


def started(shell: Shell, count: int) -> None:
    wait_until(lambda: len(shell.lines("up")) == count, message=f"{count} runs are up")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("script", [POLITE, HIDDEN])
def test_a_signal_ends_all_runs_and_leaves_nothing(
    shell: Shell, number: signal.Signals, script: str
) -> None:
    process = shell.start("-j2", "sh", "-c", script, "x", "span:{1..5}")
    started(shell, 2)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert shell.left() == []
    assert len(shell.lines("up")) == 2
    assert "3 not started" in shell.said()


def test_a_second_interrupt_kills(shell: Shell) -> None:
    process = shell.start("-j2", "sh", "-c", STUBBORN, "x", "span:{1..3}")
    started(shell, 2)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: len(shell.lines("asked")) >= 2)
    assert "Ctrl-C again kills them" in shell.said()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert shell.left() == []


def test_a_hakurun_within_a_hakurun_ends_with_it(shell: Shell) -> None:
    process = shell.start("-j2", "hakurun", "-j2", "sh", "-c", POLITE, "x", "span:[a,b]",
                          "span:{1..2}")  # fmt: skip
    started(shell, 2)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert shell.left() == []


def test_the_interrupt_of_a_terminal_reaches_each_run_once(shell: Shell) -> None:
    process = shell.start("-j1", "sh", "-c", POLITE, "x", "span:{1..3}")
    started(shell, 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert shell.lines("asked") == ["asked"]


def test_ctrl_c_stays_ignored_where_it_was_ignored(shell: Shell) -> None:
    line = "trap '' INT; hakurun sh -c 'kill -INT $PPID; echo $1' x 'span:{1..2}'"
    assert shell.bash(line).out == "1\n2\n"


def test_a_timeout_ends_a_run_with_all_of_it(shell: Shell) -> None:
    ended = shell("-j3", "--timeout", "3s", "sh", "-c", '[ $1 = 2 ] || { sleep 1000 & sleep 1000; }',
                  "x", "span:{1..3}")  # fmt: skip
    assert ended.code == 124
    assert "2 of 3 runs failed" in ended.err
    assert "[1/3] timed out after 3 s" in ended.err
    assert shell.left() == []


def test_fail_fast_stops_what_runs_and_starts_nothing_more(shell: Shell) -> None:
    script = (
        "if [ $1 = 2 ]; then until [ -e up ]; do sleep 0.05; done; exit 9; fi; echo >up; sleep 1000"
    )
    ended = shell("-j2", "--fail-fast", "sh", "-c", script, "x", "span:{1..4}")
    assert ended.code == 9
    assert "2 of 4 runs failed" in ended.err
    assert "2 not started" in ended.err
    assert "[1/4] stopped" in ended.err
    assert shell.left() == []


def test_fail_fast_in_sequence_begins_no_other(shell: Shell) -> None:
    ended = shell("--fail-fast", "sh", "-c", "echo $1; exit $1", "x", "span:{0..5}")
    assert (ended.code, ended.out) == (1, "0\n1\n")


def rows(shell: Shell) -> list[list[str]]:
    return [line.split("\t") for line in shell.lines("log.tsv")[1:]]


def test_the_joblog_has_a_line_for_every_run(shell: Shell) -> None:
    ended = shell("-j2", "--joblog", "log.tsv", "sh", "-c", "exit $1", "a\tb\n", "span:{0..2}")
    assert ended.code == 1
    assert (shell.folder / "log.tsv").read_text().startswith(HEADER)
    assert sorted((row[0], *row[6:]) for row in rows(shell)) == [
        (str(n + 1), str(n), "0", rf"sh -c 'exit $1' $'a\011b\012' {n}") for n in range(3)
    ]
    shell("--joblog", "killed.tsv", "sh", "-c", "kill -9 $$", "x", "span:{1..2}")
    assert shell.lines("killed.tsv")[1].split("\t")[6:8] == ["137", "9"]


def test_resume_runs_only_what_has_not_succeeded(shell: Shell) -> None:
    script = 'echo "$1" >>ran; [ "$1" != 2 ] || [ -e mended ]'
    argv = ("--joblog", "log.tsv", "sh", "-c", script, "x")
    assert shell(*argv, "span:{1..3}").code == 1
    again = shell("-j2", "--resume", *argv, "span:{1..3}")
    assert again.code == 1
    assert shell.lines("ran") == ["1", "2", "3", "2"]
    shell.write("mended", "")
    last = shell("--resume", *argv, "span:{0..4}")  # the sweep has grown meanwhile
    assert (last.code, shell.lines("ran")[4:]) == (0, ["0", "2", "4"])
    assert "2 had succeeded before" in last.err


def test_the_same_command_twice_has_to_succeed_twice(shell: Shell) -> None:
    argv = ("--joblog", "log.tsv", "--resume", "sh", "-c", "echo >>ran", "x")
    shell(*argv, "span:[a]")
    shell(*argv, "span:[a,a]")
    assert len(shell.lines("ran")) == 2


def test_killed_in_the_middle_it_goes_on_where_it_was(shell: Shell) -> None:
    script = 'echo "$1" >>up; [ "$1" -lt 4 ] || [ -e mended ] || sleep 1000'
    argv = ("-j2", "--joblog", "log.tsv", "sh", "-c", script, "x", "span:{1..6}")
    process = shell.start(*argv)
    started(shell, 5)
    process.kill()  # nothing can be done about its runs then: they are sessions of their own
    process.wait(30)
    with open(shell.folder / "log.tsv", "a") as log:
        log.write("4\t:\t1.0\t0.1\t0\t0\t0")  # as if it had been killed while it wrote
    for pid in shell.left():
        os.kill(pid, signal.SIGKILL)
    shell.write("mended", "")
    assert shell("--resume", *argv).code == 0
    assert sorted(shell.lines("up")[5:]) == ["4", "5", "6"]
    assert {row[8].split()[-1] for row in rows(shell) if len(row) == 9} == set("123456")


def test_what_was_stopped_has_not_succeeded_whatever_it_says(shell: Shell) -> None:
    process = shell.start("--joblog", "log.tsv", "sh", "-c", POLITE, "x", "span:{1..2}")
    started(shell, 1)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert [row[6] for row in rows(shell)] == ["1"]


def test_a_joblog_that_is_there_is_not_overwritten(shell: Shell) -> None:
    shell("--joblog", "log.tsv", "true")
    ended = shell("--joblog", "log.tsv", "true")
    assert ended.code == 2
    assert "--resume" in ended.err
    shell.write("notes.txt", "mine\n")
    assert "is no joblog" in shell("--joblog", "notes.txt", "--resume", "true").err
    assert shell.lines("notes.txt") == ["mine"]


@pytest.mark.parametrize("path", ["/proc/nowhere", "missing/log.tsv", ".", "/dev/full"])
def test_a_joblog_that_cannot_be_written_is_an_error_before_anything_runs(
    shell: Shell, path: str
) -> None:
    ended = shell("--joblog", path, "touch", "ran")
    assert ended.code == 2
    assert f"cannot write the joblog {path}" in ended.err
    assert not (shell.folder / "ran").exists()


def test_a_joblog_whose_disk_is_full_later_is_told_and_counts(shell: Shell) -> None:
    # The limit of the shell on file sizes stands for the full disk: the header is within it.
    script = "trap '' XFSZ; ulimit -f 1; hakurun --joblog log.tsv sh -c : x-$(printf %0800d 1) 'span:{1..4}'"
    ended = shell.bash(script)
    assert ended.code == 1
    assert "cannot write the joblog" in ended.err
    assert "is not complete" in ended.err
    assert "4 runs succeeded" in ended.err


def test_a_run_that_cannot_be_started_is_a_failed_run(shell: Shell) -> None:
    shell.write("bad", "#!/no/such/interpreter\n", mode=0o755)
    ended = shell("-j2", "./bad", "span:{1..2}")
    assert ended.code == 127
    assert "cannot be started: No such file or directory" in ended.err


def test_an_argument_that_is_too_long_is_a_failed_run(shell: Shell) -> None:
    shell.write("big", "x" * 140_000 + "\nshort\n")
    ended = shell("-j2", "sh", "-c", ":", "span:@big")
    assert ended.code == 126
    assert "cannot be started: Argument list too long" in ended.err
    assert "1 of 2 runs failed" in ended.err
