"""HakuRiver on the nodes of a lab: the file is copied, the services are systemd's."""

from __future__ import annotations

import http.client
import json
import random
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab
from tests.lab.node import SHARED, STATE, Node
from tests.lab.proxy import Proxy
from tests.support.images import system_tar
from tests.support.wait import wait_until

PROGRAM = "/opt/hakuriver/hakuriver.pyz"
CONFIG = "/etc/hakuriver/config.toml"
TOKEN = "of-the-lab"
PORT = 8000
ENVIRONMENT = "box"
_START_SECONDS = 40.0
# Sooner than in real life: many crashes have to fit into a short test.
_SOONER = "[Service]\nRestartSec=0.3\n"


class LabCluster:
    """One host and some runners, each on a node of its own; all their traffic passes proxies.

    Commands are run on the host's node, as somebody would who is logged in there.
    """

    def __init__(
        self, lab: Lab, pyz: Path, *, runners: int, seed: int = 0, **settings: str
    ) -> None:
        self.lab = lab
        self._pyz = pyz
        self._settings = settings
        self._gateway = lab.gateway
        self._rng = random.Random(seed)
        witness = lab.site.home / "witness"
        witness.mkdir()
        witness.chmod(0o1777)
        self.witness = witness
        self._mounts = [f"{witness}:/witness"]
        self.host = lab.add("host", mounts=self._mounts)
        self.to_host = Proxy(self._gateway, (self.host.address, PORT), self._rng)
        self.runners: dict[str, Node] = {}
        self.to_runner: dict[str, Proxy] = {}
        for number in range(1, runners + 1):
            self.add_runner(f"node{number}")

    def close(self) -> None:
        for proxy in (self.to_host, *self.to_runner.values()):
            proxy.stop()

    # Setting up

    def add_runner(self, name: str) -> Node:
        node = self.lab.add(name, mounts=self._mounts)
        proxy = Proxy(self._gateway, (node.address, PORT + 1), self._rng)
        # Where the host finds the runner has the proxy's port, and so the runner has it too.
        proxy.target = (node.address, proxy.port)
        self.runners[name], self.to_runner[name] = node, proxy
        return node

    def start(self) -> None:
        self._deploy(self.host, "host", "")
        self.wait_answer()
        for name, node in self.runners.items():
            self._deploy(node, "runner", name)
        for name in self.runners:
            self.wait_online(name)
        self._publish_environment()

    def _deploy(self, node: Node, role: str, name: str) -> None:
        node.put(PROGRAM, self._pyz.read_bytes(), mode=0o755)
        node.put(CONFIG, self._config(name), mode=0o600)
        node.put(f"/etc/systemd/system/hakuriver-{role}.service.d/sooner.conf", _SOONER)
        node.run(PROGRAM, "init", "service", f"--{role}", "--config", CONFIG)
        node.run("systemctl", "enable", "--now", "--quiet", f"hakuriver-{role}.service")

    def _config(self, name: str) -> str:
        proxy = self.to_runner.get(name)
        values = {
            "network.host_bind_ip": "0.0.0.0",
            "network.host_port": PORT,
            "network.host_reachable_address": self._gateway if name else "127.0.0.1",
            "network.runner_bind_ip": "0.0.0.0",
            "network.runner_address": self._gateway,
            "network.runner_port": proxy.port if proxy else PORT + 1,
            "auth.token": TOKEN,
            "paths.shared_dir": SHARED,
            "paths.local_temp_dir": f"{STATE}/temp",
            "paths.runner_state_dir": f"{STATE}/runners",
            "database.db_file": f"{STATE}/host/cluster.db",
            "timing.heartbeat_interval": 0.5,
            "timing.heartbeat_timeout_factor": 8,
            "timing.cleanup_check_interval": 0.5,
            "runner.kill_grace": 2,
            "runner.cores": 4,
            "docker.default_container_name": "NULL",
            **self._settings,
        }
        if name:
            values["runner.name"] = name
            values["network.host_port"] = self.to_host.port
        sections: dict[str, list[str]] = {}
        for key, value in values.items():
            section, _, word = key.partition(".")
            sections.setdefault(section, []).append(f"{word} = {json.dumps(value)}")
        return "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())

    def _publish_environment(self) -> None:
        """As a user does it: an image, a container, a tarball; the nodes fetch it by themselves."""
        self.host.run("docker", "import", "--change", "ENV PATH=/bin", "-", "box:1",
                      input=system_tar())  # fmt: skip
        self.command("docker", "create-container", "box:1", ENVIRONMENT)
        self.command("docker", "create-tar", ENVIRONMENT)

    # Using it

    def command(self, *argv: str, check: bool = True, timeout: float = 120) -> str:
        return self.host.run(
            "python3", PROGRAM, *argv, check=check, timeout=timeout, HAKURIVER_CONFIG=CONFIG
        ).out

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        timeout: float = 10,
    ) -> tuple[int, Any]:
        """(status, JSON value or bytes). Raises OSError if there is no whole answer."""
        connection = http.client.HTTPConnection(self._gateway, self.to_host.port, timeout=timeout)
        sent = {"Authorization": f"Bearer {TOKEN}", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            content = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"torn: {error!r}") from error
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(content) if is_json else content

    def wait_answer(self) -> None:
        def answers() -> bool:
            try:
                return self.api("GET", "/")[0] == 200
            except OSError:
                return False

        wait_until(answers, timeout=_START_SECONDS, message=lambda: self.journals(self.host))

    def node_rows(self) -> dict[str, dict[str, Any]]:
        try:
            status, rows = self.api("GET", "/nodes")
        except OSError:
            return {}
        return {row["hostname"]: row for row in rows} if status == 200 else {}

    def wait_online(self, name: str, *, timeout: float = _START_SECONDS) -> None:
        def fit() -> bool:
            row = self.node_rows().get(name, {})
            return row.get("status") == "online" and not row["problems"]

        wait_until(fit, timeout=timeout,
                   message=lambda: f"{name} is fit: {self.node_rows().get(name)}")  # fmt: skip

    def wait_final(self, task_id: str, *, timeout: float = 30) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def final() -> bool:
            seen.update(self.api("GET", f"/status/{task_id}")[1])
            return seen["status"] in ("completed", "failed", "killed", "killed_oom")

        wait_until(final, timeout=timeout, message=lambda: f"task {task_id} is final: {seen}")
        return seen

    def submit(self, *argv: str, **options: object) -> str:
        body = {"command": argv[0], "arguments": list(argv[1:]), **options}
        status, answer = self.api("POST", "/submit", body)
        assert status == 202, answer
        (task_id,) = answer["task_ids"]
        return str(task_id)

    def output(self, task: dict[str, Any], stream: str = "stdout") -> bytes:
        """As it lies in the shared directory."""
        path = str(task[f"{stream}_path"])
        return (self.lab.shared / Path(path).relative_to(SHARED)).read_bytes()

    def journals(self, *nodes: Node) -> str:
        wanted = nodes or (self.host, *self.runners.values())
        return "\n".join(f"--- {node.name}\n{node.journal('hakuriver-*', 80)}" for node in wanted)
