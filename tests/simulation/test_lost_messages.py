"""Nothing accepted is lost and nothing runs twice, whatever becomes of messages and programs.

HAKURIVER_SEEDS=FROM-TO runs other seeds, HAKURIVER_SEEDS=N a single one.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from hakuriver.host import fleet
from hakuriver.model.task import Status
from tests.simulation.host_side import Host
from tests.simulation.runner_side import Runner
from tests.simulation.simulation import NAMES, Simulation

SEEDS = 200
BATCH = 20
STEPS = 350


def seeds() -> list[int]:
    first, _, last = os.environ.get("HAKURIVER_SEEDS", f"0-{SEEDS - 1}").partition("-")
    return list(range(int(first), int(last or first) + 1))


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the host logs as an error about its runners: with all disks whole there is no cause."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    log, listener = logging.getLogger("hakuriver.host.fleet"), Listener(logging.ERROR)
    log.addHandler(listener)
    yield found
    log.removeHandler(listener)


@pytest.fixture
def fast_disk() -> Iterator[Path]:
    """A folder in memory where there is one: what is synced here need not outlive the machine."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="hakuriver-", dir=memory if usable else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("batch", [seeds()[i : i + BATCH] for i in range(0, len(seeds()), BATCH)],
                         ids=lambda batch: f"seeds {batch[0]} to {batch[-1]}")  # fmt: skip
def test_no_task_is_lost_and_none_runs_twice(
    batch: list[int], fast_disk: Path, complaints: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "hakuriver")
    for seed in batch:
        simulation = Simulation(fast_disk / str(seed), seed)
        try:
            run(simulation)
            assert not complaints, complaints
        except BaseException as error:
            story = "\n".join(simulation.log)
            raise AssertionError(
                f"seed {seed}: {error!r}\n{story}\nseed {seed}: {error!r}"
            ) from error
        finally:
            simulation.close()
            shutil.rmtree(fast_disk / str(seed), ignore_errors=True)


def run(simulation: Simulation) -> None:
    with patch.object(fleet, "_MESSAGE_BYTES", simulation.message_characters):
        storm_and_calm(simulation)


def storm_and_calm(simulation: Simulation) -> None:
    for _ in range(STEPS):
        simulation.step()
    simulation.heal()
    simulation.settle(3)
    simulation.replay()
    simulation.settle(60)
    simulation.witness.compare(simulation.nodes, simulation.away)
    simulation.still = False
    while len(simulation.users.answers) < len(simulation.users.bodies):
        simulation.users.insist()
    wait_for_ends(simulation)
    simulation.settle(20)
    simulation.witness.judge(simulation.nodes, simulation.away)
    every_submission_made_its_tasks_once(simulation)
    nothing_is_left(simulation)


def wait_for_ends(simulation: Simulation) -> None:
    """Somebody resumes what was paused; everything else has to end by itself."""
    for _ in range(20):
        for task in list(simulation.witness.tasks.values()):
            if task.status is Status.PAUSED and task.wish is None:
                simulation.users.ask("resume", task.id)
        simulation.settle(5)
        if all(task.status.final for task in simulation.witness.tasks.values()):
            return


def every_submission_made_its_tasks_once(simulation: Simulation) -> None:
    answers = simulation.users.answers.values()
    accepted = [int(task_id) for answer in answers for task_id in answer["task_ids"]]
    assert sorted(accepted) == sorted(simulation.witness.tasks), "tasks that nobody submitted"


def nothing_is_left(simulation: Simulation) -> None:
    host = simulation.programs["host"]
    assert isinstance(host, Host)
    near = [name for name in NAMES if name != simulation.away]
    with host.store.read() as tx:
        for name in near:
            assert not tx.open_orders(name), f"orders for {name} are left"
            assert name not in tx.reserved(), f"something of {name} is reserved"
    for name in near:
        runner = simulation.programs[name]
        assert isinstance(runner, Runner)
        # What was acknowledged is written with the next transaction, at the latest at the stop.
        simulation.stop_runner(runner)
        simulation.start_runner(simulation.nodes[name])
        runner = simulation.programs[name]
        assert isinstance(runner, Runner)
        assert not runner.ledger.entries(), f"the ledger of {name} is not empty"
