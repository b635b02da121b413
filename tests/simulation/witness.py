"""Who watches every commit of the host, and says in the end whether the promises were kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hakuriver.model.messages import Attempt
from hakuriver.model.task import Status, Task
from hakuriver.model.units import milli
from tests.support.fake_driver import TERM

if TYPE_CHECKING:
    from tests.simulation.host_side import Host
    from tests.simulation.runner_side import Node

_ENDS_WITHOUT_CODE = (
    "the node restarted",
    "it cannot be started here",
    "forgotten by tester",
)


class Witness:
    """asked counts (verb, task), but for what was refused; interrupted: attempts that a reboot ended in the middle."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        self.interrupted: set[Attempt] = set()

    def ids(self) -> list[int]:
        return list(self.tasks)

    def going(self) -> list[int]:
        return [task.id for task in self.tasks.values() if not task.status.final]

    # While it goes on

    def changed(self, host: Host, ids: set[int]) -> None:
        with host.store.read() as tx:
            for task_id in sorted(ids):
                task = tx.task(task_id)
                assert task is not None
                self._check_step(self.tasks.get(task_id), task, scanning=host.scanning)
                self.tasks[task_id] = task
            for name, held in tx.reserved().items():
                node = host.registry.get(name)
                assert node is not None
                assert held.cores <= milli(node.info.capacity.cores), f"{name} is over-committed"
                assert held.tasks <= node.info.capacity.max_tasks, f"{name} has too many tasks"

    def _check_step(self, before: Task | None, after: Task, *, scanning: bool) -> None:
        if before is None:
            assert after.status is Status.PENDING
            return
        what = f"task {after.id}: {before} -> {after}"
        assert after.attempt >= before.attempt, what
        assert after.revision > before.revision, what
        if after.status is Status.LOST and before.status is not Status.LOST:
            assert scanning, f"lost although its node speaks: {what}"
        if after.attempt == before.attempt and after.node == before.node:
            assert after.report_n >= before.report_n, f"an old report was believed: {what}"
        if before.status.final and after.attempt == before.attempt:
            assert after.status is before.status, f"a final status moved: {what}"
            assert before.exit_code in (None, after.exit_code), what
        if before.status.final and after.attempt > before.attempt:
            assert self.asked["requeue", after.id], what

    # When all is quiet, and no command ends by itself

    def compare(self, nodes: Mapping[str, Node], away: str) -> None:
        """What the host believes is what is."""
        running: dict[Attempt, list[bool]] = {}
        for node in nodes.values():
            for keeper in node.machine.alive() if node.name != away else ():
                running.setdefault(keeper.key, []).append(keeper.stopped)
        for task in self.tasks.values():
            if away and (task.node == away or task.status is Status.PENDING):
                continue
            found = running.pop((task.id, task.attempt), [])
            wanted = {Status.RUNNING: [False], Status.PAUSED: [True]}.get(task.status, [])
            assert found == wanted, f"what runs is {found} (stopped): {task}"
            assert task.wish is None, f"a wish did not come true: {task}"
            assert task.status not in (Status.ASSIGNING, Status.LOST), f"it hangs: {task}"
        assert not running, f"nobody knows of {running}"

    # In the end

    def judge(self, nodes: Mapping[str, Node], away: str) -> None:
        executions: Counter[Attempt] = Counter()
        exits: dict[Attempt, int] = {}
        for node in nodes.values():
            executions += node.machine.executions
            exits |= node.machine.exits
        for attempt, count in executions.items():
            assert count == 1, f"attempt {attempt} was executed {count} times"
        for task in self.tasks.values():
            begun = sum(count for (id_, _), count in executions.items() if id_ == task.id)
            assert begun <= 1 + self.asked["requeue", task.id], f"executed {begun} times: {task}"
            self._judge_end(task, executions, exits, away)
        for node in nodes.values():
            if node.name != away:
                left = [keeper.key for keeper in node.machine.alive()]
                assert not left, f"still running on {node.name}: {left}"

    def _judge_end(
        self, task: Task, executions: Mapping[Attempt, int], exits: Mapping[Attempt, int], away: str
    ) -> None:
        key = (task.id, task.attempt)
        if away and not task.status.final:
            target = task.spec.target
            assert task.node == away or (target is not None and target.node == away), str(task)
            assert task.status in (Status.LOST, Status.PENDING), str(task)
            return
        assert task.status.final, f"never ended: {task}"
        assert task.wish is None, f"a wish is left: {task}"
        if task.exit_code is not None:
            assert exits.get(key) == task.exit_code, f"the exit code is invented: {task}"
        if task.status is Status.COMPLETED:
            assert task.exit_code == 0, str(task)
        if task.exit_code == TERM and not task.message.startswith("forgotten by"):
            assert task.status is Status.KILLED, f"we killed it: {task}"
        if task.status is Status.KILLED:
            assert self.asked["kill", task.id], f"nobody wanted it killed: {task}"
        if task.status is Status.KILLED_OOM:
            raise AssertionError(f"nothing ran out of memory: {task}")
        if task.exit_code is None:
            self._judge_end_without_code(task, executions, exits)

    def _judge_end_without_code(
        self, task: Task, executions: Mapping[Attempt, int], exits: Mapping[Attempt, int]
    ) -> None:
        key = (task.id, task.attempt)
        forgotten = task.message.startswith("forgotten by")
        assert key not in exits or forgotten, f"its exit code is lost: {task}"
        if task.status is Status.KILLED and "before it started" in task.message:
            assert not executions.get(key), f"it ran before it was killed: {task}"
        if task.status is Status.FAILED:
            assert task.message.startswith(_ENDS_WITHOUT_CODE), f"failed for no reason: {task}"
            if task.message.startswith("the node restarted"):
                assert key in self.interrupted, f"its node did not restart: {task}"
