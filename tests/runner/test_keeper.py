"""The keeper, in every shell here: the command runs exactly as submitted, once, and its end is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hakuriver.runner.record import (
    ExitRecord,
    claim,
    had_no_room,
    keeper_argv,
    load_keeper,
    read_exit,
    read_started,
)
from tests.support.needs import base_python, needs, root, shell
from tests.support.wait import wait_until

PYTHON = (base_python(), "-I", "-S", "-c")
# What the kernel says about the process: Python's own view is decoded, and its environment changed.
PROBE = """
import json, os, signal, sys
def words(name):
    with open(f"/proc/self/{name}", "rb") as file:
        return file.read().decode("latin-1").split("\\0")[:-1]
print(json.dumps({
    "argv": words("cmdline"), "environ": words("environ"), "cwd": os.getcwd(), "umask": os.umask(0),
    "stdin": os.readlink("/proc/self/fd/0"),
    "open": [fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")],
    "ignored": [n.name for n in signal.Signals if signal.getsignal(n) == signal.SIG_IGN],
    "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
}))
"""
BY_THE_SHELL = {"PWD", "SHLVL", "_"}


@dataclass(frozen=True, slots=True)
class Shell:
    """A program and the words that make it a shell: bash called `sh` keeps to POSIX."""

    program: str
    words: tuple[str, ...]

    @property
    def is_bash(self) -> bool:
        return Path(self.program).name == "bash"


SHELLS = {
    "dash": ("dash",),
    "busybox": ("busybox", "sh"),
    "bash": ("bash",),
    "bash as sh": ("sh",),
}


@pytest.fixture(params=SHELLS)
def sh(request: pytest.FixtureRequest) -> Shell:
    capability = shell(request.param.split()[0])
    needs(capability)
    return Shell(os.path.realpath(capability.detail), SHELLS[request.param])


@dataclass(frozen=True, slots=True)
class Attempt:
    """The places of one attempt, and how to start a keeper on them."""

    sh: Shell
    folder: Path
    workdir: Path

    @property
    def out(self) -> Path:
        return self.folder / "task.out"

    @property
    def err(self) -> Path:
        return self.folder / "task.err"

    @property
    def record(self) -> Path:
        return self.folder / "record"

    def end(self) -> ExitRecord | None:
        found = read_exit(self.record)
        return found[0] if found else None

    @contextmanager
    def start(
        self,
        *argv: str | bytes,
        env: Mapping[str, str | bytes] | None = None,
        path: str = "/usr/bin:/bin",
        user: int | None = None,
        counters: bool = False,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A keeper in a session of its own; env is the user's, path the keeper's own."""
        env = env or {}
        words = keeper_argv(
            record=str(self.record),
            out=str(self.out),
            err=str(self.err),
            workdir=str(self.workdir),
            counters=counters,
            env_names=list(env),
            argv=[os.fsdecode(word) for word in argv],
        )
        carriers = {f"HAKURIVER_ENV_{index}": value for index, value in enumerate(env.values())}
        keeper = subprocess.Popen(
            [*self.sh.words, "-c", *words],
            executable=self.sh.program,
            env={"PATH": path, "TINI_KILL_PROCESS_GROUP": "1", **carriers},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
        )
        try:
            yield keeper
        finally:
            with keeper:
                stop(keeper)

    def run(
        self,
        *argv: str | bytes,
        env: Mapping[str, str | bytes] | None = None,
        user: int | None = None,
    ) -> int:
        """The keeper's exit code."""
        with self.start(*argv, env=env, user=user) as keeper:
            return keeper.wait(30)


@pytest.fixture
def attempt(sh: Shell, tmp_path: Path) -> Attempt:
    folder = tmp_path / "a folder; $(id) 'quoted'"
    made = Attempt(sh, folder, folder / "work")
    for path in (folder, made.workdir, made.record):
        path.mkdir()
    return made


def stop(keeper: subprocess.Popen[bytes]) -> None:
    """Kill what a failed test leaves running; the group is ours until the keeper is waited for."""
    if keeper.returncode is None:
        os.killpg(keeper.pid, signal.SIGKILL)


def ended(code: int) -> ExitRecord:
    return ExitRecord(code, "", None, None, None)


def unable(reason: str) -> ExitRecord:
    return ExitRecord(None, reason, None, None, None)  # type: ignore[arg-type]


def seen(attempt: Attempt) -> dict[str, object]:
    report: dict[str, object] = json.loads(attempt.out.read_text())
    return report


def environ(attempt: Attempt) -> dict[str, str]:
    """The command's environment, bytes as Latin-1."""
    words = seen(attempt)["environ"]
    assert isinstance(words, list)
    return dict(word.split("=", 1) for word in words)


ARGUMENTS: dict[str, Sequence[str | bytes]] = {
    "none": [],
    "empty": ["", "", "a", ""],
    "blanks": [" ", "a b", "\t", "a\nb\n", "\n"],
    "shell": [
        "$(id)",
        "`id`",
        ";",
        "&&",
        "|",
        "> x",
        "*",
        "~",
        "$HOME",
        "${x}",
        "\\",
        "\\n",
        "a=b",
    ],
    "quotes": ["'", '"', "it's", '"$@"'],
    "options": ["-", "--", "-c", "--help"],
    "bytes": [bytes(range(1, 256)), b"\xff\xfe", "河流".encode(), b"\x81\x88\x01\x7f"],
    "many": [str(number) for number in range(2000)],
    "long": ["x" * 131_000],
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_arguments_arrive_unchanged(attempt: Attempt, arguments: Sequence[str | bytes]) -> None:
    assert attempt.run(*PYTHON, PROBE, *arguments) == 0
    expected = [*PYTHON, PROBE, *arguments]
    assert seen(attempt)["argv"] == [os.fsencode(word).decode("latin-1") for word in expected]


def test_command_starts_in_a_clean_process(attempt: Attempt) -> None:
    assert attempt.run(*PYTHON, PROBE, env={"A": "1"}) == 0
    report = seen(attempt)
    assert report["cwd"] == str(attempt.workdir)
    assert report["umask"] == 0o022
    assert report["stdin"] == "/dev/null"
    assert report["open"] == [0, 1, 2]
    assert set(report["ignored"]) <= {"SIGPIPE", "SIGXFSZ"}  # type: ignore[call-overload]  # Python's
    assert report["int"] is True
    assert attempt.err.read_bytes() == b""


NAMES = [
    *(
        "exit",
        "exec",
        "eval",
        "cd",
        "test",
        "kill",
        "return",
        "trap",
        ".",
        ":",
        "printf",
        "echo",
        "[",
    ),
    *("set", "export", "unset", "command", "type", "wait", "true", "local", "source", "builtin"),
    *("if", "while", "{", "!", "A=b", "hakuriver_record", "a b", "$(id)"),
]


@pytest.mark.parametrize("name", NAMES)
def test_command_is_a_program_whatever_its_name(attempt: Attempt, name: str) -> None:
    tools = attempt.folder / "tools"
    tools.mkdir()
    program = tools / name if name != "." else attempt.folder / "dot"
    program.write_text("#!/bin/sh\n" r"""/usr/bin/printf '%s\n' ran "$@"; exit 9""")
    program.chmod(0o755)
    code = attempt.run(name, "a\\nb", "3", env={"PATH": str(tools)})
    applets = applets_of(attempt.sh)
    if name == ".":  # a folder in every PATH: never a program
        assert code in (126, 127)
    elif name in applets:  # this busybox prefers its own programs, which are no builtins
        assert attempt.end() == ended(code)
    else:
        assert (code, attempt.out.read_text()) == (9, "ran\na\\nb\n3\n")
    assert attempt.end() == ended(code)


def applets_of(sh: Shell) -> set[str]:
    """The programs that a busybox built to stand alone runs whatever PATH says."""
    if Path(sh.program).name != "busybox":
        return set()
    probe = subprocess.run([sh.program, "sh", "-c", "PATH=/nope; exec uname"], capture_output=True)
    listing = subprocess.run([sh.program, "--list"], capture_output=True, text=True, check=True)
    return set() if probe.returncode else set(listing.stdout.split())


ENVIRONMENT: dict[str, str | bytes] = {
    "PATH": "/nope",
    "IFS": "/0123456789HAKURIVER_x =",
    "ENV": "/nope/env",
    "BASH_ENV": "/nope/bash_env",
    "HOME": "",
    "d": "mine",
    "rc": "1",
    "hakuriver_record": "/nope",
    "hakuriver_export": "exit 3",
    "hakuriver_i": "7",
    "hakuriver_code": "7",
    "OPTIND": "7",
    "OPTARG": "x",
    "PS4": "$(id)",
    "LANG": "zh_TW.UTF-8",
    "CDPATH": "/",
    "PWD": "/nope",
    "OLDPWD": "/nope",
    "SHLVL": "41",
    "RANDOM": "x",
    "LINENO": "x",
    "SECONDS": "x",
    "BASH_XTRACEFD": "2",
    "TINI_KILL_PROCESS_GROUP": "x",
    "TERM": "",
    "TZ": "x",
    "text": " two  words\n\ttab \n",
    "quotes": "'\"\\`$(id)$d",
    "bytes": bytes(range(1, 256)),
    "operators": "(",
    "bang": "!",
    "option": "-n",
    "EMPTY": "",
    "big": "x" * 130_000,
}


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "no_SUCH.locale"])
def test_environment_arrives_unchanged(attempt: Attempt, locale: str) -> None:
    env = {"LC_ALL": locale, **ENVIRONMENT}
    assert attempt.run(*PYTHON, PROBE, env=env) == 0
    wanted = {name: os.fsencode(value).decode("latin-1") for name, value in env.items()}
    got = environ(attempt)
    assert {name: got.get(name) for name in wanted} == wanted
    assert set(got) - set(wanted) <= BY_THE_SHELL
    assert attempt.err.read_bytes() == b""


def test_many_variables(attempt: Attempt) -> None:
    env = {f"V{number}": str(number) for number in range(500)}
    assert attempt.run(*PYTHON, PROBE, env=env) == 0
    assert env.items() <= environ(attempt).items()


def test_nothing_of_ours_is_in_the_environment(attempt: Attempt) -> None:
    assert attempt.run(*PYTHON, PROBE, env={"HAKURIVER_TASK_ID": "7", "B": "2"}) == 0
    assert set(environ(attempt)) - BY_THE_SHELL == {"PATH", "HAKURIVER_TASK_ID", "B"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, "5")
            for name in ("UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO")
        ),
        *(
            (name, "5")
            for name in ("_", "PIPESTATUS", "GROUPS", "FUNCNAME", "BASH_ARGV", "BASH_CMDS")
        ),
        ("OPTIND", "abc"),
    ],
)
def test_variable_is_passed_on_or_refused(attempt: Attempt, name: str, value: str) -> None:
    """A shell that cannot set a variable must not run the command without it."""
    code = attempt.run(*PYTHON, PROBE, env={"A": "1", name: value, "Z": "1"})
    if code == 0:
        assert environ(attempt)[name] == value
        assert attempt.end() == ended(0)
    else:
        message = f"hakuriver: this image's shell cannot set the environment variable {name}\n"
        assert (code, attempt.out.read_text()) == (125, "")
        assert attempt.err.read_text() == message
        assert attempt.end() == unable("env")
    readonly = {"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"}
    if name in readonly:
        assert (code == 125) == attempt.sh.is_bash


def test_user_path_finds_the_command(attempt: Attempt) -> None:
    tools = attempt.folder / "tools"
    tools.mkdir()
    (tools / "mytool").symlink_to("/bin/true")
    assert attempt.run("mytool", env={"PATH": str(tools)}) == 0
    assert attempt.end() == ended(0)


@pytest.mark.parametrize(
    "name", ["no-such-program", "/no/such/program", "./no-such", "no such\nname"]
)
def test_command_not_found(attempt: Attempt, name: str) -> None:
    assert attempt.run(name, "x") == 127
    assert attempt.end() == ended(127)
    assert name.rpartition("/")[2].rpartition("\n")[2] in attempt.err.read_text()


@pytest.mark.parametrize("kind", ["plain file", "folder", "bad format"])
def test_command_not_executable(attempt: Attempt, kind: str) -> None:
    path = attempt.folder / "thing"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\x7fELF\0garbage\n")
        path.chmod(0o755 if kind == "bad format" else 0o644)
    code = attempt.run(str(path))
    # An unknown format: bash says 126; dash and busybox take the file for a shell script.
    assert code in ((126,) if kind != "bad format" else (2, 126, 127))
    assert attempt.end() == ended(code)
    assert "thing" in attempt.err.read_text()


def test_script_without_a_first_line_is_run_by_the_shell(attempt: Attempt) -> None:
    script = attempt.folder / "script"
    script.write_text('echo "$#:$1"; exit 4\n')
    script.chmod(0o755)
    assert attempt.run(str(script), "a b", "c") == 4
    assert attempt.out.read_text() == "2:a b\n"


@pytest.mark.parametrize("code", [0, 1, 2, 125, 126, 127, 128, 137, 255])
def test_exit_code(attempt: Attempt, code: int) -> None:
    assert attempt.run("/bin/sh", "-c", f"exit {code}") == code
    assert attempt.end() == ended(code)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGINT", "SIGPIPE", "SIGHUP"])
def test_command_killed_by_a_signal(attempt: Attempt, name: str) -> None:
    number = signal.Signals[name]
    assert attempt.run("/bin/sh", "-c", f"kill -{number:d} $$; sleep 60") == 128 + number
    assert attempt.end() == ended(128 + number)
    assert attempt.err.read_bytes() == b""


TRAPS = """
import signal, sys
def stop(number, frame):
    print("bye", flush=True)
    sys.exit(7)
for name in ("SIGTERM", "SIGINT", "SIGHUP"):
    signal.signal(signal.Signals[name], stop)
print("ready", flush=True)
while True:
    signal.pause()
"""


def says(attempt: Attempt, text: str) -> None:
    wait_until(lambda: attempt.out.exists() and text in attempt.out.read_text(), message=text)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signal_to_the_group_leaves_the_word_to_the_command(attempt: Attempt, name: str) -> None:
    with attempt.start(*PYTHON, TRAPS) as keeper:
        says(attempt, "ready")
        os.killpg(keeper.pid, signal.Signals[name])
        assert keeper.wait(15) == 7
    assert attempt.end() == ended(7)
    assert attempt.out.read_text() == "ready\nbye\n"


def test_keeper_waits_for_a_command_that_ignores_signals(attempt: Attempt) -> None:
    script = "trap '' TERM; echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 3"
    with attempt.start("/bin/sh", "-c", script) as keeper:
        says(attempt, "ready")
        for _ in range(5):
            os.killpg(keeper.pid, signal.SIGTERM)
            assert keeper.poll() is None
        (attempt.workdir / "go").touch()
        assert keeper.wait(15) == 3
    assert attempt.end() == ended(3)


def test_stopped_and_continued(attempt: Attempt) -> None:
    script = "echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 3"
    with attempt.start("/bin/sh", "-c", script) as keeper:
        says(attempt, "ready")
        os.killpg(keeper.pid, signal.SIGSTOP)
        (attempt.workdir / "go").touch()
        wait_until(lambda: state_of(keeper.pid) == "T", message="the keeper is stopped")
        os.killpg(keeper.pid, signal.SIGCONT)
        assert keeper.wait(15) == 3
    assert attempt.end() == ended(3)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_start_is_recorded_before_the_command_runs(attempt: Attempt) -> None:
    with attempt.start("/bin/cat", str(attempt.record / "started")) as keeper:
        assert keeper.wait(15) == 0
    started = read_started(attempt.record)
    assert started is not None
    assert (started.pid, started.by_runner) == (keeper.pid, False)
    assert attempt.out.read_text() == f"{keeper.pid}\n"


def test_second_start_runs_nothing(attempt: Attempt) -> None:
    assert attempt.run("/bin/echo", "once") == 0
    assert attempt.run("/bin/echo", "twice") == 125
    assert attempt.out.read_text() == "once\n"
    assert attempt.end() == ended(0)


def test_of_many_starts_at_once_one_runs(attempt: Attempt) -> None:
    with ExitStack() as stack:
        keepers = [stack.enter_context(attempt.start("/bin/echo", "once")) for _ in range(12)]
        codes = [keeper.wait(30) for keeper in keepers]
    assert sorted(codes) == [0, *[125] * 11]
    assert attempt.out.read_text() == "once\n"


def test_what_the_runner_claimed_never_runs(attempt: Attempt) -> None:
    assert claim(attempt.record)
    assert attempt.run("/bin/echo", "ran") == 125
    assert not attempt.out.exists()
    assert attempt.end() is None


def test_record_folder_that_is_not_there(attempt: Attempt) -> None:
    attempt.record.rmdir()
    assert attempt.run("/bin/echo", "ran") == 125
    assert not attempt.out.exists()


@pytest.mark.parametrize("reason", ["workdir", "stdout", "stderr"])
def test_place_that_cannot_be_used(attempt: Attempt, reason: str) -> None:
    places = {"stdout": attempt.out, "stderr": attempt.err}
    if reason == "workdir":
        attempt.workdir.rmdir()
    else:
        places[reason].mkdir()
    marker = attempt.folder / "ran"
    assert attempt.run("/usr/bin/touch", str(marker)) == 125
    assert attempt.end() == unable(reason)
    assert not marker.exists()


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users may enter, as pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="keeper-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize("refused", [None, "stdout", "stderr"])
def test_other_user(sh: Shell, reachable: Path, refused: str | None) -> None:
    """A user who may write just what the runner opened for all."""
    needs(root())
    attempt = Attempt(sh, reachable, reachable)
    attempt.record.mkdir()
    attempt.record.chmod(0o1777)
    for name, log in (("stdout", attempt.out), ("stderr", attempt.err)):
        log.touch()
        log.chmod(0o644 if name == refused else 0o666)
    code = attempt.run("/bin/sh", "-c", "id -u; exit 4", user=1234)
    assert (code, attempt.out.read_text()) == ((125, "") if refused else (4, "1234\n"))
    assert attempt.end() == (unable(refused) if refused else ended(4))


def test_output_is_appended(attempt: Attempt) -> None:
    attempt.out.write_bytes(b"before\n")
    attempt.err.write_bytes(b"before\n")
    assert attempt.run("/bin/sh", "-c", "echo out; echo err >&2") == 0
    assert attempt.out.read_text() == "before\nout\n"
    assert attempt.err.read_text() == "before\nerr\n"


def test_record_of_the_task_itself_is_not_overwritten(attempt: Attempt) -> None:
    """The task may write there; what matters is that the keeper lives and ends with the real code."""
    target = attempt.record / "exit"
    assert attempt.run("/bin/sh", "-c", 'echo forged >"$1"; exit 6', "x", str(target)) == 6
    assert target.read_text() == "forged\n"


def test_the_end_is_recorded_on_a_disk_that_became_full(attempt: Attempt, tmp_path: Path) -> None:
    """Room for it is taken before the command runs."""
    needs(root())
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "hakuriver-test", str(attempt.record)]
    subprocess.run(mount, check=True)
    try:
        script = 'cat /dev/zero >"$1" 2>/dev/null; exit 7'
        assert attempt.run("/bin/sh", "-c", script, "x", str(attempt.record / "filler")) == 7
        assert attempt.end() == ended(7)
    finally:
        subprocess.run(["umount", str(attempt.record)], check=True)


@pytest.mark.parametrize("left", [0, 1], ids=["nothing", "room for its claim"])
def test_without_room_for_the_end_nothing_is_run(attempt: Attempt, left: int) -> None:
    needs(root())
    size = (left + 1) * 4096
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "hakuriver-test", str(attempt.record)]
    subprocess.run(mount, check=True)
    try:
        (attempt.record / "filler").write_bytes(b"x" * 4096)
        assert attempt.run("/bin/sh", "-c", "echo ran") == 125
        assert not attempt.out.exists()
        assert had_no_room(attempt.record)
    finally:
        subprocess.run(["umount", str(attempt.record)], check=True)


def test_an_attempt_that_ran_had_room(attempt: Attempt) -> None:
    assert attempt.run("/bin/true") == 0
    assert not had_no_room(attempt.record)


def test_keeper_needs_no_program(attempt: Attempt) -> None:
    """Not even for the kernel's counters: with nothing in PATH it complains about nothing."""
    with attempt.start("/bin/sh", "-c", "exit 5", path="/nope", counters=True) as keeper:
        said, _ = keeper.communicate(timeout=15)
    assert (keeper.returncode, said) == (5, b"")
    end = attempt.end()
    assert end is not None
    assert end.exit_code == 5


def test_comments_are_not_sent_along() -> None:
    lines = load_keeper().splitlines()
    assert lines
    assert not [line for line in lines if not line.strip() or line.lstrip().startswith("#")]
    assert len(load_keeper()) < 4096
