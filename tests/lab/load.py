"""People who use a cluster while it is being broken: they submit, kill, pause, and try again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.lab.account import SCRIPT
from tests.lab.cluster import ENVIRONMENT, LabCluster

_PER_SECOND = 6.0
_SUBMITTERS = 8
_KEEP_RECENT = 60


@dataclass
class Load:
    """start(), stop() once no fault is left; then accepted and acts tell what there is to account for.

    accepted maps an idempotency key to the id that was acknowledged for it.
    """

    cluster: LabCluster
    seed: int
    accepted: dict[str, str] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    requeued: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)
    again: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, number), name="load", daemon=True)
            for number, work in enumerate([self._submit] * _SUBMITTERS + [self._meddle])
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """What was not acknowledged yet is asked for until it is."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def abandon(self) -> None:
        """Give up at once, also on what was not acknowledged."""
        self._abandoned.set()
        self.stop()

    def _guarded(self, work: Callable[[random.Random], None], number: int) -> None:
        rng = random.Random(f"{self.seed} {number}")
        try:
            while not self._stopping.is_set():
                work(rng)
        except Exception as error:
            self.problems.append(repr(error))

    # Submitting

    def _submit(self, rng: random.Random) -> None:
        self._stopping.wait(rng.expovariate(_PER_SECOND / _SUBMITTERS))
        key = f"{rng.getrandbits(64):x}"
        body = self._body(rng)
        while not self._abandoned.is_set():
            status, answer = self._ask(
                "POST", "/submit", body, {"Idempotency-Key": key}, rng.choice((0.05, 0.3, 3))
            )
            if status == 202:
                (self.accepted[key],) = answer["task_ids"]
                return
            if status not in (0, 503):
                self.problems.append(f"submission {key}: {status} {answer}")
                return
            self.again += 1
            threading.Event().wait(0.1)

    def _body(self, rng: random.Random) -> dict[str, object]:
        seconds = rng.choice((0, 0, 0.2, 1, 2, 5))
        code = rng.choice((0, 0, 0, 1, 77))
        body: dict[str, object] = {
            "command": "sh",
            "arguments": ["-c", SCRIPT, "sh", str(seconds), str(code)],
            "required_cores": rng.choice((0.5, 1, 1)),
            "container_name": "NULL",
        }
        if rng.random() < 0.4:
            body |= {"container_name": ENVIRONMENT, "additional_mounts": ["/witness:/witness"]}
        if rng.random() < 0.3:
            body["targets"] = [rng.choice(list(self.cluster.runners))]
        return body

    # Meddling with what runs

    def _meddle(self, rng: random.Random) -> None:
        self._stopping.wait(rng.uniform(0.1, 0.8))
        recent = list(self.accepted.values())[-_KEEP_RECENT:]
        if not recent:
            return
        task_id = rng.choice(recent)
        lot = rng.random()
        if lot < 0.4:
            self.killed.add(task_id)
            self._ask("POST", f"/kill/{task_id}")
        elif lot < 0.7:
            self.paused.add(task_id)
            self._ask("POST", f"/command/{task_id}/pause")
        elif lot < 0.9 and self.paused:
            self._ask("POST", f"/command/{rng.choice(list(self.paused))}/resume")
        else:
            status, lost = self._ask("GET", "/tasks?status=lost&limit=50")
            if status == 200 and lost:
                chosen = str(rng.choice(lost)["task_id"])
                self.requeued.add(chosen)
                self._ask("POST", f"/requeue/{chosen}")

    def resume_all(self) -> None:
        for task_id in self.paused:
            self._ask("POST", f"/command/{task_id}/resume", timeout=10)

    def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        timeout: float = 2,
    ) -> tuple[int, Any]:
        """(0, None) if no answer came."""
        try:
            return self.cluster.api(method, path, body, headers, timeout=timeout)
        except OSError:
            return 0, None
