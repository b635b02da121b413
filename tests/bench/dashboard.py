"""What pages left open cost the host: the CPU time of its process, as a share of one core.

    python3 tests/bench/dashboard.py [--pages 10] [--nodes 20] [--tasks 1000] [--seconds 40]

Real runners on this machine, real tasks that sleep, and one more task that comes and goes every second.
A page is what it is for the host: a reader of GET /events that asks for its list again as the page of
tasks does. Printed are the host alone, with the pages, and the difference, which is the pages'.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import build_zipapp  # noqa: E402
from tests.support.cluster import Cluster  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

LIST = "/batches?page=1&limit=50"
LIST_SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pyz = Path(folder, "hakuriver.pyz")
        build_zipapp.build(ROOT, pyz, dashboard=False)
        # The intervals that users have, not those of tests.
        usual = {"timing_heartbeat_interval": 5, "timing_cleanup_check_interval": 10}
        with Cluster([sys.executable, str(pyz)], **usual) as cluster:
            fill(cluster, given.nodes, given.tasks)
            alone = share(cluster, given.seconds)
            stop = threading.Event()
            pages = [
                threading.Thread(target=read, args=(cluster.port, stop)) for _ in range(given.pages)
            ]
            for page in pages:
                page.start()
            share(cluster, 3)
            together = share(cluster, given.seconds)
            stop.set()
            for page in pages:
                page.join()
    print(f"{given.nodes} nodes, {given.tasks} running tasks; the host's share of one core:")
    print(f"  without pages   {alone:7.2%}")
    print(f"  {given.pages:3} pages       {together:7.2%}")
    print(f"  the pages' own  {together - alone:7.2%}")


def fill(cluster: Cluster, nodes: int, tasks: int) -> None:
    cluster.start_host()
    for number in range(nodes):
        cluster.start_runner(
            f"node{number + 1}", online=False, runner_cores=tasks, runner_max_tasks=tasks
        )
    for number in range(nodes):
        cluster.wait_online(f"node{number + 1}", timeout=60)
    cluster.client(
        "submit", "--sweep", "--", "sleep", f"span:{{10001..{10000 + tasks}}}", timeout=120
    )

    def run() -> int:
        return int(cluster.api("GET", "/batch/1")[2]["by_status"].get("running", 0))

    wait_until(lambda: run() == tasks, timeout=300, message=lambda: f"{run()} of {tasks} run")


def share(cluster: Cluster, seconds: float) -> float:
    """Of a core, over so many seconds, in each of which a task comes and goes."""
    before, begin = cpu_seconds(cluster.host.pid), time.monotonic()
    while time.monotonic() - begin < seconds:
        cluster.submit("true", required_cores=0)
        time.sleep(1)
    return (cpu_seconds(cluster.host.pid) - before) / (time.monotonic() - begin)


def cpu_seconds(pid: int) -> float:
    """proc(5): utime and stime, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read(port: int, stop: threading.Event) -> None:
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    stream.request("GET", "/events")
    answer = stream.getresponse()
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked = 0.0
    while not stop.is_set():
        line = answer.readline()
        if line == b"event: tasks\n" and time.monotonic() - asked >= LIST_SECONDS:
            asked = time.monotonic()
            asking.request("GET", LIST)
            asking.getresponse().read()
    stream.close()
    asking.close()


if __name__ == "__main__":
    main()
