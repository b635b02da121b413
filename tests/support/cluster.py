"""A real cluster of processes on the loopback interface, driven as a user would drive it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hakuriver.system.config import SETTINGS
from tests.support.processes import files_of_all
from tests.support.program import Program
from tests.support.wait import wait_until

FINAL = ("completed", "failed", "killed", "killed_oom")
VARIABLES = {f"{setting.section}_{setting.key}": setting.variable for setting in SETTINGS}
BRISK = {
    "docker_default_container_name": "NULL",
    "timing_heartbeat_interval": 0.5,
    "timing_heartbeat_timeout_factor": 10,
    "timing_cleanup_check_interval": 0.5,
    "runner_kill_grace": 2,
}


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command of ours ended; out and err are for reading, stdout and stderr for comparing."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def err(self) -> str:
        return self.stderr.decode(errors="replace")


class Cluster:
    """`with Cluster(program) as cluster:`; program is the argv that HakuRiver is called with.

    Settings are keyword arguments named SECTION_KEY (runner_cores=2, auth_token="x"), for all
    programs here, or for one host or runner there. At the end everything that was started is
    stopped, tasks and containers included, and AssertionError tells what went wrong unseen.
    """

    def __init__(self, program: Sequence[str], **settings: object) -> None:
        self.program = list(program)
        self.settings: dict[str, object] = {**BRISK, **settings}
        self.home = Path(tempfile.mkdtemp(prefix="hakuriver-test-"))
        self.home.chmod(0o755)  # other users' tasks have to pass through
        self.shared = Path(str(settings.get("paths_shared_dir", self.home / "shared")))
        self.runners: dict[str, Program] = {}
        self._host: Program | None = None
        self._clients: list[subprocess.Popen[bytes]] = []
        self._port = 0

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        problems = self.close()
        logs = self.logs()
        if not os.environ.get("HAKURIVER_TESTS_KEEP"):
            shutil.rmtree(self.home, ignore_errors=True)
        if error is not None:
            print("\n".join([*problems, logs]))
        elif problems:
            raise AssertionError("\n".join([*problems, logs]))

    # Programs

    @property
    def host(self) -> Program:
        assert self._host is not None, "start_host() first"
        return self._host

    @property
    def port(self) -> int:
        """The host's, chosen here so that runners and clients may be started before it."""
        self._port = self._port or free_port()
        return self._port

    @property
    def programs(self) -> list[Program]:
        return [*self.runners.values(), *([self._host] if self._host else [])]

    def start_host(self, **settings: object) -> Program:
        # Port 0 unless somebody has been told a port already.
        environ = self.environ(**{"network_host_port": self._port, **settings})
        self._host = Program("host", [*self.program, "host"], environ, self.home / "host.log")
        self._host.start()
        self._port = self._host.port
        self._host.environ = self.environ(**{"network_host_port": self._port, **settings})
        return self._host

    def start_runner(
        self, name: str = "node1", *, online: bool | None = None, **settings: object
    ) -> Program:
        """Start a runner; wait until the host lists it as online (default: if the host runs)."""
        given = {"runner_name": name, "network_runner_port": 0, **settings}
        log = self.home / f"runner-{name}.log"
        runner = Program(name, [*self.program, "runner"], self.environ(**given), log)
        self.runners[name] = runner
        runner.start()
        runner.environ = self.environ(**{**given, "network_runner_port": runner.port})
        if online if online is not None else bool(self._host and self._host.running):
            self.wait_online(name)
        return runner

    def environ(self, **settings: object) -> dict[str, str]:
        """The environment of one program of ours: nothing of the caller's own HakuRiver."""
        given = {**self.settings, **settings}
        if "network_host_port" not in given:
            given["network_host_port"] = self.port
        unknown = given.keys() - VARIABLES.keys()
        assert not unknown, f"no such settings: {sorted(unknown)}"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("HAKURIVER_")
        }
        texts = {VARIABLES[name]: as_text(value) for name, value in given.items()}
        return {**clean, "HAKURIVER_HOME": str(self.home), **texts}

    # Commands

    def run(
        self,
        *args: str,
        check: bool = True,
        timeout: float = 60,
        input: bytes | None = None,
        **environ: str,
    ) -> Completed:
        """Run a command of ours; environ is added to its environment as it is."""
        done = subprocess.run(
            [*self.program, *args],
            env={**self.environ(), **environ},
            input=b"" if input is None else input,
            capture_output=True,
            timeout=timeout,
        )
        completed = Completed(done.returncode, done.stdout, done.stderr)
        if check:
            assert done.returncode == 0, (
                f"{args} -> {done.returncode}\n{completed.out}{completed.err}"
            )
        return completed

    def client(
        self, *args: str, check: bool = True, timeout: float = 60, input: bytes | None = None
    ) -> Completed:
        return self.run("client", *args, check=check, timeout=timeout, input=input)

    def popen_client(self, *args: str) -> subprocess.Popen[bytes]:
        """A client with pipes, ended with the cluster if it still runs then."""
        pipe = subprocess.PIPE
        argv = [*self.program, "client", *args]
        process = subprocess.Popen(
            argv, env=self.environ(), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self._clients.append(process)
        return process

    # The API

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        timeout: float = 70,
    ) -> tuple[int, http.client.HTTPMessage, Any]:
        """(status, headers, JSON value or bytes); body is sent as JSON unless it is bytes."""
        token = self.settings.get("auth_token")
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, response.headers, json.loads(content) if is_json else content

    def submit(self, *argv: str, **options: object) -> str:
        """Submit one task; options are further fields of POST /submit. Returns its id."""
        (task_id,) = self.submit_all(*argv, **options)
        return task_id

    def submit_all(self, *argv: str, **options: object) -> list[str]:
        body = {"command": argv[0], "arguments": list(argv[1:]), **options}
        status, _, answer = self.api("POST", "/submit", body)
        assert status == 202, answer
        return list(answer["task_ids"])

    def task(self, task_id: str) -> dict[str, Any]:
        status, _, answer = self.api("GET", f"/status/{task_id}")
        assert status == 200, answer
        return dict(answer)

    def wait_status(self, task_id: str, *statuses: str, timeout: float = 15) -> dict[str, Any]:
        """The task once it has one of these statuses; a host that is away is waited for."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            try:
                seen.update(self.task(task_id))
            except OSError:
                return False
            return seen["status"] in statuses

        try:
            wait_until(reached, timeout=timeout)
        except AssertionError:
            raise AssertionError(
                f"task {task_id} not {statuses} in {timeout:g} s: {seen}"
            ) from None
        return seen

    def wait_final(self, task_id: str, timeout: float = 30) -> dict[str, Any]:
        return self.wait_status(task_id, *FINAL, timeout=timeout)

    def output(self, task_id: str, stream: str = "stdout") -> bytes:
        """Empty as long as its keeper has not made the file: a task may be running before."""
        status, _, content = self.api("GET", f"/task/{task_id}/{stream}")
        if status == 404 and f"has written no {stream} yet" in content["detail"]:
            return b""
        assert status == 200, content
        return bytes(content)

    def node(self, name: str = "node1") -> dict[str, Any] | None:
        _, _, nodes = self.api("GET", "/nodes")
        return next((node for node in nodes if node["hostname"] == name), None)

    def wait_online(self, name: str = "node1", *, timeout: float = 15) -> None:
        def online() -> bool:
            node = self.node(name)
            return node is not None and node["status"] == "online"

        wait_until(online, timeout=timeout, message=f"{name} is online")

    # The end

    def cluster_id(self) -> str:
        """As the host wrote it; empty before a host ever started here."""
        try:
            return str(json.loads((self.shared / ".hakuriver.json").read_text())["cluster"])
        except FileNotFoundError:
            return ""

    def logs(self) -> str:
        return "\n".join(program.tail() for program in self.programs)

    def close(self) -> list[str]:
        """Stop and remove everything of this cluster; returns what went wrong unseen."""
        for process in self._clients:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
                pipe.close()
        for program in self.programs:
            program.stop()
        problems = [problem for program in self.programs for problem in program.problems]
        problems += [
            f"{p.log.name} holds a Traceback" for p in self.programs if "Traceback" in p.log_text()
        ]
        cluster = self.cluster_id()
        if cluster:
            remove_containers(cluster)
            kill_tasks(cluster)
        return problems


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def task_processes(cluster: str) -> list[int]:
    """Processes whose environment says that they belong to a task of this cluster."""
    wanted = f"HAKURIVER_CLUSTER={cluster}".encode()
    return [pid for pid, environ in files_of_all("environ") if wanted in environ.split(b"\0")]


def kill_tasks(cluster: str) -> None:
    """Kill them until none is left, since some may be just forking."""

    def none_left() -> bool:
        pids = task_processes(cluster)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not pids

    wait_until(none_left, message=f"no process of cluster {cluster} is left")


def remove_containers(cluster: str) -> None:
    if not shutil.which("docker"):
        return
    argv = ["docker", "ps", "--all", "--quiet", "--filter", f"label=hakuriver.cluster={cluster}"]
    listed = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.split()
    if listed:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", *listed], capture_output=True, timeout=60
        )
