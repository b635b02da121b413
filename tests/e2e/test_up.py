"""`up`: the first command that anybody runs, and the one that must leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.wait import wait_until


class Ups:
    """Starts `up` in a home of its own; whatever is left at the end is killed."""

    def __init__(self, program: list[str], home: Path) -> None:
        self.program, self.home = program, home
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HAKURIVER_HOME": str(home / "data with space"),
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def popen(self, *argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*self.program, "up", *argv],
            env=self.environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def run(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        process = self.popen(*argv)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def left(self) -> list[str]:
        """Command lines of processes of ours: host, runner, keepers, tasks."""
        mark = f"HAKURIVER_HOME={self.environ['HAKURIVER_HOME']}".encode()
        return [line for line, environ in _processes() if mark in environ]


def _processes() -> Iterator[tuple[str, list[bytes]]]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            yield line, Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue


@pytest.fixture
def ups(program: list[str], tmp_path: Path) -> Iterator[Ups]:
    ups = Ups(program, tmp_path)
    yield ups
    ups.stop()
    wait_until(lambda: not ups.left(), message=f"host and runner end: {ups.left()}")


def _free_pair() -> int:
    """A port that is free together with the next one."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports in a row")


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        (["echo", "Hello HakuRiver!"], 0, b"Hello HakuRiver!\n"),
        (["sh", "-c", "printf a; exit 7"], 7, b"a"),
        (["printf", "\\377"], 0, b"\xff"),
        (["no-such-program"], 127, b""),
    ],
)
def test_once_gives_the_tasks_output_and_exit_code(
    ups: Ups, command: Sequence[str], code: int, out: bytes
) -> None:
    done = ups.run("--once", "--port", "0", "--", *command)
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    assert not ups.left()


def test_a_task_that_writes_to_stderr_writes_to_ours(ups: Ups) -> None:
    done = ups.run("--once", "--port", "0", "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_the_name_of_its_link_is_its_own_and_not_that_of_host_and_runner(
    ups: Ups, tmp_path: Path, pyz: Path
) -> None:
    link = tmp_path / "hakuriver.up"
    link.symlink_to(pyz)
    words = [needs.base_python(), str(link), "--once", "--port", "0", "--", "echo", "up"]
    done = subprocess.run(words, env=ups.environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"up\n"), done.stderr


def test_a_port_that_is_taken_is_named_with_what_to_do(ups: Ups) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ups.run("--once", "--port", str(port), "--", "true")
    assert done.returncode == 2
    assert f"port {port}" in done.stderr.decode()
    assert "--port" in done.stderr.decode()


def test_once_without_a_command_is_a_usage_error(ups: Ups) -> None:
    assert ups.run("--once").returncode == 2


def test_it_serves_until_it_is_interrupted_and_leaves_nothing_behind(ups: Ups) -> None:
    port = _free_pair()
    up = ups.popen("--port", str(port), "--", "sh", "-c", "echo started; exec sleep 1000")
    assert up.stdout is not None
    assert up.stdout.readline() == b"started\n"
    submitted = subprocess.run(
        [*ups.program, "client", "--host", f"127.0.0.1:{port}", "-q", "--", "sleep", "1000"],
        env=ups.environ,
        capture_output=True,
        timeout=30,
    )
    assert submitted.returncode == 0, submitted.stderr
    up.send_signal(signal.SIGINT)
    _, err = up.communicate(timeout=40)
    assert f"client --host 127.0.0.1:{port}" in err.decode(), "how to submit is said"
    assert b"Traceback" not in err
    assert not ups.left()


def test_the_line_it_prints_for_another_terminal_works_there(ups: Ups) -> None:
    """With the token of a file that no client reads by itself."""
    file = ups.home / "my config.toml"
    made = [*ups.program, "init", "config", "--quiet", "--output", str(file)]
    subprocess.run(made, env=ups.environ, check=True, capture_output=True, timeout=30)
    up = ups.popen("--config", str(file), "--port", str(_free_pair()))
    assert up.stderr is not None
    lines = [up.stderr.readline().decode() for _ in range(3)]
    terminal = {name: ups.environ[name] for name in ("PATH", "HOME")}
    done = subprocess.run(
        ["sh", "-c", lines[-1]], env=terminal, cwd="/", capture_output=True, timeout=60
    )
    assert (done.returncode, b" completed (" in done.stderr) == (0, True), (lines, done.stderr)
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=40)


def test_host_and_runner_end_when_up_is_killed(ups: Ups) -> None:
    up = ups.popen("--port", "0", "--", "echo", "ready")
    assert up.stdout is not None
    assert up.stdout.readline() == b"ready\n"
    assert len(ups.left()) >= 3
    up.kill()
    up.communicate()
    wait_until(lambda: not ups.left(), message="host and runner notice")


def test_a_second_one_on_the_same_data_says_who_is_there(ups: Ups) -> None:
    first = ups.popen("--port", "0", "--", "echo", "ready")
    assert first.stdout is not None
    first.stdout.readline()
    second = ups.run("--once", "--port", "0", "--", "true")
    assert second.returncode == 125
    assert "pid" in second.stderr.decode()
    first.terminate()
    first.communicate(timeout=40)
