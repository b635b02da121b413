"""Tasks that bear witness: each leaves a line in a file of its own when it starts and when it ends."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.cluster import FINAL, Cluster
from tests.support.wait import wait_until


def witness(script: str = "") -> list[str]:
    """The argv of a task that runs script, says so, and ends with the script's exit code."""
    place = 'ran/"$HAKURIVER_TASK_ID"'
    body = f"({script or ':'})"
    return ["sh", "-c", f"echo start >>{place}; {body}; code=$?; echo end >>{place}; exit $code"]


def until_file(name: str) -> str:
    """A script that waits for a file in the shared directory, quickly and cheaply."""
    return f"while [ ! -e {name} ]; do sleep 0.05; done"


def prepare(cluster: Cluster) -> Path:
    """Where witnesses write; after the host was started."""
    folder = cluster.shared / "shared_data" / "ran"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)
    return folder


def ran(cluster: Cluster, task_id: str) -> list[str]:
    """The lines that the task has left."""
    path = cluster.shared / "shared_data" / "ran" / task_id
    return path.read_text().split() if path.exists() else []


def wait_ran(cluster: Cluster, task_id: str, lines: int) -> None:
    """Until the task has left so many lines, whatever host and runner know of it."""
    wait_until(
        lambda: len(ran(cluster, task_id)) == lines, message=f"{task_id} leaves {lines} lines"
    )


def signal_file(cluster: Cluster, name: str) -> None:
    (cluster.shared / "shared_data" / name).touch()


def all_final(cluster: Cluster, ids: Iterable[str], timeout: float = 60) -> dict[str, Any]:
    """The tasks by id, once all of them have ended."""
    wanted = list(ids)
    found: dict[str, Any] = {}

    def reached() -> bool:
        try:
            status, _, tasks = cluster.api("GET", f"/tasks?limit=1000&ids={','.join(wanted)}")
        except OSError:
            return False
        assert status == 200, tasks
        found.update({task["task_id"]: task for task in tasks})
        return len(found) == len(wanted) and all(t["status"] in FINAL for t in found.values())

    try:
        wait_until(reached, timeout=timeout)
    except AssertionError:
        open_ones = {i: t["status"] for i, t in found.items() if t["status"] not in FINAL}
        missing = set(wanted) - found.keys()
        raise AssertionError(f"missing: {missing}, not final: {open_ones}") from None
    return found


def assert_ran_once(cluster: Cluster, tasks: dict[str, Any], code: int | None = 0) -> None:
    wrong = {
        task_id: (ran(cluster, task_id), task["status"], task["exit_code"], task["error_message"])
        for task_id, task in tasks.items()
        if ran(cluster, task_id) != ["start", "end"] or task["exit_code"] != code
    }
    assert not wrong, wrong


def seeded(name: str) -> random.Random:
    """HAKURIVER_TESTS_SEED chooses other moments than the usual ones."""
    return random.Random(name + os.environ.get("HAKURIVER_TESTS_SEED", ""))


def random_moment(rng: random.Random, longest: float) -> None:
    """Faults come at any time: let some of it pass, up to so many seconds."""
    threading.Event().wait(rng.uniform(0, longest))


@dataclass
class Burst:
    """Submissions from several threads that go on through every fault, each with its own key."""

    cluster: Cluster
    argv: list[str]
    count: int
    options: dict[str, object] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    threads: int = 4

    @contextmanager
    def running(self) -> Iterator[Burst]:
        workers = [
            threading.Thread(target=self._work, args=(range(n, self.count, self.threads),))
            for n in range(self.threads)
        ]
        for worker in workers:
            worker.start()
        try:
            yield self
        finally:
            for worker in workers:
                worker.join()
        assert not self.problems, self.problems[:3]

    def _work(self, numbers: range) -> None:
        try:
            for number in numbers:
                key = f"burst-{number}"
                wait_until(partial(self._submit, key), timeout=60, message=key)
        except Exception as error:
            self.problems.append(repr(error))

    def _submit(self, key: str) -> bool:
        body = {"command": self.argv[0], "arguments": self.argv[1:], **self.options}
        try:
            status, _, answer = self.cluster.api(
                "POST", "/submit", body, {"Idempotency-Key": key}, timeout=10
            )
        except OSError:
            return False
        except Exception as error:
            # A connection that is cut in the middle of an answer.
            if type(error).__module__ == "http.client":
                return False
            raise
        if status == 503:
            return False
        assert status == 202, answer
        (self.acknowledged[key],) = answer["task_ids"]
        return True
