"""What hakurun runs, with what output and which exit code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hakuriver.hakurun.arguments import default_jobs, parse
from hakuriver.model.errors import UsageError
from tests.hakurun.conftest import Shell

DEMO = 'import os, sys\nprint(f"Args: {sys.argv[1:]}, PID: {os.getpid()}")\n'
SHOW = 'echo "$HAKURUN_INDEX/$HAKURUN_TOTAL $HAKURUN_LR"'


def test_the_demo_as_it_is_typed(shell: Shell) -> None:
    shell.write("demo_hakurun.py", DEMO)
    line = "hakurun --parallel python ./demo_hakurun.py span:{1..2} fixed_arg span:[foo,bar]"
    ended = shell.bash(line)
    assert ended.code == 0
    assert sorted(text.partition(", PID")[0] for text in ended.out.splitlines()) == [
        f"Args: ['{n}', 'fixed_arg', '{word}']" for n in (1, 2) for word in ("bar", "foo")
    ]
    assert len(set(ended.out.split("PID: "))) == 5
    assert "span:1 span:2 (2 words) is read as 'span:{1..2}'" in ended.err
    assert "4 runs succeeded" in ended.err


def test_letters_as_they_are_typed(shell: Shell) -> None:
    ended = shell.bash("hakurun --parallel -j 4 echo span:{A..Z}")
    assert "".join(sorted(ended.out.split())) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_runs_are_in_order_one_after_the_other_and_told_apart(shell: Shell) -> None:
    ended = shell("sh", "-c", 'echo "out $1"; echo "err $1" >&2', "x", "span:[b,a]")
    assert (ended.code, ended.out) == (0, "out b\nout a\n")
    assert [line.split(" ", 1)[0] for line in ended.err.splitlines()] == [
        "[1/2]", "err", "[2/2]", "err", "hakurun:",
    ]  # fmt: skip


def test_a_run_knows_its_number_and_its_named_values(shell: Shell) -> None:
    ended = shell("sh", "-c", SHOW, "--lr=span:[1e-3,1e-4]")
    assert ended.out == "1/2 1e-3\n2/2 1e-4\n"
    assert shell("sh", "-c", SHOW).out == "1/1 \n"


def test_an_argument_reaches_the_program_byte_for_byte(shell: Shell) -> None:
    words = ["a b", "$HOME", "x;y", "", "--", "-", "\n", "*", "\udcff"]
    ended = shell("printf", "<%s>", *words)
    assert ended.out == "".join(f"<{word}>" for word in words).replace("\udcff", "\\xff")
    assert shell("printf", "<%s>", *words, "span:[e]").out == ended.out + "<e>"


@pytest.mark.parametrize("parallel", [[], ["--parallel"]])
def test_the_exit_code_is_that_of_the_first_run_that_failed(
    shell: Shell, parallel: list[str]
) -> None:
    ended = shell(*parallel, "sh", "-c", "exit $1", "x", "span:[0,4,7]")
    assert ended.code == 4
    assert "2 of 3 runs failed" in ended.err
    assert ended.err.splitlines()[-2:] == [
        "  [2/3] exit code 4: sh -c 'exit $1' x 4",
        "  [3/3] exit code 7: sh -c 'exit $1' x 7",
    ]


@pytest.mark.parametrize("span", [[], ["span:[1]"], ["span:{1..2}"]])
def test_a_run_that_a_signal_ended_gives_128_more(shell: Shell, span: list[str]) -> None:
    code = shell("sh", "-c", "kill -9 $$", "x", *span).code
    assert code in (137, -9)  # alone, it has taken our place


def test_a_program_beats_a_module_of_its_name_and_m_takes_the_module(shell: Shell) -> None:
    shell.write("true.py", "import sys; print('module', sys.argv[1:])")
    assert shell("true", "x").out == ""
    assert shell("-m", "true", "x").out == "module ['x']\n"
    assert shell("-m", "true", "span:{1..2}").out == "module ['1']\nmodule ['2']\n"
    assert shell("test", "1", "=", "2").code == 1


def test_a_module_and_a_function_are_called_with_texts_always(shell: Shell) -> None:
    shell.write("mine.py", "import sys\ndef show(*a): print(a, sys.argv[1:])\nprint(__name__)\n")
    assert shell("mine").out == "__main__\n"
    assert shell("mine:show", "1", "span:[2]").out == "mine\n('1', '2') ['1', '2']\n"
    assert shell("mine:show", "span:{1..2}").out == "mine\n('1',) ['1']\nmine\n('2',) ['2']\n"
    assert shell("mine:missing").code == 1


def test_a_path_is_a_program(shell: Shell) -> None:
    shell.write("script.sh", "#!/bin/sh\necho script $1\n", mode=0o755)
    shell.write("bare.sh", "echo bare $1\n", mode=0o755)
    assert shell("./script.sh", "1").out == "script 1\n"
    assert shell("./bare.sh", "1").out == "bare 1\n"
    assert shell("./span:[script,bare].sh", "1").out == "script 1\nbare 1\n"


@pytest.mark.parametrize(
    ("argv", "code", "what"),
    [
        (["nowhere"], 127, "there is no program and no module 'nowhere'"),
        (["./nowhere"], 127, "there is no file ./nowhere"),
        (["text.py"], 127, "python text.py"),
        (["./text.py"], 126, "chmod +x ./text.py"),
        (["/"], 126, "/ is a folder"),
        (["-m", "nowhere"], 127, "there is no module 'nowhere'"),
        (["span:[nowhere,./text.py]"], 127, "2 of 2 runs failed"),
        ([], 2, "there is nothing to run"),
        (["--bogus", "true"], 2, "unrecognized arguments: --bogus"),
        (["-j", "0", "true"], 2, "'0' is no number of runs"),
        (["--timeout", "soon", "true"], 2, "'soon' is no duration"),
        (["--output", "perfix", "true"], 2, "For a new folder, write ./perfix"),
        (["--output", "/proc/nowhere/x", "true"], 2, "cannot write output to /proc/nowhere/x"),
        (["--resume", "true"], 2, "--resume needs --joblog"),
        (["true", "span:@nowhere"], 2, "cannot read nowhere: No such file"),
        (["true", "span:{1..x}"], 2, "argument 1, 'span:{1..x}', character 10"),
        (["true", "--", "span:["], 2, "there is no ']'"),
    ],
)
def test_a_mistake_is_told_with_its_exit_code(
    shell: Shell, argv: list[str], code: int, what: str
) -> None:
    shell.write("text.py", "")
    ended = shell(*argv)
    assert ended.code == code, ended.err
    assert what in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_dry_run_prints_lines_that_bash_reads_as_the_same_words(shell: Shell) -> None:
    words = ["a b", "it's", "$x", "\n", "\x1b[31m", "\udcff\udcfe", "ü"]
    ended = shell("--dry-run", "printf", "<%s>", *words, "span:[1,2]")
    first, second = ended.out.splitlines()
    assert shell.bash(first).out == shell("printf", "<%s>", *words, "1").out
    assert second.endswith(" 2")


def test_dry_run_does_without_a_stdout_that_knows_every_letter(shell: Shell) -> None:
    ended = shell("--dry-run", "echo", "span:[\u00e9,\u6cb3]", PYTHONIOENCODING="ascii")
    assert (ended.code, ended.out, ended.err) == (0, "echo '\u00e9'\necho '\u6cb3'\n", "")


def test_dry_run_of_more_than_anybody_can_run_begins_at_once(shell: Shell) -> None:
    spans = " ".join(["'span:{1..1000000000}'"] * 4)
    ended = shell.bash(f"hakurun --dry-run echo {spans} | head -n 2; echo ${{PIPESTATUS[0]}}")
    assert ended.out == "echo 1 1 1 1\necho 1 1 1 2\n141\n"


def test_group_keeps_each_output_whole(shell: Shell) -> None:
    script = 'for i in 1 2 3 4 5; do echo "$1 $i"; done'
    ended = shell("-j", "4", "sh", "-c", script, "x", "span:{1..8}")
    blocks = [ended.out.splitlines()[n : n + 5] for n in range(0, 40, 5)]
    assert sorted(blocks) == [[f"{run} {i}" for i in range(1, 6)] for run in range(1, 9)]


def test_prefix_marks_every_line(shell: Shell) -> None:
    script = 'printf "one\\ntwo"; echo bad >&2'
    ended = shell("-j", "2", "--output", "prefix", "sh", "-c", script, "x", "span:{1..10}")
    assert sorted(ended.out.splitlines()) == sorted(
        f"[{n:2}] {word}" for n in range(1, 11) for word in ("one", "two")
    )
    assert "[10] bad" in ended.err.splitlines()


def test_a_folder_gets_a_file_for_each(shell: Shell) -> None:
    ended = shell("-j2", "--output", "./logs/new", "sh", "-c", "echo $1; echo bad >&2", "x",
                  "span:{1..10}")  # fmt: skip
    assert (ended.code, ended.out) == (0, "")
    folder = shell.folder / "logs" / "new"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{n:02}.{ending}" for n in range(1, 11) for ending in ("out", "err")
    )
    assert (folder / "07.out").read_text() == "7\n"
    assert (folder / "07.err").read_text() == "bad\n"


@pytest.mark.parametrize("mode", ["group", "prefix", "raw"])
def test_a_hundred_megabytes_come_through(shell: Shell, mode: str) -> None:
    size = 100_000_000
    line = f"hakurun -j2 --output {mode} sh -c 'head -c $1 /dev/zero' x 'span:[{size}]' | wc -c"
    extra = len("[1] \n") * (size // (1 << 16) + 2) if mode == "prefix" else 0
    assert size <= int(shell.bash(line).out) <= size + extra


def test_a_run_that_opens_its_output_again_loses_nothing(shell: Shell) -> None:
    script = "echo one; echo two >/dev/stderr; echo three >/dev/stdout; echo four >&2"
    ended = shell("-j2", "sh", "-c", script, "x", "span:{1..2}")
    assert ended.out == "one\nthree\n" * 2
    assert ended.err.count("two\nfour\n") == 2


def test_what_a_run_leaves_in_the_background_holds_nobody_up(shell: Shell) -> None:
    ended = shell("-j2", "sh", "-c", "sleep 1000 & echo done", "x", "span:{1..2}")
    assert (ended.code, ended.out) == (0, "done\ndone\n")


def test_a_reader_that_goes_away_ends_it(shell: Shell) -> None:
    line = "hakurun -j2 sh -c 'seq 100000; sleep $1' x span:{0..0} 'span:[0,1000]' | head -n 1"
    assert shell.bash(f"{line}; echo ${{PIPESTATUS[0]}}").out == "1\n141\n"
    assert shell.left() == []


@pytest.mark.parametrize("mode", ["group", "prefix"])
def test_a_closed_or_full_stdout_is_an_error(shell: Shell, mode: str) -> None:
    for where, what in (("&-", "Bad file descriptor"), ("/dev/full", "No space left on device")):
        ended = shell.bash(f"hakurun -j2 --output {mode} seq 'span:{{1..2}}' >{where}")
        assert ended.code == 1
        assert f"cannot write standard output: {what}" in ended.err
        assert "Traceback" not in ended.err


def test_a_closed_stderr_ends_nothing(shell: Shell) -> None:
    assert shell.bash("hakurun -j2 seq 'span:{2..3}' 2>&- | sort").out == "1\n1\n2\n2\n3\n"


def test_no_room_for_large_output_is_an_error(shell: Shell) -> None:
    ended = shell("-j2", "head", "-c", "1000000", "span:[/dev/zero]", TMPDIR="/proc/x")
    if ended.code:  # where there is no other folder for temporary files either
        assert "Set TMPDIR" in ended.err


def test_runs_do_not_share_our_input(shell: Shell) -> None:
    line = "echo typed | hakurun {} cat 'span:[-{}]'"
    assert shell.bash(line.format("", "")).out == "typed\n"  # one run has our place
    assert shell.bash(line.format("-j1", ",-")).out == ""


def test_a_program_that_writes_into_a_closed_pipe_dies_of_it(shell: Shell) -> None:
    for span in ("", "'span:{1..2}'"):
        line = f"hakurun -j1 sh -c 'yes | head -n 1; yes | head -n 1' x {span}"
        assert "Broken pipe" not in shell.bash(line).err


def test_quiet_says_nothing_of_what_went_well(shell: Shell) -> None:
    ended = shell("-q", "echo", "span:{1..2}")
    assert (ended.out, ended.err) == ("1\n2\n", "")


def test_a_link_named_otherwise_is_the_program_itself(shell: Shell, pyz: Path) -> None:
    (shell.folder / ".bin" / "other").symlink_to(pyz)
    assert shell.run(["other", "hakurun", "echo", "x"]).out == "x\n"


def test_a_task_of_a_cluster_has_as_many_as_were_reserved() -> None:
    assert default_jobs({"HAKURIVER_CORES": "3"}) == 3
    assert default_jobs({"HAKURIVER_CORES": "0"}) == len(os.sched_getaffinity(0))
    assert default_jobs({"HAKURIVER_CORES": "0.5"}) == len(os.sched_getaffinity(0))
    assert default_jobs({}) == len(os.sched_getaffinity(0))


def test_options_end_at_the_first_word_that_is_none() -> None:
    options = parse(["-j", "3", "--timeout", "1.5m", "app", "--parallel", "--"], {})
    assert (options.jobs, options.timeout, options.words) == (3, 90.0, ("app", "--parallel", "--"))
    assert parse(["--", "--weird"], {}).words == ("--weird",)
    with pytest.raises(UsageError):
        parse(["--paralel", "app"], {})


def test_progress_is_drawn_on_a_terminal_only(shell: Shell) -> None:
    main, side = os.openpty()
    process = subprocess.Popen(
        [str(shell.folder / ".bin" / "hakurun"), "-j2", "sleep", "span:[0.2,0.3]"],
        env={**shell.environ, "TERM": "xterm"}, stderr=side, stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(side)
    shown = b""
    try:
        while data := os.read(main, 4096):
            shown += data
    except OSError:  # the other side is closed
        pass
    os.close(main)
    assert process.wait(30) == 0
    assert b"hakurun: 0/2 done, 2 running" in shown
    assert b"2 runs succeeded" in shown
    assert "\r" not in shell("-j2", "sleep", "span:[0.1,0]").err
