"""What the cluster does when a user asks: one verb, one transaction.

Every method is called from many threads. State is in the store; who is there is in the registry.
No network call happens here: what has to be sent is written down, and `on_orders` wakes the one
who sends it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hakuriver.host.changes import log_changes
from hakuriver.host.identity import Ids, NoneLeft
from hakuriver.host.listing import Filter, Page
from hakuriver.host.placement import (
    NO_SUPPLY,
    Place,
    Placement,
    Reserved,
    Supply,
    Waiting,
    explain,
    place,
)
from hakuriver.host.reconcile import forgotten, requeued, wished
from hakuriver.host.registry import Registry, Unsent
from hakuriver.host.rows import Tx
from hakuriver.host.store import Store
from hakuriver.model.errors import Conflict, NotFound, Refused
from hakuriver.model.node import cannot_bind
from hakuriver.model.submission import NO_CONTAINER, Submission, check_for_container
from hakuriver.model.target import Target, parse_target
from hakuriver.model.task import IllegalTransition, Status, Task, TaskSpec, Wish

log = logging.getLogger(__name__)

_NAMED = 20


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a submission leaves open. container is None for tasks directly on the node."""

    container: str | None
    privileged: bool = False
    mounts: tuple[str, ...] = ()


class Cluster:
    """The verbs of users, and placing.

    supply tells which environments any node can get, and why_missing why the default one is not
    among them, if that is known; on_orders gets the name of a node that
    something has to be sent to; on_room is called when a waiting task may find room.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        unsent: Unsent,
        ids: Ids,
        defaults: Defaults,
        supply: Callable[[], Supply] = lambda: NO_SUPPLY,
        why_missing: Callable[[], str] = lambda: "",
        on_orders: Callable[[str], None] = lambda node: None,
        on_room: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.registry = registry
        self._unsent = unsent
        self._ids = ids
        self._defaults = defaults
        self._supply = supply
        self._why_missing = why_missing
        self._on_orders = on_orders
        self._on_room = on_room
        self._clock = clock

    @property
    def id(self) -> str:
        return self._ids.identity.cluster

    @property
    def epoch(self) -> int:
        return self._ids.identity.epoch

    # What users ask for

    def submit(
        self, submission: Submission, *, key: str = "", body: object = None
    ) -> dict[str, Any]:
        """The answer, with a task for each target that is known. Raises Refused."""
        body_hash = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        while True:
            try:
                answer = self.store.write(lambda tx: self._submit(tx, submission, key, body_hash))
            except NoneLeft as short:
                self._ids.reserve(short.count)
            else:
                self._on_room()
                return answer

    def _submit(self, tx: Tx, submission: Submission, key: str, body_hash: str) -> dict[str, Any]:
        earlier = tx.submission(key) if key else None
        if earlier is not None:
            if earlier[0] != body_hash:
                raise Refused(f"the key {key} was used for another submission")
            return dict(json.loads(earlier[1]))
        spec = self._spec(submission)
        targets, failed = self._targets(submission, spec)
        tasks = self._add_tasks(tx, spec, submission, targets)
        answer = _submit_answer(tasks, failed)
        if key:
            tx.save_submission(key, body_hash, json.dumps(answer), self._clock())
        return answer

    def _spec(self, submission: Submission) -> TaskSpec:
        container = self._container(submission)
        privileged, mounts = submission.privileged, submission.mounts
        if container is None and (privileged or mounts):
            raise Refused(
                f"{'privileged' if privileged else 'mounts'} and no container do not go together",
                "Name an environment with --container, or leave the option out.",
            )
        if container is not None:
            for argv, env in submission.commands():
                check_for_container(argv, env)
            privileged = self._defaults.privileged if privileged is None else privileged
            mounts = self._defaults.mounts if mounts is None else mounts
        return TaskSpec(
            argv=submission.argv,
            env=submission.env,
            cores=submission.cores,
            memory=submission.memory,
            container=container,
            privileged=bool(privileged),
            mounts=mounts or (),
            user=submission.user,
        )

    def _container(self, submission: Submission) -> str | None:
        if submission.container is not None:
            return None if submission.container == NO_CONTAINER else submission.container
        default = self._defaults.container
        supply = self._supply()
        if default is None or default in supply.published or default in supply.making:
            return default
        if any(default in node.info.environments for node in self.registry.all()):
            return default
        why = self._why_missing()
        raise Refused(
            f"the default environment '{default}' does not exist yet: no tarball in the shared"
            f" directory, no image hakuriver/{default}:base on any node"
            f"{f'. Making it failed: {why}' if why else ''}",
            "Name another one with --container ENV, or run without a container: --container NULL."
            " The default is docker.default_container_name in the host's config.",
        )

    def _targets(
        self, submission: Submission, spec: TaskSpec
    ) -> tuple[list[Target | None], list[dict[str, str]]]:
        if not submission.targets:
            return [None], []
        targets: list[Target | None] = []
        failed = []
        for text in submission.targets:
            try:
                targets.append(self._target(text, spec))
            except (Refused, NotFound) as error:
                failed.append({"target": text, "reason": error.detail})
        if not targets:
            reasons = "; ".join(f"{entry['target']}: {entry['reason']}" for entry in failed)
            raise Refused(
                f"no target can be used: {reasons}", "The nodes are listed by: client nodes"
            )
        return targets, failed

    def _target(self, text: str, spec: TaskSpec) -> Target:
        target = parse_target(text)
        node = self.registry.get(target.node)
        if node is None:
            raise NotFound(f"node {target.node} is not registered")
        problem = cannot_bind(node.info, target, in_container=spec.container is not None)
        if problem:
            raise Refused(problem)
        return target

    def _add_tasks(
        self, tx: Tx, spec: TaskSpec, submission: Submission, targets: list[Target | None]
    ) -> list[Task]:
        """One for each target and combination; one batch."""
        ids = self._ids.take(len(targets) * submission.count)
        specs = [
            replace(spec, argv=argv, env=env, target=target)
            for target in targets
            for argv, env in submission.commands()
        ]
        now = self._clock()
        tasks = [
            Task(task_id, ids[0], each, Status.PENDING, now)
            for task_id, each in zip(ids, specs, strict=True)
        ]
        tx.add_tasks(tasks)
        return tasks

    def kill(self, task_id: int) -> Task:
        """Pending tasks are killed at once, others when their node says so."""
        return self._wish(task_id, Wish.KILL)

    def pause(self, task_id: int) -> Task:
        return self._wish(task_id, Wish.PAUSE)

    def resume(self, task_id: int) -> Task:
        return self._wish(task_id, Wish.RESUME)

    def _wish(self, task_id: int, wish: Wish) -> Task:
        def work(tx: Tx) -> tuple[Task, Task]:
            before = _known(tx.task(task_id), task_id)
            return before, tx.update_task(wished(before, wish, self._clock()))

        task = self._changed(work)
        if task.node:
            self._on_orders(task.node)
        return task

    def requeue(self, task_id: int) -> Task:
        """Run it again as a new attempt; the old one is killed when its node returns."""
        return self._act(task_id, "requeued", requeued)

    def forget(self, task_id: int, by: str) -> Task:
        """Stop waiting for the node of a lost task."""
        return self._act(task_id, "forgotten", lambda task: forgotten(task, by, self._clock()))

    def _act(self, task_id: int, act: str, change: Callable[[Task], Task]) -> Task:
        def work(tx: Tx) -> tuple[Task, Task]:
            before = _known(tx.task(task_id), task_id)
            try:
                after = change(before)
            except IllegalTransition:
                raise Conflict(
                    f"task {task_id} is {before.status.value}, it cannot be {act}"
                ) from None
            tx.close_order(task_id)
            return before, tx.update_task(after)

        task = self._changed(work)
        self._on_room()
        return task

    def drain(self, name: str, reason: str | None) -> None:
        """Give the node nothing new (reason may be ""), or everything again (None)."""
        if self.registry.get(name) is None:
            raise NotFound(f"node {name} is not registered")
        self.store.write(lambda tx: tx.drain(name, reason))
        self.registry.drain(name, reason)
        log.info("node %s %s", name, "undrained" if reason is None else f"drained: {reason}")
        self._on_room()

    # What people look at

    def task(self, task_id: int) -> Task:
        with self.store.read() as tx:
            task = tx.task(task_id)
            if task is None and 0 < task_id <= tx.last_task_id():
                raise NotFound(
                    f"there is no task {task_id} any more",
                    "Tasks that ended are forgotten by database.keep_history and by client prune.",
                )
            return self._explained(tx, [_known(task, task_id)])[0]

    def tasks(self, wanted: Filter) -> list[Task]:
        with self.store.read() as tx:
            return self._explained(tx, tx.tasks(wanted))

    def tasks_page(
        self, wanted: Filter, page: Page, *, sort: str, falling: bool
    ) -> tuple[list[Task], int]:
        """The tasks of a page, and how many there are on all."""
        with self.store.read() as tx:
            found, total = tx.tasks_page(wanted, page, sort=sort, falling=falling)
            return self._explained(tx, found), total

    def reserved(self) -> dict[str, Reserved]:
        """What is held of each node."""
        with self.store.read() as tx:
            return tx.reserved()

    def explained(self, tasks: list[Task]) -> list[Task]:
        """Pending ones with the reason why they wait."""
        with self.store.read() as tx:
            return self._explained(tx, tasks)

    def _explained(self, tx: Tx, tasks: list[Task]) -> list[Task]:
        """Pending tasks with the reason why they wait; without one those about to be placed."""
        if not any(task.status is Status.PENDING for task in tasks):
            return tasks
        places, supply = self.registry.places(tx.reserved()), self._supply()
        chosen = {placement.task for placement in _chosen(tx, places, supply)}
        return [
            replace(task, message=_why(task, places, supply))
            if task.status is Status.PENDING and task.id not in chosen
            else task
            for task in tasks
        ]

    # What time brings

    def place(self) -> None:
        """Give waiting tasks to nodes with room. The assignment is the reservation."""

        supply = self._supply()

        def work(tx: Tx) -> list[tuple[int, str]]:
            placements = _chosen(tx, self.registry.places(tx.reserved()), supply)
            now = self._clock()
            for placement in placements:
                seq = (self.epoch, tx.next_order(placement.node))
                self._unsent.add(placement.node, seq)
                tx.assign(placement.task, placement.node, seq, now)
            return [(placement.task, placement.node) for placement in placements]

        placed = self.store.write(work)
        for task_id, node in placed:
            log.debug("task %d pending -> assigning on %s", task_id, node)
        for node in {node for _, node in placed}:
            self._on_orders(node)

    def _changed(self, work: Callable[[Tx], tuple[Task, Task]]) -> Task:
        """The task as work leaves it; work returns it before and after."""
        change = self.store.write(work)
        log_changes([change])
        return change[1]


def _known(task: Task | None, task_id: int) -> Task:
    if task is None:
        raise NotFound(f"there is no task {task_id}")
    return task


def _chosen(tx: Tx, places: list[Place], supply: Supply) -> list[Placement]:
    """The waiting tasks that can start now, and where."""
    waiting = tx.waiting(node.name for node in places if not node.unfit)
    return place(waiting, places, supply)


def _why(task: Task, places: list[Place], supply: Supply) -> str:
    """What happened to a pending task before, if anything, and why it waits now."""
    spec = task.spec
    waiting = Waiting(task.id, spec.cores, spec.memory, spec.container, spec.target)
    why = explain(waiting, places, supply)
    return why if not task.message or task.message in why else f"{task.message}; {why}"


def _submit_answer(tasks: list[Task], failed: list[dict[str, str]]) -> dict[str, Any]:
    ids = [str(task.id) for task in tasks]
    if len(ids) == 1:
        noun = f"Task {ids[0]}"
    elif len(ids) <= _NAMED:
        noun = f"Tasks {', '.join(ids)}"
    else:
        noun = f"{len(ids)} tasks, {ids[0]} to {ids[-1]},"
    answer: dict[str, Any] = {
        "message": f"{noun} accepted.",
        "task_ids": ids,
        "batch_id": str(tasks[0].batch_id),
    }
    return {**answer, "failed_targets": failed} if failed else answer
