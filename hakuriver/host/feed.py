"""What pages are told by themselves: made once, for all of them, and only what has changed.

One thread looks once a second, if anybody listens, and gives the same bytes to every reader. A reader
that does not keep up is dropped: its browser asks again, and gets everything anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hakuriver import __version__
from hakuriver.host.cluster import Cluster
from hakuriver.host.environment_routes import job_view
from hakuriver.host.jobs import Jobs
from hakuriver.host.listing import Filter
from hakuriver.host.news import Row, event, fitting, node_news
from hakuriver.host.placement import Reserved
from hakuriver.host.readers import Reader
from hakuriver.host.views import node_view, task_view
from hakuriver.model.errors import Unavailable
from hakuriver.model.task import Status, Task
from hakuriver.system import program

READERS_MAX = 64
TASKS_MAX = 200
_WAITING = 20
_FAILURES = 10
_CHARACTERS = 1 << 20
"""Of the command lines of an event, so that tasks with megabytes of arguments do not fill every page."""
_REASONS_SECONDS = 5.0
"""Why a task waits may change without any task: so counts are looked at this often, too."""


class Feed:
    """step() tells what changed since the last one. environments: rises when any of them changed."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        jobs: Jobs,
        environments: Callable[[], int],
        shared_dir: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._jobs = jobs
        self._environments = environments
        self._shared_dir = shared_dir
        self._clock = clock
        self._lock = threading.Lock()  # of a step, and of who reads
        self._readers: set[Reader] = set()
        self._closed = False
        self._changed_lock = threading.Lock()
        self._listening = False
        self._changed: set[int] = set()
        self._forget()

    def _forget(self) -> None:
        """Nobody listens: what was told last is worth nothing any more."""
        self._rows: dict[str, Row] = {}
        self._told: dict[str, Row] = {}
        self._reserved: Mapping[str, Reserved] = {}
        self._counts: dict[str, Any] = {}
        self._looked_at: float | None = None
        self._jobs_revision = 0
        self._environment_state: object = None

    # Readers

    def attach(self) -> Reader:
        """A reader that knows at once what was told to the others. Raises Unavailable if there are
        too many."""
        with self._lock:
            if self._closed:
                raise Unavailable("the host is stopping")
            if len(self._readers) >= READERS_MAX:
                raise Unavailable(
                    f"{READERS_MAX} pages are open already, and each keeps a connection",
                    "Close some of them.",
                )
            if not self._readers:
                self._begin()
            reader = Reader()
            reader.put(b"".join(self._everything()))
            self._readers.add(reader)
            return reader

    def _begin(self) -> None:
        """Listen first: what is committed while we look is then told twice, not never."""
        self._listen(True)
        self._forget()
        try:
            self._news()
        except BaseException:
            self._listen(False)
            raise

    def _listen(self, listening: bool) -> None:
        with self._changed_lock:
            self._listening = listening
            self._changed = set()

    def detach(self, reader: Reader) -> None:
        with self._lock:
            self._readers.discard(reader)
            if not self._readers:
                self._listen(False)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._end_all()

    def _end_all(self) -> None:
        for reader in self._readers:
            reader.end()
        self._readers.clear()
        self._listen(False)

    # What happens

    def changed(self, ids: set[int]) -> None:
        """Called with each commit, by who holds the writer's lock: does next to nothing."""
        with self._changed_lock:
            if self._listening:
                self._changed |= ids

    def sample(self, sample: Mapping[str, Any]) -> None:
        """A point of the charts."""
        with self._lock:
            if self._readers:
                self._tell([event("sample", sample)])

    def step(self) -> None:
        with self._lock:
            if not self._readers:
                return
            try:
                self._tell(self._news())
            except BaseException:
                # Part of what changed is lost: pages come again, and get everything anew.
                self._end_all()
                raise

    def _tell(self, events: list[bytes]) -> None:
        if events:
            data = b"".join(events)
            for reader in self._readers:
                reader.put(data)

    # What there is to tell

    def _everything(self) -> list[bytes]:
        hello = {
            "cluster": self._cluster.id,
            "version": __version__,
            "build": program.build(),
            "epoch": self._cluster.epoch,
            "now": self._clock(),
            "revision": self._cluster.store.revision,
        }
        return [
            event("hello", hello),
            event("nodes", {"nodes": list(self._rows.values()), "gone": []}),
            event("counts", self._counts),
            event("jobs", {"jobs": [job_view(job) for job in self._jobs.all()]}),
        ]

    def _news(self) -> list[bytes]:
        with self._changed_lock:
            changed, self._changed = self._changed, set()
        now = self._clock()
        since = None if self._looked_at is None else now - self._looked_at
        look = bool(changed) or since is None or not 0 <= since < _REASONS_SECONDS
        if look:
            self._looked_at = now
            self._reserved = self._cluster.reserved()
        news = self._node_news(now)
        if look:
            news += self._count_news()
        if changed:
            news.append(self._task_news(changed))
        return [*news, *self._job_news(), *self._environment_news()]

    def _node_news(self, now: float) -> list[bytes]:
        self._rows = {
            node.info.name: node_view(node, self._reserved.get(node.info.name, Reserved()), now=now)
            for node in self._cluster.registry.all()
        }
        changed, gone = node_news(self._told, self._rows)
        self._told = {name: changed.get(name) or self._told[name] for name in self._rows}
        if not changed and not gone:
            return []
        return [event("nodes", {"nodes": list(changed.values()), "gone": gone})]

    def _count_news(self) -> list[bytes]:
        with self._cluster.store.read() as tx:
            known = tx.by_status()
            waiting = fitting(tx.first_waiting(_WAITING), _CHARACTERS)
            failures = fitting(tx.last_failures(_FAILURES), _CHARACTERS)
        counts = {
            "by_status": {status.value: known.get(status.value, 0) for status in Status},
            "waiting": self._views(self._cluster.explained(waiting)),
            "failures": self._views(failures),
        }
        if counts == self._counts:
            return []
        self._counts = counts
        return [event("counts", counts)]

    def _task_news(self, changed: set[int]) -> bytes:
        # Before the tasks are read: of what changes in between, pages are told once more.
        revision = self._cluster.store.revision
        ids = tuple(sorted(changed, reverse=True)[:TASKS_MAX])
        found = self._cluster.tasks(Filter(ids=ids, limit=TASKS_MAX))
        tasks = fitting(found, _CHARACTERS)
        told = {"revision": revision, "tasks": self._views(tasks)}
        told["more"] = len(changed) > len(ids) or len(found) > len(tasks)
        told["gone"] = [str(task_id) for task_id in set(ids) - {task.id for task in found}]
        return event("tasks", told)

    def _views(self, tasks: list[Task]) -> list[dict[str, Any]]:
        return [task_view(task, self._shared_dir) for task in tasks]

    def _job_news(self) -> list[bytes]:
        self._jobs_revision, changed = self._jobs.changed(self._jobs_revision)
        return [event("jobs", {"jobs": [job_view(job) for job in changed]})] if changed else []

    def _environment_news(self) -> list[bytes]:
        held = {name: row["environments"] for name, row in self._rows.items()}
        state = (self._environments(), held)
        before, self._environment_state = self._environment_state, state
        return [event("environments", {})] if before is not None and before != state else []
