"""How fast tasks go through, beside what a user would run instead, in one run on one machine.

    python3 tests/bench/throughput.py [--tasks 1000] [--docker IMAGE] [--rounds 3]

Every figure is a ratio: 1.0 is the other tool. The cluster is a host and a runner as processes of
their own with everything durable; the client keeps its connections open, as any program that
submits many tasks would.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Cluster:
    def __init__(self, home: Path, cores: int) -> None:
        self.environment = {
            **os.environ,
            "HAKURIVER_HOME": str(home),
            "HAKURIVER_NETWORK_HOST_PORT": "0",
            "HAKURIVER_NETWORK_RUNNER_PORT": "0",
            "HAKURIVER_RUNNER_CORES": str(cores),
            "HAKURIVER_DOCKER_DEFAULT_CONTAINER_NAME": "NULL",
        }
        self._home = home
        self._host, url = self._spawn("host")
        self.port = int(url.rpartition(":")[2])
        self.environment["HAKURIVER_NETWORK_HOST_PORT"] = str(self.port)
        self._runner, _ = self._spawn("runner")
        while not any(node["status"] == "online" for node in self.get("/nodes")):
            time.sleep(0.05)

    def _spawn(self, name: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "hakuriver.py"), name, "--child"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._home / f"{name}.log").open("w"),
            text=True,
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def stop(self) -> None:
        for process in (self._runner, self._host):
            process.terminate()
            process.wait()

    def get(self, path: str) -> list[dict[str, object]]:
        return list(json.loads(self.ask(self.connect(), "GET", path)))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port)

    @staticmethod
    def ask(
        connection: http.client.HTTPConnection, method: str, path: str, body: object = None
    ) -> bytes:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status < 300, data
        return data


def run_tasks(cluster: Cluster, count: int, body: dict[str, object], clients: int = 4) -> float:
    """Seconds from the first submission to the last known exit code."""
    ids: list[int] = []

    def submit(share: int) -> None:
        connection = cluster.connect()
        for _ in range(share):
            answer = json.loads(cluster.ask(connection, "POST", "/submit", body))
            ids.append(int(answer["task_ids"][0]))

    begin = time.perf_counter()
    threads = [threading.Thread(target=submit, args=(count // clients,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection = cluster.connect()
    for task_id in sorted(ids, reverse=True):
        while True:
            task = json.loads(cluster.ask(connection, "GET", f"/status/{task_id}?wait=30"))
            if task["status"] in ("completed", "failed", "killed", "killed_oom"):
                assert task["status"] == "completed", task
                break
    return time.perf_counter() - begin


def run_sweep(cluster: Cluster, count: int, body: dict[str, object]) -> float:
    """The same as one batch: one request, as `client submit --sweep` sends it."""
    axis = [str(number) for number in range(count)]
    words = [[str(body["command"])], [0]]
    sweep = {"words": words, "axes": [axis], "names": [""], "zipped": False}
    connection = cluster.connect()
    begin = time.perf_counter()
    rest = {name: value for name, value in body.items() if name != "command"}
    answer = json.loads(cluster.ask(connection, "POST", "/submit", {**rest, "sweep": sweep}))
    while True:
        batch = json.loads(cluster.ask(connection, "GET", f"/batch/{answer['batch_id']}"))
        if batch["by_status"].get("completed", 0) == count:
            return time.perf_counter() - begin
        time.sleep(0.02)


def run_command(argv: list[str], lines: int = 0) -> float:
    begin = time.perf_counter()
    text = "".join(f"{number}\n" for number in range(lines))
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
    return time.perf_counter() - begin


def latency(cluster: Cluster, body: dict[str, object]) -> float:
    connection = cluster.connect()
    begin = time.perf_counter()
    task_id = json.loads(cluster.ask(connection, "POST", "/submit", body))["task_ids"][0]
    status = ""
    revision = 0
    while status not in ("completed", "failed"):
        path = f"/status/{task_id}?wait=30&since={revision}"
        task = json.loads(cluster.ask(connection, "GET", path))
        status, revision = str(task["status"]), int(task["revision"])
    assert status == "completed", task
    return time.perf_counter() - begin


def beside(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> None:
    """In turn, so that a machine that changes its speed changes it for both."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"{name:<52} {mine * 1000:9.1f} ms  {other * 1000:9.1f} ms"
        f"  time x {ratio:5.2f}  rate x {1 / ratio:5.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--docker", metavar="ENV", help="also containers of hakuriver/ENV:base")
    given = parser.parse_args()
    cores = os.cpu_count() or 2
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as home:
        cluster = Cluster(Path(home), cores)
        try:
            print(f"{'':<52} {'HakuRiver':>12}  {'the other':>12}")
            bare: dict[str, object] = {"command": "/bin/true"}
            for reserved in (0, 1):
                body = {**bare, "required_cores": reserved}
                beside(
                    f"{given.tasks} x /bin/true --cores {reserved}, against xargs -P{cores}",
                    lambda body=body: run_tasks(cluster, given.tasks, body),
                    lambda: run_command(["xargs", "-n1", f"-P{cores}", "/bin/true"], given.tasks),
                    given.rounds,
                )
            body = {**bare, "required_cores": 0}
            beside(
                f"{given.tasks} x /bin/true as one sweep, against xargs -P{cores}",
                lambda: run_sweep(cluster, given.tasks, body),
                lambda: run_command(["xargs", "-n1", f"-P{cores}", "/bin/true"], given.tasks),
                given.rounds,
            )
            beside(
                "one /bin/true, against sh -c /bin/true",
                lambda: latency(cluster, bare),
                lambda: run_command(["/bin/sh", "-c", "/bin/true; exit 0"]),
                20,
            )
            if given.docker:
                docker_rounds(cluster, given.docker, given.rounds)
        finally:
            cluster.stop()


def docker_rounds(cluster: Cluster, environment: str, rounds: int) -> None:
    body = {"command": "true", "container_name": environment, "required_cores": 0.25}
    run = [
        "docker", "run", "--rm", "--network", "host", "--init", "--log-driver", "none", "--cpus",
        "0.25", "--cap-add", "SYS_NICE", f"hakuriver/{environment}:base", "true",
    ]  # fmt: skip
    beside("one container, against docker run --rm", lambda: latency(cluster, body),
           lambda: run_command(run), 10)  # fmt: skip
    wrapped = ["xargs", "-P4", "-I{}", *run]
    beside("50 containers, against xargs -P4 docker run --rm", lambda: run_tasks(cluster, 48, body),
           lambda: run_command(wrapped, 48), rounds)  # fmt: skip


if __name__ == "__main__":
    main()
