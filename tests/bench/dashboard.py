"""What open pages of the dashboard cost the host: processor time with and without them, in one run.

    python3 tests/bench/dashboard.py [--pages 10] [--nodes 20] [--tasks 1000] [--seconds 20]

The host is a process of its own; the nodes are simulated here: they answer orders, send heartbeats
with a load that moves, and report, but run nothing. A page reads the stream of events to the end; the
page of tasks also asks for its list again, every two seconds at most, when tasks changed. Every figure
is processor time of the host as a ratio to one core, 1.0. What pages add is to stay below 0.05 with the
numbers above.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from hakuriver import PROTOCOL, __version__  # noqa: E402
from hakuriver.model.messages import (  # noqa: E402
    Fact,
    Heartbeat,
    Held,
    Orders,
    OrdersAnswer,
    Report,
    Reports,
)
from hakuriver.model.node import Capacity, NodeInfo, Vitals  # noqa: E402
from hakuriver.model.node_messages import node_to_json  # noqa: E402
from hakuriver.model.task import Ended, Observed, Result, State  # noqa: E402
from hakuriver.system.httpc import HttpClient  # noqa: E402
from hakuriver.system.httpd import HttpServer  # noqa: E402
from hakuriver.system.router import Request, Response, Route, Router  # noqa: E402

CORES = 64
BEAT_SECONDS = 5.0
LIST = "/batches?page=1&limit=50"
LIST_SECONDS = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Host:
    def __init__(self, home: Path) -> None:
        environment = {
            **os.environ,
            "HAKURIVER_HOME": str(home),
            "HAKURIVER_NETWORK_HOST_PORT": "0",
            "HAKURIVER_DOCKER_DEFAULT_CONTAINER_NAME": "NULL",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "hakuriver.py"), "host", "--child"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(home / "host.log").open("w"),
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().strip().rpartition(":")[2])
        self._local = threading.local()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Over one kept connection for each thread, as runners have one."""
        if not hasattr(self._local, "client"):
            self._local.client = HttpClient(f"http://127.0.0.1:{self.port}")
        return self._local.client.call(method, path, body=body, retry=True)


class Nodes:
    """Simulated runners behind one address. `ends` tasks a second end, and others take their place."""

    def __init__(self, host: Host, count: int) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._random = random.Random(1)
        self.ends = 0
        self.running: deque[tuple[str, int, int]] = deque()
        self._new: deque[tuple[str, int, int]] = deque()
        self._seen = {f"node{number:02}": (0, 0) for number in range(count)}
        self._load = dict.fromkeys(self._seen, 50.0)
        routes = [Route("POST", "/v1/orders", _orders)]
        self._server = HttpServer(("127.0.0.1", 0), Router(routes), self, name="nodes")
        self._server.start()
        for name in self._seen:
            info = NodeInfo(
                name, f"http://127.0.0.1:{self._server.port}", name, 1, "boot", __version__, PROTOCOL,
                Capacity(CORES, 256 << 30, 4 * CORES), "process",
            )  # fmt: skip
            host.ask("POST", "/v1/register", node_to_json(info))
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._beat, self._report)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._server.stop()

    def take(self, orders: Orders) -> OrdersAnswer:
        with self._lock:
            for order in orders.orders:
                self._new.append((orders.node, order.task, order.attempt))
                self._seen[orders.node] = max(self._seen[orders.node], order.seq)
        return OrdersAnswer(frozenset(order.seq for order in orders.orders))

    def _beat(self) -> None:
        """One node after the other, each every five seconds."""
        number = 0
        while True:
            for name in self._seen:
                number += 1
                with self._lock:
                    # Orders that were not told to run yet are not seen yet, either.
                    fresh = [each for each in self._new if each[0] == name]
                    seen = (0, 0) if fresh else self._seen[name]
                    held = tuple(
                        Held(task, attempt, State.RUNNING, 1)
                        for node, task, attempt in self.running
                        if node == name
                    )
                load = self._load[name] + self._random.uniform(-10, 10)
                self._load[name] = min(max(load, 0.0), 100.0)
                vitals = Vitals(self._load[name], int(self._load[name] * (1 << 30)), 256 << 30)
                beat = Heartbeat(name, 1, number, seen, held, vitals)
                self._host.ask("POST", "/v1/heartbeat", beat.to_json())
                if self._stopping.wait(BEAT_SECONDS / len(self._seen)):
                    return

    def _report(self) -> None:
        """Five times a second: what began, what ended; what ended is submitted anew."""
        owed = 0.0
        while not self._stopping.wait(0.2):
            with self._lock:
                new, self._new = list(self._new), deque()
                self.running += new
                owed += self.ends / 5
                over = [self.running.popleft() for _ in range(min(int(owed), len(self.running)))]
                owed -= len(over)
            self._tell(new, 1, Observed(State.RUNNING))
            self._tell(over, 2, Ended(Result(0)))
            for _ in over:
                self._host.ask("POST", "/submit", {"command": "simulate", "arguments": ["--again"]})

    def _tell(self, tasks: list[tuple[str, int, int]], n: int, fact: Fact) -> None:
        for name in {node for node, _, _ in tasks}:
            reports = tuple(
                Report(task, attempt, n, fact) for node, task, attempt in tasks if node == name
            )
            message = Reports(name, 1, time.time(), reports)
            self._host.ask("POST", "/v1/reports", message.to_json())


def _orders(request: Request, nodes: Nodes) -> Response:
    return Response.json(nodes.take(Orders.from_json(request.json())).to_json())


class Page:
    """Follows the stream until it is closed; size in bytes. lists: as the page of tasks does."""

    def __init__(self, host: Host, *, lists: bool) -> None:
        self._host, self._lists = host, lists
        self._connection = host.connect()
        self._connection.request("GET", "/events")
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self._socket = cast(Any, self._response.fp).raw._sock
        self.size = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        asking, asked = self._host.connect(), 0.0
        for line in self._response:
            self.size += len(line)
            due = time.monotonic() - asked >= LIST_SECONDS
            if self._lists and due and line == b"event: tasks\n":
                asked = time.monotonic()
                asking.request("GET", LIST)
                asking.getresponse().read()
        asking.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._response.close()
        self._connection.close()


def cores(host: Host, seconds: float) -> float:
    begin, cpu = time.perf_counter(), host.cpu_seconds()
    time.sleep(seconds)
    return (host.cpu_seconds() - cpu) / (time.perf_counter() - begin)


def with_pages(host: Host, count: int, seconds: float, *, lists: bool) -> tuple[float, float]:
    """(cores, KiB a second to each page). What a page gets first is not what is measured."""
    pages = [Page(host, lists=lists) for _ in range(count)]
    time.sleep(1)
    before = sum(page.size for page in pages)
    used = cores(host, seconds)
    told = sum(page.size for page in pages) - before
    for page in pages:
        page.close()
    return used, told / count / seconds / 1024


def wait_for(so: Callable[[], bool]) -> None:
    while not so():
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as home:
        host = Host(Path(home))
        nodes = Nodes(host, given.nodes)
        try:
            axis = [str(number) for number in range(given.tasks)]
            sweep = {"words": [["simulate"], [0]], "axes": [axis], "names": [""], "zipped": False}
            host.ask("POST", "/submit", {"sweep": sweep})
            wait_for(lambda: len(nodes.running) == given.tasks)
            print(f"{given.nodes} nodes, {given.tasks} running tasks, {given.pages} pages")
            print(f"{'':<26}{'nobody':>8}{'KiB/s each':>12}{'pages add':>11}{'of tasks add':>14}")
            for ends in (0, 5, 20):
                nodes.ends = ends
                measure(host, f"{ends} tasks a second end" if ends else "tasks run on", given)
                assert nodes.alive, "the simulated nodes gave up: what was measured is not true"
        finally:
            nodes.stop()
            host.stop()


def measure(host: Host, what: str, given: argparse.Namespace) -> None:
    """In turn, so that a machine that changes its speed changes it for all."""
    rounds = []
    for _ in range(given.rounds):
        alone = cores(host, given.seconds)
        pages, told = with_pages(host, given.pages, given.seconds, lists=False)
        of_tasks, _ = with_pages(host, given.pages, given.seconds, lists=True)
        rounds.append((alone, told, pages - alone, of_tasks - alone))
    alone, told, pages, of_tasks = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"{what:<26}{alone:8.3f}{told:12.1f}{pages:11.3f}{of_tasks:14.3f}", flush=True)


if __name__ == "__main__":
    main()
