"""A driver on a bench: real keepers, no runner around them.

A driver joins the suite with one class here: see Kind, and KINDS at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from hakuriver.model.messages import Attempt, RunOrder
from hakuriver.model.task import Ended, RefusedByNode, Result, output_name
from hakuriver.runner.drivers import Assignment, Driver, Ending, OnEnd, Unit
from hakuriver.runner.drivers.choice import choose
from hakuriver.runner.drivers.docker import DockerDriver, DockerSettings
from hakuriver.runner.drivers.process import ProcessDriver, ProcessSettings
from hakuriver.runner.drivers.systemd import SystemdDriver
from hakuriver.runner.job import fact_of
from hakuriver.runner.record import file_clock
from hakuriver.system.docker import Docker
from tests.support.cluster import kill_tasks, remove_containers, task_processes
from tests.support.images import Images
from tests.support.wait import wait_until

GRACE = 1.0
NODE = "bench"


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of one bench; cluster is unique to it, so that its tasks are told from others'."""

    home: Path
    cluster: str

    @property
    def shared_data(self) -> Path:
        return self.home / "shared" / "shared_data"

    @property
    def temp(self) -> Path:
        return self.home / "temp"

    @property
    def records(self) -> Path:
        return self.home / "records"


class Kind(Protocol):
    """What differs between drivers for those who test them. environment: for RunOrder.container."""

    name: str
    environment: str | None

    def make(self, places: Places, on_end: OnEnd) -> Driver: ...

    def begin(self, driver: Driver) -> None:
        """What a runner does after recover()."""

    def stop(self, driver: Driver) -> None:
        """As an end of the runner: tasks go on."""

    def keeper(self, run: Run) -> int:
        """The keeper's pid on this machine."""
        ...


class ProcessKind:
    name = "process"
    environment: str | None = None

    def make(self, places: Places, on_end: OnEnd) -> Driver:
        settings = ProcessSettings(
            places.cluster, NODE, places.shared_data, places.temp, grace=GRACE
        )
        return ProcessDriver(settings, on_end)

    def begin(self, driver: Driver) -> None:
        pass

    def stop(self, driver: Driver) -> None:
        assert isinstance(driver, ProcessDriver)
        driver.stop()

    def keeper(self, run: Run) -> int:
        started = wait_until(run.assignment.started, message="the keeper claims")
        return (started and started.pid) or 0


class SystemdKind(ProcessKind):
    """Only where systemd is PID 1, which is a node of the lab or a real machine."""

    name = "systemd"

    def make(self, places: Places, on_end: OnEnd) -> Driver:
        settings = ProcessSettings(
            places.cluster, NODE, places.shared_data, places.temp, grace=GRACE
        )
        choice = choose(sudo=False)
        assert choice.tools is not None, choice.why
        return SystemdDriver(settings, choice.tools, on_end)

    def stop(self, driver: Driver) -> None:
        assert isinstance(driver, SystemdDriver)
        driver.stop()


class DockerKind:
    name = "docker"

    def __init__(self, images: Images) -> None:
        self.environment: str | None = images.base

    def make(self, places: Places, on_end: OnEnd) -> Driver:
        settings = DockerSettings(
            places.cluster,
            NODE,
            places.shared_data,
            places.temp,
            numa={},
            machine_cores=os.cpu_count() or 1,
        )
        return DockerDriver(Docker(), settings, on_end)

    def begin(self, driver: Driver) -> None:
        assert isinstance(driver, DockerDriver)
        driver.begin()

    def stop(self, driver: Driver) -> None:
        assert isinstance(driver, DockerDriver)
        driver.stop()

    def keeper(self, run: Run) -> int:
        """The child of docker-init, which is what the engine calls the container's pid."""
        argv = ["docker", "inspect", "--format={{.State.Pid}}", run.unit.name]

        def child() -> int:
            init = int(subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout)
            children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
            return int(children[0]) if children else 0

        return wait_until(child, message="a keeper in the container")


@dataclass(slots=True)
class Run:
    """One attempt on the bench."""

    bench: Bench
    assignment: Assignment
    unit: Unit = field(default_factory=lambda: Unit(""))
    signal_at: float | None = None

    @property
    def key(self) -> Attempt:
        return self.assignment.key

    def kill(self, *, hard: bool = False) -> bool:
        self.signal_at = self.signal_at or file_clock()
        return self.bench.driver.kill(self.assignment, hard=hard)

    def pause(self) -> bool:
        return self.bench.driver.pause(self.assignment)

    def resume(self) -> bool:
        return self.bench.driver.resume(self.assignment)

    def paused(self) -> bool:
        return self.bench.driver.paused(self.assignment)

    def ended(self) -> Ending | None:
        return self.bench.ending(self.key)

    def end(self, timeout: float = 15) -> Ending:
        wait_until(self.ended, timeout=timeout, message=f"{self.key} ends")
        (ending,) = self.bench.endings(self.key)
        return ending

    def fact(self, timeout: float = 15) -> Ended | RefusedByNode:
        return fact_of(self.end(timeout), signal_at=self.signal_at)

    def result(self, timeout: float = 15) -> Result:
        fact = self.fact(timeout)
        assert isinstance(fact, Ended), fact
        return fact.result

    @property
    def out(self) -> bytes:
        return _content(self.assignment.stdout)

    @property
    def err(self) -> bytes:
        return _content(self.assignment.stderr)

    def wait_out(self, text: bytes) -> None:
        wait_until(lambda: text in self.out, message=f"{text!r} in the output")

    def processes(self) -> list[int]:
        """All that carry the task's mark, the keeper included."""
        mine = f"HAKURIVER_TASK_ID={self.key[0]}".encode()
        found = []
        for pid in task_processes(self.bench.places.cluster):
            try:
                environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mine in environ and state_of(pid) not in "ZX":
                found.append(pid)
        return found


class Bench:
    """Makes attempts for one driver and collects what it says of their ends."""

    def __init__(self, kind: Kind, places: Places) -> None:
        self.kind = kind
        self.places = places
        self._lock = threading.Lock()
        self._endings: list[Ending] = []
        self._count = 0
        self.driver = kind.make(places, self._told)
        kind.begin(self.driver)

    def _told(self, endings: list[Ending]) -> None:
        with self._lock:
            self._endings += endings

    def endings(self, key: Attempt) -> list[Ending]:
        with self._lock:
            return [ending for ending in self._endings if ending.key == key]

    def ending(self, key: Attempt) -> Ending | None:
        found = self.endings(key)
        assert len(found) < 2, f"told twice: {found}"
        return found[0] if found else None

    def run(self, *argv: str, killed: Callable[[], bool] = lambda: False, **order: object) -> Run:
        """Prepare and start; order are fields of RunOrder. Raises what the driver raises."""
        run = self.prepared(*argv, killed=killed, **order)
        run.unit = self.driver.start(run.assignment)
        return run

    def sh(self, script: str) -> Run:
        return self.run("sh", "-c", script)

    def prepared(
        self, *argv: str, killed: Callable[[], bool] = lambda: False, **order: object
    ) -> Run:
        self._count += 1
        given = RunOrder(
            seq=(1, self._count),
            task=self._count,
            attempt=1,
            argv=argv,
            container=self.kind.environment,
        )
        run = Run(self, self._assignment(replace(given, **order), killed))  # type: ignore[arg-type]
        self.driver.prepare(run.assignment)
        return run

    def _assignment(self, order: RunOrder, killed: Callable[[], bool]) -> Assignment:
        shared = self.places.home / "shared"
        task, attempt = order.key
        return Assignment(
            order=order,
            record=self.places.records / f"{task}.{attempt}.1",
            stdout=shared / output_name(task, attempt, "stdout"),
            stderr=shared / output_name(task, attempt, "stderr"),
            killed=killed,
        )

    def replace_driver(self, *runs: Run, away: Callable[[], None] = lambda: None) -> set[Attempt]:
        """Throw the driver away, as a crash of the runner does, and let a new one recover.

        away() is what happens in between. Returns what goes on.
        """
        self.kind.stop(self.driver)
        away()
        self.driver = self.kind.make(self.places, self._told)
        units = self.driver.recover([run.assignment for run in runs])
        self.kind.begin(self.driver)
        return set(units)

    def close(self) -> None:
        self.kind.stop(self.driver)
        remove_containers(self.places.cluster)
        kill_tasks(self.places.cluster)
        reap()


def state_of(pid: int) -> str:
    """The letter of proc(5); X for what is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat[stat.rindex(")") + 2]


def kill9(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Keepers whose driver was thrown away are still our children."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return


# sd_booted(3): elsewhere the lab runs this suite inside a node of its own.
KINDS = ("process", "docker", *(("systemd",) if Path("/run/systemd/system").is_dir() else ()))


def _content(path: Path) -> bytes:
    """Nothing, if the keeper has not made the file yet."""
    return path.read_bytes() if path.exists() else b""
