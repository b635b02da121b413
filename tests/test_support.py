"""The tests' own tools: what they promise has to hold, or they prove nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.cluster import Cluster
from tests.support.images import Images
from tests.support.wait import wait_until

FAKE = """
import http.server, os, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'[{"hostname": "node1", "status": "online"}]'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

def end(*args):
    sys.stderr.write(os.environ.get("LAST_WORDS", ""))
    sys.stderr.flush()
    os._exit(0)

if sys.argv[1] == "client":
    sys.stdout.write(sys.stdin.read())
    sys.exit(int(sys.argv[2]))
signal.signal(signal.SIGTERM, end)
variable = "HAKURIVER_NETWORK_%s_PORT" % sys.argv[1].upper()
server = http.server.HTTPServer(("127.0.0.1", int(os.environ[variable])), Handler)
print("INFO serving on http://127.0.0.1:%d" % server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path) -> list[str]:
    """A program that serves and ends as ours do, and can do nothing else."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return [sys.executable, str(script)]


def test_wait_until_returns_what_it_waited_for() -> None:
    values = iter([0, None, 7])
    assert wait_until(lambda: next(values)) == 7


def test_wait_until_gives_up_and_says_what_it_saw() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.02 s: the moon \(last seen: 0\)"):
        wait_until(lambda: 0, timeout=0.02, message="the moon")


def test_a_restarted_program_keeps_its_port(fake: list[str]) -> None:
    with Cluster(fake) as cluster:
        host, runner = cluster.start_host(), cluster.start_runner()
        before = host.port, runner.port, cluster.port
        host.restart()
        runner.kill9()
        runner.start()
        assert (host.port, runner.port, cluster.port) == before
        assert runner.log_text().count("serving on") == 2


def test_a_runner_may_be_started_before_its_host(fake: list[str]) -> None:
    with Cluster(fake) as cluster:
        runner = cluster.start_runner()
        host = cluster.start_host()
        assert runner.environ["HAKURIVER_NETWORK_HOST_PORT"] == str(host.port)


def test_commands_return_their_bytes_and_code(fake: list[str]) -> None:
    with Cluster(fake) as cluster:
        done = cluster.client("7", check=False, input=b"a\n")
        assert (done.returncode, done.stdout, done.err) == (7, b"a\n", "")
        with pytest.raises(AssertionError, match="-> 7"):
            cluster.client("7")
        with pytest.raises(AssertionError, match="runner_corse"):
            cluster.start_runner(runner_corse=2)


def test_an_unexpected_end_fails_the_test(fake: list[str]) -> None:
    with (
        pytest.raises(AssertionError, match="host ended by itself with -9"),
        Cluster(fake) as cluster,
    ):
        host = cluster.start_host()
        subprocess.run(["kill", "-9", str(host.pid)], check=True)
        wait_until(lambda: not host.running)


def test_a_traceback_in_a_log_fails_the_test(
    fake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAST_WORDS", "Traceback (most recent call last):\n")
    with (
        pytest.raises(AssertionError, match=r"host\.log holds a Traceback"),
        Cluster(fake) as cluster,
    ):
        cluster.start_host()


def test_left_task_processes_are_killed(fake: list[str]) -> None:
    with Cluster(fake) as cluster:
        cluster.shared.mkdir()
        cluster.shared.joinpath(".hakuriver.json").write_text('{"cluster": "test-of-the-tests"}')
        environ = {"HAKURIVER_CLUSTER": "test-of-the-tests"}
        task = subprocess.Popen(
            [sys.executable, "-c", "input()"], env=environ, stdin=subprocess.PIPE
        )
    task.communicate()
    assert task.returncode == -9


@pytest.mark.docker
def test_task_images_are_what_they_say(docker_images: Images) -> None:
    def says(environment: str, *argv: str) -> str:
        run = ["docker", "run", "--rm", "--network", "none", "--pull", "never"]
        done = subprocess.run(
            [*run, docker_images.image(environment), *argv],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout or f"{done.returncode}"

    assert says(docker_images.base, "sh", "-c", "id -u; busybox echo $PATH") == "0\n/bin\n"
    assert says(docker_images.nonroot, "id", "-un") == "user\n"
    assert says(docker_images.entrypoint, "x") == "entry x\n"
    assert says(docker_images.shellless, "/bin/true") == "0"
    assert says(docker_images.shellless, "/bin/sh") == "127"


@pytest.mark.docker
def test_docker_label_cleanup_removes_only_this_clusters(
    docker_image: str, fake: list[str]
) -> None:
    def create(cluster: str) -> str:
        label = f"hakuriver.cluster={cluster}"
        argv = ["docker", "create", "--label", label, Images.image(docker_image), "true"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    with Cluster(fake) as cluster:
        cluster.shared.mkdir()
        cluster.shared.joinpath(".hakuriver.json").write_text('{"cluster": "test-of-the-tests"}')
        ours, others = create("test-of-the-tests"), create("test-of-others")
    left = subprocess.run(["docker", "rm", ours, others], capture_output=True, text=True)
    assert left.stdout.split() == [others]


def test_the_static_busybox_is_told_from_a_linked_one() -> None:
    assert not needs.is_static(Path(needs.base_python()).read_bytes())
    assert not needs.is_static(b"#!/bin/sh\n")
    if needs.static_busybox().real:
        assert needs.is_static(Path(needs.static_busybox().detail).read_bytes())


def test_a_strict_run_fails_where_something_is_skipped(tmp_path: Path) -> None:
    script = tmp_path / "test_skip.py"
    script.write_text("import pytest\ndef test_it():\n    pytest.skip('no moon')\n")
    root = Path(__file__).resolve().parent.parent
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-c",
        "pyproject.toml",
        str(script),
    ]
    for strict, code, word in (("1", 1, "1 failed"), ("", 0, "1 skipped")):
        environ = {"HAKURIVER_TESTS_STRICT": strict, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            argv, cwd=root, env=environ, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, word in done.stdout) == (code, True), done.stdout + done.stderr
        assert "no moon" in done.stdout
