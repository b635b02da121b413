"""People who submit, kill, pause, and ask again when they get no answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from hakuriver.model.errors import Conflict, HakuRiverError, NotFound
from hakuriver.model.submission import read_submission
from tests.simulation.witness import Witness
from tests.support.fake_driver import CANNOT, DEAF

if TYPE_CHECKING:
    from tests.simulation.host_side import Host

_TASKS_MAX = 14
Action = tuple[float, str, Callable[[], None]]


class Users:
    def __init__(self, rng: Random, witness: Witness, host: Callable[[], Host | None]) -> None:
        self._rng = rng
        self._witness = witness
        self._host = host
        self.bodies: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}

    def actions(self) -> Iterator[Action]:
        host = self._host()
        if host is None:
            return
        if len(self.bodies) < _TASKS_MAX:
            yield 1.2, "somebody submits", self._submit_new
        if self.bodies:
            yield 0.3, "somebody submits again", self.submit_again
        tasks = self._witness.going() if self._rng.random() < 0.8 else self._witness.ids()
        if tasks:
            task = self._rng.choice(tasks)
            yield 0.5, f"kill {task}", lambda: self.ask("kill", task)
            yield 0.3, f"pause {task}", lambda: self.ask("pause", task)
            yield 0.3, f"resume {task}", lambda: self.ask("resume", task)
            yield 0.2, f"requeue {task}", lambda: self.ask("requeue", task)
            yield 0.1, f"forget {task}", lambda: self.ask("forget", task)

    def _submit_new(self) -> None:
        key = f"key {len(self.bodies)}"
        rng = self._rng
        self.bodies[key] = {
            "command": rng.choice(("work", "work", "work", "work", DEAF, CANNOT)),
            "arguments": ["\udcff", ""],
            "required_cores": rng.choice((0, 0.5, 1, 1, 2)),
            "container_name": "NULL",
        }
        nodes = ["n1", "n2"]
        host = self._host()
        assert host is not None
        if rng.random() < 0.3 and all(host.registry.get(node) for node in nodes):
            self.bodies[key]["targets"] = rng.choice((["n1"], ["n2"], nodes))
        self.submit(key)

    def submit_again(self) -> None:
        self.submit(self._rng.choice(list(self.bodies)))

    def submit(self, key: str) -> None:
        host = self._host()
        assert host is not None
        body = self.bodies[key]
        try:
            answer = host.cluster.submit(read_submission(body), key=key, body=body)
        except HakuRiverError:
            return
        if key in self.answers:
            assert answer == self.answers[key], f"{key} got two answers"
        if self._rng.random() < 0.7:
            self.answers[key] = answer

    def ask(self, verb: str, task: int) -> None:
        """The witness hears of it first: it may have been done although no answer came."""
        host = self._host()
        assert host is not None
        cluster, witness = host.cluster, self._witness
        acts: dict[str, Callable[[], object]] = {
            "kill": lambda: cluster.kill(task),
            "pause": lambda: cluster.pause(task),
            "resume": lambda: cluster.resume(task),
            "requeue": lambda: cluster.requeue(task),
            "forget": lambda: cluster.forget(task, "tester"),
        }
        witness.asked[verb, task] += 1
        try:
            acts[verb]()
        except (Conflict, NotFound):
            witness.asked[verb, task] -= 1
        except HakuRiverError:
            pass

    def insist(self) -> None:
        """Ask again for every submission that got no answer."""
        for key in self.bodies:
            if key not in self.answers:
                self.submit(key)
