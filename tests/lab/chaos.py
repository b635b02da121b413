"""A cluster under load is broken in every way that we know, then each task is accounted for.

`python3 tests chaos --seed 1 --seconds 600` does it for as long as you like. A seed chooses the
faults, their order and the pauses between them; what machines make of it differs a little each time.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.lab.account import FINAL, Acts, account, read_testimony
from tests.lab.cluster import LabCluster
from tests.lab.lab import Lab
from tests.lab.load import Load
from tests.lab.node import SHARED, STATE, Node
from tests.support.wait import wait_until

_SILENCE = 4.0
"""Seconds after which the host takes a node for offline, by the lab's settings."""
_SHARED_BYTES = 48 << 20
_HEALED_SECONDS = 90.0
_DRAINED_SECONDS = 180.0
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
_DROP_IN = "/etc/systemd/system/hakuriver-runner.service.d/clock.conf"
Heal = Callable[[], object]


@dataclass(slots=True)
class Wound:
    """A fault that lasts; busy are the parts that nothing else is done to meanwhile."""

    name: str
    until: float
    busy: frozenset[str]
    heal: Heal


class Chaos:
    """storm(), then calm(), then verdict()."""

    def __init__(self, cluster: LabCluster, seed: int) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._wounds: list[Wound] = []
        self._rebooted: set[str] = set()
        self._engine_restarts: list[tuple[str, float, float]] = []
        self._disk = False
        self._told: list[str] = []
        self.done: Counter[str] = Counter()
        self.load = Load(cluster, seed)

    # The storm

    def storm(self, seconds: float) -> None:
        self.load.start()
        end = time.monotonic() + seconds
        faults = self._faults()
        while time.monotonic() < end:
            threading.Event().wait(self._rng.uniform(0.1, 1.5))
            self._heal(time.monotonic())
            name, part = self._choose(faults)
            before = self.done.total()
            faults[name][1](part)
            if self.done.total() > before:
                self._tell(f"{name} {part}")

    def _tell(self, what: str) -> None:
        self._told.append(f"{datetime.now(timezone.utc).isoformat(timespec='milliseconds')} {what}")

    def _choose(self, faults: dict[str, tuple[float, Callable[[str], None]]]) -> tuple[str, str]:
        name = self._rng.choices(list(faults), [weight for weight, _ in faults.values()])[0]
        return name, self._rng.choice(list(self._cluster.runners))

    def _faults(self) -> dict[str, tuple[float, Callable[[str], None]]]:
        """By name: how often, and what it does to a node of that name."""
        return {
            "kill host": (2, lambda name: self._once("kill host", "host", self._kill_host)),
            "kill runner": (2, lambda name: self._once("kill runner", name, self._kill_runner)),
            "kill both": (1, self._kill_both),
            "restart host": (1, lambda name: self._once("restart host", "host", self._restart_host)),
            "restart runner": (1, lambda name: self._once("restart runner", name, self._restart)),
            "restart engine": (1, lambda name: self._once("restart engine", name, self._engine)),
            "kill docker clients": (2, lambda name: self._once("kill docker clients", name, self._clients)),
            "cut": (1, self._cut),
            "reboot": (0.7, lambda name: self._once("reboot", name, self._reboot)),
            "reboot host": (0.3, lambda name: self._once("reboot host", "host", self._reboot_host)),
            "delay": (1, self._delay),
            "tear": (2, self._tear),
            "dead cable": (1, self._dead_cable),
            "freeze host": (0.7, self._freeze_host),
            "freeze runner": (0.7, self._freeze_runner),
            "freeze node": (0.5, self._freeze_node),
            "clock": (0.5, self._clock),
            "unmount": (0.7, self._unmount),
            "unmount on the host": (0.3, lambda name: self._unmount("host")),
            "full shared directory": (0.7, self._full_shared),
            "full host": (0.7, lambda name: self._full("host")),
            "full node": (0.5, self._full),
        }  # fmt: skip

    def _busy(self, *parts: str) -> bool:
        return any(wound.busy & set(parts) for wound in self._wounds)

    def _once(self, fault: str, part: str, do: Callable[[Node], object]) -> None:
        if self._busy(part):
            return
        do(self._node(part))
        self.done[fault] += 1

    def _wound(self, fault: str, parts: set[str], shortest: float, longest: float,
               do: Callable[[], Heal]) -> None:  # fmt: skip
        if self._busy(*parts):
            return
        until = time.monotonic() + self._rng.uniform(shortest, longest)
        self._wounds.append(Wound(fault, until, frozenset(parts), do()))
        self.done[fault] += 1

    def _heal(self, now: float) -> None:
        for wound in [each for each in self._wounds if each.until <= now]:
            wound.heal()
            self._tell(f"over: {wound.name} {', '.join(wound.busy)}")
            self._wounds.remove(wound)

    def _node(self, name: str) -> Node:
        return self._cluster.host if name == "host" else self._cluster.runners[name]

    # Programs

    def _kill_host(self, node: Node) -> None:
        _signal(node, "host", "KILL")

    def _kill_runner(self, node: Node) -> None:
        _signal(node, "runner", "KILL")

    def _kill_both(self, name: str) -> None:
        if not self._busy("host", name):
            self._kill_host(self._cluster.host)
            self._kill_runner(self._node(name))
            self.done["kill both"] += 1

    def _restart_host(self, node: Node) -> None:
        node.run("systemctl", "restart", "hakuriver-host", check=False)

    def _restart(self, node: Node) -> None:
        node.run("systemctl", "restart", "hakuriver-runner", check=False)

    def _engine(self, node: Node) -> None:
        begun = time.time()
        node.run("systemctl", "restart", "docker", check=False)
        self._engine_restarts.append((node.name, begun, time.time()))

    def _clients(self, node: Node) -> None:
        node.sh("for pid in $(pgrep -x docker); do kill -9 $pid; done", check=False)

    def _freeze_host(self, name: str) -> None:
        self._freeze("freeze host", "host", "host")

    def _freeze_runner(self, name: str) -> None:
        self._freeze("freeze runner", name, "runner")

    def _freeze(self, fault: str, part: str, role: str) -> None:
        def do() -> Heal:
            _signal(self._node(part), role, "STOP")
            return lambda: _signal(self._node(part), role, "CONT")

        self._wound(fault, {part}, 1, 3 * _SILENCE, do)

    def _clock(self, name: str) -> None:
        node = self._node(name)
        offset = self._rng.choice(("+1h", "-1h"))

        def restart() -> None:
            node.run("systemctl", "daemon-reload", check=False)
            node.run("systemctl", "restart", "hakuriver-runner", check=False)

        def heal() -> None:
            node.run("rm", "--force", _DROP_IN)
            restart()

        def do() -> Heal:
            lines = (f"LD_PRELOAD={_FAKETIME}", f"FAKETIME={offset}")
            node.put(_DROP_IN, "[Service]\n" + "".join(f"Environment={line}\n" for line in lines))
            restart()
            return heal

        # Its services may be killed meanwhile, but not rebooted: the drop-in is found by then.
        self._wound("clock", {f"{name} clock"}, 3, 15, do)

    # Machines and cables

    def _reboot(self, node: Node) -> None:
        self._rebooted.add(node.name)
        node.reboot(hard=self._rng.random() < 0.5)

    def _reboot_host(self, node: Node) -> None:
        node.reboot(hard=self._rng.random() < 0.5)

    def _cut(self, name: str) -> None:
        node = self._node(name)

        def do() -> Heal:
            node.cut()
            return node.join

        self._wound("cut", {name}, 1, 3 * _SILENCE, do)

    def _freeze_node(self, name: str) -> None:
        def do() -> Heal:
            self._node(name).freeze()
            return self._node(name).thaw

        # Nothing can be mended inside a node that stands still.
        parts = {name, f"{name} clock", f"{name} disk"}
        self._wound("freeze node", parts, 1, 3 * _SILENCE, do)

    def _proxy(self, name: str) -> Any:
        return self._rng.choice((self._cluster.to_host, self._cluster.to_runner[name]))

    def _tear(self, name: str) -> None:
        self._proxy(name).tear()
        self.done["tear"] += 1

    def _delay(self, name: str) -> None:
        proxy, seconds = self._proxy(name), self._rng.uniform(0.02, 0.3)

        def do() -> Heal:
            proxy.delay = seconds
            return lambda: setattr(proxy, "delay", 0.0)

        self._wound("delay", {f"delay {proxy.port}"}, 1, 10, do)

    def _dead_cable(self, name: str) -> None:
        proxy = self._proxy(name)

        def heal() -> None:
            proxy.dead.clear()
            proxy.tear()

        def do() -> Heal:
            proxy.dead.set()
            return heal

        self._wound("dead cable", {f"dead {proxy.port}"}, 1, 2 * _SILENCE, do)

    # Disks

    def _unmount(self, name: str) -> None:
        node = self._node(name)

        def do() -> Heal:
            self._disk = True
            node.run("umount", "--lazy", SHARED, check=False)
            return lambda: node.run("systemctl", "start", "shared.mount")

        self._wound("unmount on the host" if name == "host" else "unmount", {name}, 1, 8, do)

    def _full_shared(self, name: str) -> None:
        filler = self._cluster.lab.shared / "filler"

        def do() -> Heal:
            self._disk = True
            _fill(filler)
            return lambda: filler.unlink(missing_ok=True)

        self._wound("full shared directory", {"shared"}, 1, 6, do)

    def _full(self, name: str) -> None:
        node = self._node(name)

        def do() -> Heal:
            self._disk = True
            node.fill_disk()
            return node.free_disk

        self._wound("full host" if name == "host" else "full node", {f"{name} disk"}, 1, 6, do)

    # After it

    def calm(self) -> None:
        """Everything is mended, and by nothing but that, all comes to its end."""
        self._heal(float("inf"))
        self.load.stop()
        for name in self._cluster.runners:
            self._cluster.wait_online(name, timeout=_HEALED_SECONDS)
        self.load.resume_all()
        wait_until(self._all_final, timeout=_DRAINED_SECONDS, message=lambda: str(self._open()))

    def _tasks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            status, page = self._cluster.api("GET", f"/tasks?limit=1000{after}", timeout=30)
            assert status == 200, page
            found += page
            if len(page) < 1000:
                return found
            after = f"&after={page[-1]['task_id']}"

    def _open(self) -> list[dict[str, Any]]:
        words = ("task_id", "status", "wish", "assigned_node", "attempt", "error_message")
        return [
            {word: task[word] for word in words}
            for task in self._tasks()
            if task["status"] not in FINAL
        ]

    def _all_final(self) -> bool:
        try:
            return not self._open()
        except OSError:
            return False

    def verdict(self) -> list[str]:
        """Everything that is wrong; [] is what we promise."""
        tasks = self._tasks()
        testimonies = {
            path.name: read_testimony(path.read_text()) for path in self._cluster.witness.iterdir()
        }
        outputs = {str(task["task_id"]): self._output(task) for task in tasks}
        acts = {str(task["task_id"]): self._acts(task) for task in tasks}
        accepted = list(self.load.accepted.values())
        wrong = [*self.load.problems, *account(tasks, accepted, testimonies, outputs, acts)]
        if len(set(accepted)) != len(accepted):
            wrong.append("two submissions were given the same task")
        for name, node in self._cluster.runners.items():
            wrong += [f"left on {name}: {what}" for what in self._left_on(node, name)]
        for node in (self._cluster.host, *self._cluster.runners.values()):
            if "Traceback" in node.journal("hakuriver-*", 100_000):
                wrong.append(f"{node.name}: its journal holds a Traceback")
        return wrong

    def _output(self, task: dict[str, Any]) -> bytes | None:
        try:
            return self._cluster.output(task)
        except FileNotFoundError:
            return None

    def _in_a_restart(self, task: dict[str, Any]) -> bool:
        """Whether it ended while its node's engine was restarted."""
        if task["completed_at"] is None:
            return False
        ended = datetime.fromisoformat(task["completed_at"]).timestamp()
        return any(
            node == task["assigned_node"] and begun - 1 <= ended <= over + 1
            for node, begun, over in self._engine_restarts
        )

    def _acts(self, task: dict[str, Any]) -> Acts:
        task_id = str(task["task_id"])
        return Acts(
            killed=task_id in self.load.killed,
            requeued=task_id in self.load.requeued,
            rebooted=task["assigned_node"] in self._rebooted,
            engine_restarted=self._in_a_restart(task),
            disk=self._disk,
        )

    def _left_on(self, node: Node, name: str) -> list[str]:
        """Whatever of ours is still there some seconds after the last task has ended."""
        looks = {
            "container": "docker ps --all --quiet --filter label=hakuriver.role=task",
            "unit": "systemctl list-units --all --plain --no-legend 'hakuriver-task-*'",
            "process": "grep --text --files-with-matches ^HAKURIVER_TASK_ID= /proc/[0-9]*/environ"
                       " --null-data 2>/dev/null",
            # Those of starts that went wrong half-way stay for an hour, in case that they come yet.
            "record": f"find {STATE}/runners/{name}/records -mindepth 1 -maxdepth 1 -mmin +61",
            "image": "docker images --quiet --filter dangling=true",
            "partial load": f"ls -A {SHARED}/hakuriver-containers/.loading 2>/dev/null",
        }  # fmt: skip
        left: dict[str, str] = {}

        def nothing() -> bool:
            left.clear()
            for what, script in looks.items():
                found = node.sh(script, check=False).strip()
                if found:
                    left[what] = found
            return not left

        try:
            # The sweeps of containers and of leases come once a minute.
            wait_until(nothing, timeout=150)
        except AssertionError:
            return [f"{what}: {found[:300]}" for what, found in left.items()]
        return []

    def keep(self, folder: Path) -> None:
        """All that could tell how it came to this."""
        folder.mkdir(parents=True, exist_ok=True)
        for node in (self._cluster.host, *self._cluster.runners.values()):
            (folder / f"{node.name}.log").write_text(node.journal("hakuriver-*", 1_000_000))
        (folder / "faults.log").write_text("\n".join(self._told))
        with suppress(OSError):
            (folder / "tasks.json").write_text(json.dumps(self._tasks(), indent=1))

    def report(self) -> str:
        statuses = Counter(str(task["status"]) for task in self._tasks())
        faults = ", ".join(f"{name} {n}" for name, n in sorted(self.done.items()))
        return (
            f"faults {self.done.total()}: {faults}\n"
            f"tasks {statuses.total()}: {dict(statuses)}; submissions sent again {self.load.again},"
            f" kills asked for {len(self.load.killed)}, requeued {len(self.load.requeued)}"
        )


def _signal(node: Node, role: str, name: str) -> None:
    unit = f"hakuriver-{role}.service"
    node.run("systemctl", "kill", "--kill-whom=main", f"--signal={name}", unit, check=False)


def _fill(path: Path) -> None:
    block = b"\0" * (1 << 20)
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(block):
                pass
        except OSError:
            pass


@contextmanager
def chaotic_cluster(pyz: Path, *, runners: int, seed: int) -> Iterator[LabCluster]:
    """Its shared directory is a small file system of its own, which can be filled."""
    with Lab() as lab:
        options = f"size={_SHARED_BYTES},mode=755"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "hakuriver-lab", str(lab.shared)], check=True
        )
        try:
            cluster = LabCluster(lab, pyz, runners=runners, seed=seed)
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.close()
        finally:
            subprocess.run(["umount", "--lazy", str(lab.shared)], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 tests chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--runners", type=int, default=3)
    parser.add_argument("--pyz", type=Path, default=Path("dist/hakuriver.pyz"))
    parser.add_argument("--keep", type=Path, default=Path(".build/chaos"), help="logs go here")
    options = parser.parse_args()
    with chaotic_cluster(options.pyz, runners=options.runners, seed=options.seed) as cluster:
        chaos = Chaos(cluster, options.seed)
        try:
            chaos.storm(options.seconds)
            chaos.calm()
            wrong = chaos.verdict()
        finally:
            chaos.load.abandon()
            chaos.keep(options.keep / str(options.seed))
        print(f"seed {options.seed}: {chaos.report()}\nwrong: {len(wrong)}")
        for line in wrong:
            print(f"  {line}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
