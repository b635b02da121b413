"""Shells, as somebody at a terminal has them: in environments, and beside tasks."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.images import Images
from tests.support.processes import files_of_all
from tests.support.wait import wait_until
from tests.support.websocket import WebSocket
from tests.system.test_websocket import masked

READY = b"ready-4-you"


class Typist:
    """Somebody at a terminal of 40 rows and 100 columns; nothing is waited for longer than need be."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        master, slave = pty.openpty()
        self.fd = master
        self.resize(40, 100)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = b""
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env={**environ, "TERM": "xterm"},
            start_new_session=True,
        )  # fmt: skip

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        while data:
            self.look()
            _, writable, _ = select.select([], [self.fd], [], 0.05)
            if writable:
                data = data[os.write(self.fd, data[:1024]) :]

    def look(self) -> bytes:
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:
                break
        return self.seen

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        found = wait_until(
            lambda: re.search(pattern, self.look()),
            timeout=30,
            message=lambda: f"{pattern!r} in {self.seen[-2000:]!r}",
        )
        assert found is not None
        return found

    def run(self, command: str, pattern: bytes) -> re.Match[bytes]:
        self.seen = b""
        self.type(f"{command}\r")
        return self.wait_for(pattern)

    def ready(self) -> Typist:
        """The shell answers: what was typed is shown as typed, the answer is not."""
        self.run("echo ready-$((2+2))-you", READY)
        return self

    def wait(self) -> int:
        wait_until(lambda: (self.look(), self.process.poll() is not None)[1], timeout=30)
        return self.process.wait()

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self.slave)


@pytest.fixture
def host(cluster: Cluster) -> Cluster:
    cluster.start_host()
    return cluster


@pytest.fixture
def environment(host: Cluster, docker_images: Images) -> Iterator[str]:
    name = f"e{uuid.uuid4().hex[:10]}"
    host.run("docker", "create-container", docker_images.image(docker_images.base), name)
    yield name
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=60)


@contextmanager
def typing(cluster: Cluster, *argv: str) -> Iterator[Typist]:
    typist = Typist([*cluster.program, *argv], cluster.environ())
    try:
        yield typist
    finally:
        typist.close()


def processes(container: str) -> int:
    argv = ["docker", "top", container, "-o", "pid"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    return len(done.stdout.splitlines()) - 1


@pytest.fixture(params=["environment", "process", pytest.param("docker", marks=pytest.mark.docker)])
def shell(request: pytest.FixtureRequest, host: Cluster) -> Iterator[tuple[list[str], str]]:
    """(command line that opens a shell, container it is in or "")."""
    if request.param == "environment":
        name = request.getfixturevalue("environment")
        yield ["docker-shell", name], name
        return
    host.start_runner(runner_cores=4)
    container = "NULL"
    if request.param == "docker":
        container = request.getfixturevalue("docker_image")
    task_id = host.submit("sleep", "600", container_name=container, env_vars={"NAME": "a 'river'"})
    host.wait_status(task_id, "running")
    unit = host.task(task_id)["unit_name"]
    yield ["client", "shell", task_id], unit if request.param == "docker" else ""
    host.client("kill", task_id)


pytestmark = pytest.mark.docker


def test_a_real_terminal(host: Cluster, shell: tuple[list[str], str]) -> None:
    with typing(host, *shell[0]) as typist:
        typist.ready()
        typist.run("stty size; echo $TERM", rb"40 100\r\nxterm\r\n")
        typist.resize(50, 120)
        typist.process.send_signal(signal.SIGWINCH)
        typist.run("while ! stty size | grep '^50 120'; do :; done", rb"\n.*50 120\r")
        typist.seen = b""
        typist.type("echo begun-$((40+2)); sleep 500\r")
        typist.wait_for(rb"begun-42")
        typist.type(b"\x03")
        typist.ready()
        typist.run("printf 'h\\303\\251\\346\\262\\263\\n'", "h\u00e9\u6cb3\r\n".encode())
        typist.type("exit 9\r")
        assert typist.wait() == 9
        assert typist.is_restored()


def test_a_pipe_works_as_docker_exec_i_does(host: Cluster, shell: tuple[list[str], str]) -> None:
    done = host.run(*shell[0], input=b"echo out; echo err >&2; exit 7\n", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    data = os.urandom(3_000_000)
    done = host.run(*shell[0], "--", "cat", input=data, timeout=60)
    assert done.stdout == data
    done = host.run(*shell[0], "--", "sh", "-c", 'echo "$0"; exit 3', "a b'c", check=False)
    assert (done.returncode, done.stdout) == (3, b"a b'c\n")


@pytest.mark.parametrize(("command", "code"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_executed_has_the_code_of_a_shell(
    host: Cluster, shell: tuple[list[str], str], command: str, code: int
) -> None:
    assert host.run(*shell[0], "--", command, check=False).returncode == code


def test_a_reader_that_leaves_is_a_broken_pipe_and_no_lost_connection(
    host: Cluster, shell: tuple[list[str], str]
) -> None:
    argv = [*host.program, *shell[0], "--", "sh", "-c", "while echo y; do :; done"]
    client = subprocess.Popen(
        argv, env=host.environ(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stderr is not None
    assert client.stdout.read(4) == b"y\ny\n"
    client.stdout.close()
    assert (client.wait(timeout=30), client.stderr.read()) == (141, b"")
    client.stderr.close()


def test_a_large_paste_arrives_whole(host: Cluster, shell: tuple[list[str], str]) -> None:
    line = "x" * 999 + "\n"
    with typing(host, *shell[0]) as typist:
        typist.ready()
        typist.run("stty -echo; echo quiet-$((1+1))", rb"quiet-2")
        typist.seen = b""
        typist.type("head -c 1000000 | wc -c; stty echo\r")
        typist.type(line * 1000)
        typist.wait_for(rb"1000000")


def test_a_client_that_vanishes_leaves_no_shell_behind(
    host: Cluster, shell: tuple[list[str], str]
) -> None:
    argv, container = shell
    before = processes(container) if container else 0
    mark = f"7{uuid.uuid4().int % 10**6:06d}"
    with typing(host, *argv) as typist:
        typist.ready()
        typist.type(f"echo begun-$((40+2)); sleep {mark}\r")
        typist.wait_for(rb"begun-42")
        assert running(mark)
        typist.process.kill()
        typist.process.wait()
        wait_until(lambda: not running(mark), message="what it had begun is gone")
        if container:
            wait_until(lambda: processes(container) == before, message="and so is the shell")


def test_a_client_that_vanishes_while_its_input_waits_leaves_no_command_behind(
    host: Cluster, shell: tuple[list[str], str]
) -> None:
    mark = f"7{uuid.uuid4().int % 10**6:06d}"
    # Not as "sleep MARK": running() would take the client for the command.
    argv = [*host.program, *shell[0], "--", "sh", "-c", 'exec sleep "$0"', mark]
    with open("/dev/zero", "rb") as endless:
        client = subprocess.Popen(argv, env=host.environ(), stdin=endless)
    taken = [0]

    def stuck() -> bool:
        """It has sent more than a megabyte, and since the last look nothing."""
        (line,) = re.findall(r"rchar: (\d+)", Path(f"/proc/{client.pid}/io").read_text())
        taken.append(int(line))
        return taken[-1] == taken[-2] > 1 << 20

    try:
        wait_until(lambda: running(mark), timeout=30, message="the command runs")
        wait_until(stuck, timeout=30, message="its input waits")
    finally:
        client.kill()
        client.wait()
    wait_until(lambda: not running(mark), message="it is gone with its client")


def running(argument: str) -> list[int]:
    """Processes that are `sleep ARGUMENT`."""
    command = f"sleep\0{argument}\0".encode()
    return [pid for pid, line in files_of_all("cmdline") if line.endswith(command)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_restored_when_the_client_is_ended(
    host: Cluster, environment: str, number: int
) -> None:
    with typing(host, "docker-shell", environment) as typist:
        typist.ready()
        assert not typist.is_restored()
        typist.process.send_signal(number)
        assert typist.wait() == 128 + number
        assert typist.is_restored()


def test_the_terminal_is_restored_when_the_host_is_gone(host: Cluster, environment: str) -> None:
    with typing(host, "docker-shell", environment) as typist:
        typist.ready()
        host.host.kill9()
        assert typist.wait() == 125
        assert b"the connection broke" in typist.look()
        assert b"Traceback" not in typist.seen
        assert typist.is_restored()


def test_enter_tilde_dot_leaves(host: Cluster, environment: str) -> None:
    with typing(host, "docker-shell", environment) as typist:
        typist.ready()
        typist.run("echo ~~ a~.b | tr a-z A-Z", rb"~ A~\.B")
        for key in ("\r", "~", "."):
            typist.type(key)
        assert typist.wait() == 125
        assert b"left with ~." in typist.look()
        assert typist.is_restored()


def test_a_full_screen_editor(host: Cluster, environment: str) -> None:
    with typing(host, "docker-shell", environment) as typist:
        typist.ready()
        typist.type("vi /text\r")
        typist.wait_for(rb"/text")
        typist.type("iwritten in vi")
        typist.wait_for(rb"written in vi")
        typist.type(b"\x1b")
        typist.wait_for(rb"- /text \[Modified\]")
        typist.type(":wq\r")
        typist.ready()
        typist.run("cat /text", rb"\nwritten in vi\r\n")


def test_a_stopped_container_is_started(host: Cluster, environment: str) -> None:
    host.run("docker", "stop-container", environment)
    assert host.run("docker-shell", environment, "--", "echo", "up").out == "up\n"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("docker-shell", "nothing"), 4, "has no container on the host"),
        (("docker-shell", "Bad Name"), 5, "no environment name"),
        (("docker-shell",), 2, "ENV"),
        (("client", "shell", "99"), 4, "there is no task 99"),
        (("client", "shell", "x"), 4, "there is no task"),
    ],
)
def test_what_cannot_be_opened_is_told(
    host: Cluster, argv: tuple[str, ...], code: int, words: str
) -> None:
    done = host.run(*argv, check=False)
    assert (done.returncode, words in done.err) == (code, True), done.err


def test_a_task_that_does_not_run_has_no_shell(host: Cluster) -> None:
    waiting = host.submit("true", container_name="NULL")
    done = host.client("shell", waiting, check=False)
    assert (done.returncode, "has not started yet" in done.err) == (5, True)
    host.start_runner()
    host.wait_status(waiting, "completed")
    done = host.client("shell", waiting, check=False)
    assert (done.returncode, "is over: completed" in done.err) == (5, True)


def test_a_shell_beside_a_task_is_none_of_its_processes(host: Cluster) -> None:
    host.start_runner()
    task_id = host.submit("sleep", "600", container_name="NULL", env_vars={"NAME": "river"})
    host.wait_status(task_id, "running")
    with typing(host, "client", "shell", task_id) as typist:
        typist.ready()
        typist.run(
            'echo "$NAME $HAKURIVER_TASK_ID"; pwd', f"river {task_id}\r\n.*shared_data".encode()
        )
        host.client("kill", task_id)
        host.wait_status(task_id, "killed")
        typist.ready()


# WebSockets


Connect = Callable[..., WebSocket]


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened: list[WebSocket] = []

    def make(*arguments: Any) -> WebSocket:
        opened.append(WebSocket(*arguments))
        return opened[-1]

    yield make
    for each in opened:
        each.socket.close()


def terminal(name: str) -> str:
    return f"/docker/host/containers/{name}/terminal"


def test_the_first_hakurivers_client_works(
    connect: Connect, host: Cluster, environment: str
) -> None:
    """It sends lines, never a size, and no token."""
    peer = connect(host, terminal(environment))
    assert peer.status == 101
    peer.say(type="input", data="echo caf\u00e9-$((40+2))\n")
    peer.read(lambda text: "caf\u00e9-42" in text)
    peer.say(type="resize", rows=33, cols=77)
    peer.say(type="input", data="stty size; exit 4\n")
    assert "33 77" in peer.read()
    assert peer.close_code == 1000
    wait_until(lambda: processes(environment) == 2, message="no shell is left")


def test_a_websocket_that_cannot_be_opened_says_why(connect: Connect, host: Cluster) -> None:
    peer = connect(host, terminal("nothing"))
    assert "has no container on the host" in peer.read()
    assert peer.close_code == 1008


def test_a_websocket_of_a_foreign_page_is_refused(
    connect: Connect, host: Cluster, environment: str
) -> None:
    own = f"http://127.0.0.1:{host.port}"
    for origin, status in (("http://evil.example", 403), ("null", 403), (own, 101)):
        assert connect(host, terminal(environment), {"Origin": origin}).status == status


def test_with_a_token_a_page_gives_it_as_a_protocol(
    connect: Connect, cluster: Cluster, docker_images: Images
) -> None:
    cluster.settings["auth_token"] = "a secret of ours"
    cluster.start_host()
    text = base64.urlsafe_b64encode(b"a secret of ours").decode().rstrip("=")
    for token, status in ((text, 101), ("d3Jvbmc", 401), ("*", 401)):
        offered = {"Sec-WebSocket-Protocol": f"hakuriver, hakuriver.token.{token}"}
        peer = connect(cluster, terminal("nothing"), offered)
        assert peer.status == status
        if status == 101:
            assert b"Sec-WebSocket-Protocol: hakuriver\r\n" in peer.head + b"\r\n"
    assert connect(cluster, terminal("nothing")).status == 401


@pytest.mark.parametrize(
    "data",
    [b"\x00" * 64, masked(0x81, b"not json"), masked(0x81, b'{"type": "fly"}'), masked(0x83, b"x")],
    ids=["zeros", "text", "kind", "opcode"],
)
def test_a_websocket_that_talks_nonsense_is_closed_and_the_host_lives(
    connect: Connect, host: Cluster, environment: str, data: bytes
) -> None:
    peer = connect(host, terminal(environment))
    peer.socket.sendall(data)
    peer.read()
    assert peer.close_code in (1002, 1008)
    wait_until(lambda: processes(environment) == 2, message="no shell is left")
    assert host.api("GET", "/")[0] == 200


def test_a_shell_beside_a_task_over_a_websocket(connect: Connect, host: Cluster) -> None:
    host.start_runner()
    task_id = host.submit("sleep", "600", container_name="NULL")
    host.wait_status(task_id, "running")
    peer = connect(host, f"/task/{task_id}/terminal?rows=30&cols=90")
    peer.say(type="input", data="stty size; echo task-$HAKURIVER_TASK_ID; exit\n")
    text = peer.read()
    assert "30 90" in text
    assert f"task-{task_id}" in text
    assert peer.close_code == 1000


def test_an_ordinary_request_for_a_shell_says_what_it_is_for(
    connect: Connect, host: Cluster
) -> None:
    for path in ("/docker/host/containers/x/shell", terminal("x"), "/task/1/shell"):
        status, _, answer = host.api("GET", path)
        assert (status, answer["error"]) == (426, "upgrade_required")
