"""Making a node of a machine that knows nothing but the host's address."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.witness import prepare
from tests.support import needs
from tests.support.certificates import make_certificates
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

TOKEN = "t0ken-of-this-test-0123456789"


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """Of a machine without any configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HAKURIVER_")}
    return {**kept, "HAKURIVER_HOME": str(home), **more}


@contextmanager
def running(
    argv: list[str], environ: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, 143, -signal.SIGTERM), log.read_text()
        assert "Traceback" not in log.read_text()


@pytest.fixture
def cluster(program: list[str]) -> Iterator[Cluster]:
    with Cluster(program, auth_token=TOKEN, docker_shm_size="80M") as cluster:
        cluster.start_host()
        prepare(cluster)
        yield cluster


def settings_of_the_file(cluster: Cluster) -> tuple[str, ...]:
    return ("runner", "--join", f"http://127.0.0.1:{cluster.port}", "--port", "0")


def test_the_lines_that_the_host_tells_make_a_node(cluster: Cluster, tmp_path: Path) -> None:
    """Typed in an empty folder, by a shell, on a machine that has Python and nothing of ours."""
    asked, fetch, start = cluster.client("join").out.splitlines()
    assert asked == "read -rs HAKURIVER_TOKEN && export HAKURIVER_TOKEN"
    assert TOKEN not in fetch + start
    environ = bare_environment(
        tmp_path / "home", HAKURIVER_TOKEN=TOKEN, HAKURIVER_RUNNER_NAME="new"
    )
    fetched = subprocess.run(["sh", "-c", fetch], cwd=tmp_path, env=environ, timeout=60)
    assert fetched.returncode == 0
    assert (tmp_path / "hakuriver.pyz").read_bytes() == Path(cluster.program[-1]).read_bytes()
    words = start.replace("python3", needs.base_python(), 1).split()
    argv = [words[0], str(tmp_path / words[1]), *words[2:], "--port", "0"]
    with running(argv, environ, tmp_path / "log"):
        cluster.wait_online("new")
        done = cluster.client(
            "--wait", "--target", "new", "--", "sh", "-c", "pwd; exit 4", check=False
        )
        assert done.returncode == 4
        assert cluster.output("1").decode().strip() == str(cluster.shared / "shared_data")


def test_the_lines_make_a_node_of_a_cluster_with_an_authority_of_its_own(
    program: list[str], tmp_path: Path
) -> None:
    made = make_certificates(tmp_path / "tls")
    files: dict[str, Any] = {"network_tls_cert": made.cert, "network_tls_key": made.key,
                             "network_tls_ca": made.ca}  # fmt: skip
    with Cluster(program, auth_token=TOKEN, **files) as cluster:
        cluster.start_host()
        shown = cluster.client("join")
        _, trust, fetch, start = shown.out.splitlines()
        assert trust == f"export HAKURIVER_NETWORK_TLS_CA={made.ca}"
        assert "authority" in shown.err
        environ = bare_environment(
            tmp_path / "home", HAKURIVER_TOKEN=TOKEN, HAKURIVER_NETWORK_RUNNER_BIND_IP="0.0.0.0"
        )
        fetched = subprocess.run(
            ["sh", "-c", f"{trust}; {fetch}"], cwd=tmp_path, env=environ, timeout=60
        )
        assert fetched.returncode == 0
        argv = [needs.base_python(), str(tmp_path / "hakuriver.pyz"), *start.split()[2:]]
        trusting = {**environ, "HAKURIVER_NETWORK_TLS_CA": str(made.ca)}
        log = tmp_path / "log"
        with running([*argv, "--name", "new", "--port", "0"], trusting, log):
            wait_until(lambda: "online" in cluster.client("nodes").out)
        assert "without TLS: set network.tls_cert" in log.read_text()


def test_what_cannot_be_fetched_is_told_in_one_line_and_leaves_no_file(
    cluster: Cluster, tmp_path: Path
) -> None:
    fetch = cluster.client("join").out.splitlines()[1]
    away = fetch.replace(f":{cluster.port}/", ":1/")
    for line, token, says in (
        (fetch, "wrong", "HTTP Error 401: Unauthorized"),
        (away, TOKEN, "Connection refused"),
    ):
        environ = bare_environment(tmp_path, HAKURIVER_TOKEN=token)
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("cannot fetch hakuriver.pyz: ")
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


def test_no_proxy_gets_the_token(cluster: Cluster, tmp_path: Path) -> None:
    fetch = cluster.client("join").out.splitlines()[1]
    nowhere = "http://127.0.0.1:1"
    environ = bare_environment(tmp_path, HAKURIVER_TOKEN=TOKEN, http_proxy=nowhere, no_proxy="")
    fetched = subprocess.run(["sh", "-c", fetch], cwd=tmp_path, env=environ, timeout=60)
    assert fetched.returncode == 0


def test_a_token_given_as_an_argument_is_not_left_for_all_to_see(
    cluster: Cluster, tmp_path: Path
) -> None:
    for number, words in enumerate((["--token", TOKEN], [f"--token={TOKEN}"])):
        argv = [*cluster.program, *settings_of_the_file(cluster), "--name", f"n{number}", *words]
        environ = bare_environment(tmp_path / f"home{number}")
        with running(argv, environ, tmp_path / f"log{number}") as process:
            cluster.wait_online(f"n{number}")
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert TOKEN.encode() not in shown
            assert f"n{number}".encode() in shown


def test_a_machines_own_settings_go_before_the_hosts(cluster: Cluster, tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.symlink_to(cluster.shared)
    argv = [
        *cluster.program,
        *settings_of_the_file(cluster),
        "--name",
        "own",
        "--shared-dir",
        str(own),
    ]
    environ = bare_environment(tmp_path / "home", HAKURIVER_TOKEN=TOKEN)
    with running(argv, environ, tmp_path / "log"):
        cluster.wait_online("own")
        task_id = cluster.submit("sh", "-c", "echo $HAKURIVER_SHARED_DIR", targets=["own"])
        cluster.wait_final(task_id)
        assert cluster.output(task_id).decode().strip() == str(own / "shared_data")


def test_a_shared_directory_that_is_not_there_is_said_on_the_nodes_row(
    cluster: Cluster, tmp_path: Path
) -> None:
    argv = [*cluster.program, *settings_of_the_file(cluster), "--name", "far",
            "--shared-dir", str(tmp_path / "nothing")]  # fmt: skip
    environ = bare_environment(tmp_path / "home", HAKURIVER_TOKEN=TOKEN)
    with running(argv, environ, tmp_path / "log"):
        cluster.wait_online("far")
        wait_until(lambda: (cluster.node("far") or {})["problems"])
        assert "is not mounted" in (cluster.node("far") or {})["problems"][0]


def test_two_nodes_of_one_name_are_refused_with_a_hint(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_runner("twin")
    argv = [*cluster.program, *settings_of_the_file(cluster), "--name", "twin"]
    environ = bare_environment(tmp_path / "home", HAKURIVER_TOKEN=TOKEN)
    log = tmp_path / "log"
    with running(argv, environ, log):
        wait_until(lambda: "a node named twin is at work already" in log.read_text())
        assert "--name" in log.read_text()


def test_a_host_that_is_away_is_waited_for_and_then_remembered(
    program: list[str], tmp_path: Path
) -> None:
    with Cluster(program, auth_token=TOKEN) as cluster:
        argv = [*cluster.program, *settings_of_the_file(cluster), "--name", "early"]
        environ = bare_environment(tmp_path / "home", HAKURIVER_TOKEN=TOKEN)
        log = tmp_path / "log"
        with running(argv, environ, log):
            wait_until(lambda: "cannot join yet, still trying" in log.read_text())
            cluster.start_host()
            cluster.wait_online("early")
        cluster.host.stop()
        with running(argv, environ, log):
            wait_until(lambda: "what the host said earlier" in log.read_text())
            wait_until(lambda: "serving on" in log.read_text())


def test_a_wrong_token_or_address_ends_it_with_a_word(cluster: Cluster, tmp_path: Path) -> None:
    environ = bare_environment(tmp_path / "home", HAKURIVER_TOKEN="wrong")
    done = subprocess.run(
        [*cluster.program, *settings_of_the_file(cluster)],
        env=environ, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, "the token is wrong" in done.stderr) == (6, True), done.stderr
    done = subprocess.run(
        [*cluster.program, "runner", "--join", "http://a/b"],
        env=environ, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, "--join" in done.stderr) == (2, True), done.stderr
    runner = cluster.start_runner(online=False)
    done = subprocess.run(
        [*cluster.program, "runner", "--join", f"http://127.0.0.1:{runner.port}"],
        env=bare_environment(tmp_path / "home", HAKURIVER_TOKEN=TOKEN),
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, "is not the host" in done.stderr) == (2, True), done.stderr


def other_protocol(pyz: Path, folder: Path) -> Path:
    """The same program, but for the number of its protocol: a version that is yet to come."""
    made = folder / "other.pyz"
    with zipfile.ZipFile(pyz) as source, zipfile.ZipFile(made, "w") as target:
        for item in source.infolist():
            data = source.read(item)
            if item.filename == "hakuriver/__init__.py":
                assert b"PROTOCOL = 1" in data
                data = data.replace(b"PROTOCOL = 1", b"PROTOCOL = 2")
            target.writestr(item, data)
    return made


def test_another_protocol_is_a_state_of_the_node_and_loses_nothing(
    cluster: Cluster, pyz: Path, tmp_path: Path
) -> None:
    runner = cluster.start_runner("node1")
    task_id = cluster.submit("sh", "-c", "until [ -e go ]; do sleep 0.05; done; exit 9")
    cluster.wait_status(task_id, "running")
    ours = runner.argv
    runner.stop()
    runner.argv = [needs.base_python(), str(other_protocol(pyz, tmp_path)), "runner"]
    runner.start()
    wait_until(lambda: (cluster.node() or {})["protocol"] == 2)
    row: dict[str, Any] = cluster.node() or {}
    assert "update hakuriver.pyz" in row["problems"][0]
    waiting = cluster.submit("true")
    assert cluster.task(waiting)["status"] == "pending"
    assert "protocol 2" in cluster.client("nodes").out
    (cluster.shared / "shared_data" / "go").touch()
    runner.stop()
    runner.argv = ours
    runner.start()
    assert cluster.wait_final(task_id)["exit_code"] == 9
    assert cluster.wait_final(waiting)["status"] == "completed"
    assert (cluster.node() or {})["problems"] == []


def test_a_runner_cannot_join_a_host_of_another_protocol(
    cluster: Cluster, pyz: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [needs.base_python(), str(other_protocol(pyz, tmp_path)), *settings_of_the_file(cluster)],
        env=bare_environment(tmp_path / "home", HAKURIVER_TOKEN=TOKEN),
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert "speaks protocol 1, this file speaks 2" in done.stderr


def test_the_file_is_given_to_whoever_has_the_token(cluster: Cluster, pyz: Path) -> None:
    status, headers, content = cluster.api("GET", "/hakuriver.pyz")
    assert (status, content) == (200, pyz.read_bytes())
    version = json.loads(cluster.run("--version", "--json").out)
    assert headers["ETag"] == f'"{version["build"]}"'
    assert cluster.api("GET", "/hakuriver.pyz", headers={"Authorization": "Bearer x"})[0] == 401
