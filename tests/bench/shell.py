"""A keystroke's way to a shell and back, beside `docker exec -it` into the same container.

    python3 tests/bench/shell.py --image busybox [--keys 500] [--rounds 5]

Each figure is the median of a round: one key is typed, and the time until its echo is taken.
"""

from __future__ import annotations

import argparse
import os
import pty
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
READY = b"ready-42"


def until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 4096)


@contextmanager
def shell(argv: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A terminal on which this command's shell answers."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        os.write(ours, b"echo ready-$((40+2))\r")
        until(ours, READY)
        # No echo of a prompt's editing in between: each key comes back as one byte.
        os.write(ours, b"PS1=; stty raw echo; echo begun-$((40+2)); cat >/dev/null\r")
        until(ours, b"begun-42")
        os.write(ours, b"q")
        until(ours, b"q")
        yield ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def keystroke(terminal: int, keys: int) -> float:
    times = []
    for _ in range(keys):
        begin = time.perf_counter()
        os.write(terminal, b"k")
        until(terminal, b"k")
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@contextmanager
def host(home: Path) -> Iterator[dict[str, str]]:
    """The environment in which a client finds it."""
    environment = {
        **os.environ,
        "TERM": "xterm",
        "HAKURIVER_HOME": str(home),
        "HAKURIVER_NETWORK_HOST_PORT": "0",
        "HAKURIVER_DOCKER_DEFAULT_CONTAINER_NAME": "NULL",
    }
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "host", "--child"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(home / "host.log").open("w"),
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        yield {**environment, "HAKURIVER_NETWORK_HOST_PORT": port}
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="one that the engine has, with /bin/sh")
    parser.add_argument("--keys", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    subprocess.run([sys.executable, str(ROOT / "build_zipapp.py")], check=True)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    ours = [sys.executable, str(PROGRAM)]
    with tempfile.TemporaryDirectory() as home, host(Path(home)) as environment:
        try:
            subprocess.run(
                [*ours, "docker", "create-container", given.image, name],
                env=environment,
                check=True,
            )
            with (
                shell([*ours, "docker-shell", name], environment) as here,
                shell(["docker", "exec", "-it", name, "/bin/sh"], environment) as there,
            ):
                pairs = [
                    (keystroke(here, given.keys), keystroke(there, given.keys))
                    for _ in range(given.rounds)
                ]
        finally:
            subprocess.run(["docker", "rm", "--force", name], capture_output=True)
    mine, other = (statistics.median(each) * 1e6 for each in zip(*pairs, strict=True))
    print(f"keystroke: {mine:.0f} us, docker exec -it: {other:.0f} us, x {mine / other:.2f}")


if __name__ == "__main__":
    main()
