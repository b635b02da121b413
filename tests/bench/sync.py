"""Bringing an environment to a node, beside a bare `docker load -i` of the same tarball.

    python3 tests/bench/sync.py --image busybox [--megabytes 300] [--rounds 3]

From the request to a node that has the image: reading, checking the SHA-256, loading.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "dist" / "hakuriver.pyz"
OURS = [sys.executable, str(PROGRAM)]


@contextmanager
def cluster(home: Path) -> Iterator[dict[str, str]]:
    """A host and a node; the environment in which a client finds them."""
    environment = {
        **os.environ,
        "HAKURIVER_HOME": str(home),
        "HAKURIVER_NETWORK_HOST_PORT": "0",
        "HAKURIVER_NETWORK_RUNNER_PORT": "0",
        "HAKURIVER_DOCKER_DEFAULT_CONTAINER_NAME": "NULL",
    }
    processes = []
    try:
        for role in ("host", "runner"):
            process = subprocess.Popen(
                [*OURS, role, "--child"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=(home / f"{role}.log").open("w"),
                text=True,
            )
            processes.append(process)
            assert process.stdout is not None
            port = process.stdout.readline().strip().rpartition(":")[2]
            if role == "host":
                environment["HAKURIVER_NETWORK_HOST_PORT"] = port
        while '"online"' not in client(environment, "client", "nodes", "--json"):
            time.sleep(0.1)
        yield environment
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def client(environment: dict[str, str], *argv: str) -> str:
    done = subprocess.run([*OURS, *argv], env=environment, check=True, capture_output=True)
    return done.stdout.decode()


def timed(argv: list[str], image: str, environment: dict[str, str]) -> float:
    subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=True)
    begin = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="one that the engine has, with /bin/sh")
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    subprocess.run([sys.executable, str(ROOT / "build_zipapp.py")], check=True)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    image = f"hakuriver/{name}:base"
    with tempfile.TemporaryDirectory() as home, cluster(Path(home)) as environment:
        try:
            client(environment, "docker", "create-container", given.image, name)
            fill = ["dd", "if=/dev/urandom", "of=/fill", "bs=1M", f"count={given.megabytes}"]
            subprocess.run(["docker", "exec", name, *fill], check=True, capture_output=True)
            packed = json.loads(client(environment, "docker", "create-tar", name, "--json"))
            tarball = packed["result"]["tarball_path"]
            ours = [*OURS, "docker", "sync", name]
            theirs = ["docker", "load", "-i", tarball]
            pairs = [
                (timed(ours, image, environment), timed(theirs, image, environment))
                for _ in range(given.rounds)
            ]
        finally:
            subprocess.run(["docker", "rm", "--force", name], capture_output=True)
            subprocess.run(["docker", "rmi", "--force", image], capture_output=True)
    mine, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"{given.megabytes} MB to a node: {mine:.2f} s, docker load -i {other:.2f} s,"
        f" x {statistics.median(a / b for a, b in pairs):.2f}"
    )


if __name__ == "__main__":
    main()
