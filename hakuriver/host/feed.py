"""What pages are told by themselves: made once, for all of them, and only what has changed.

One thread looks once a second, if anybody listens, and gives the same bytes to every reader. A reader
that does not keep up is dropped: its browser asks again, and gets everything anew.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hakuriver import __version__
from hakuriver.host.cluster import Cluster
from hakuriver.host.environment_routes import job_view
from hakuriver.host.jobs import Jobs
from hakuriver.host.listing import Filter
from hakuriver.host.placement import Reserved
from hakuriver.host.views import node_view, task_view
from hakuriver.model.errors import Unavailable
from hakuriver.model.task import Status, Task

READERS_MAX = 64
TASKS_MAX = 200
_BACKLOG_BYTES = 8 << 20
_WAITING = 20
_FAILURES = 10
_REASONS_SECONDS = 5.0
_AGES = ("heartbeat_age", "last_heartbeat")


def event(kind: str, data: Mapping[str, Any]) -> bytes:
    """As text/event-stream has it. JSON in ASCII holds no line break."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode("ascii")


def steady(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a node's row is worth telling when it changes: no ages, and no noise of load."""
    kept = {name: value for name, value in row.items() if name not in _AGES}
    total = row["memory_total_bytes"] or 1
    kept["cpu_percent"] = round(row["cpu_percent"] or 0)
    kept["memory_percent"] = round(row["memory_percent"] or 0)
    kept["memory_used_bytes"] = round(100 * (row["memory_used_bytes"] or 0) / total)
    return kept


class Reader:
    """One page's side. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._ended = False

    def put(self, data: bytes) -> None:
        """Never waits. Too much that was not taken ends it."""
        with self._changed:
            self._waiting.append(data)
            self._size += len(data)
            if self._size > _BACKLOG_BYTES:
                self._ended = True
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def next(self, seconds: float) -> bytes | None:
        """All that waits; b"" if there was nothing for so long; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, seconds)
            if self._ended:
                return None
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            return data


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
        self._changed_lock = threading.Lock()
        self._changed: set[int] = set()
        self._readers: set[Reader] = set()
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        """Nobody listens: what was told last is worth nothing any more."""
        self._rows: dict[str, dict[str, Any]] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._reserved: Mapping[str, Reserved] = {}
        self._counts: dict[str, Any] = {}
        self._looked_at = 0.0
        self._job_revisions: dict[str, int] = {}
        self._environment_state: object = None

    # Readers

    def attach(self) -> Reader:
        """A reader that knows everything at once. Raises Unavailable if there are too many."""
        with self._lock:
            if self._closed:
                raise Unavailable("the host is stopping")
            if len(self._readers) >= READERS_MAX:
                raise Unavailable(
                    f"{READERS_MAX} pages are open already, and each keeps a connection",
                    "Close some of them.",
                )
            if not self._readers:
                self._forget()
                with self._changed_lock:
                    self._changed.clear()
            reader = Reader()
            others = tuple(self._readers)
            # From now on changes are noted; what has changed until now goes to the others, and then
            # all know the same.
            self._readers.add(reader)
            self._tell(self._news(), others)
            reader.put(b"".join(self._everything()))
            return reader

    def detach(self, reader: Reader) -> None:
        with self._lock:
            self._readers.discard(reader)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for reader in self._readers:
                reader.end()

    # What happens

    def changed(self, ids: set[int]) -> None:
        """Called with each commit: does next to nothing."""
        if self._readers:
            with self._changed_lock:
                self._changed |= ids

    def sample(self, sample: Mapping[str, Any]) -> None:
        """A point of the charts."""
        with self._lock:
            if self._readers:
                self._tell([event("sample", sample)], self._readers)

    def step(self) -> None:
        with self._lock:
            if self._readers:
                self._tell(self._news(), self._readers)

    def _tell(self, events: list[bytes], readers: Iterable[Reader]) -> None:
        if events:
            data = b"".join(events)
            for reader in readers:
                reader.put(data)

    # What there is to tell

    def _everything(self) -> list[bytes]:
        hello = {
            "cluster": self._cluster.id,
            "version": __version__,
            "epoch": self._cluster.epoch,
            "now": self._clock(),
            "revision": self._cluster.store.revision,
        }
        jobs = [job_view(job) for job in self._jobs.all()]
        return [
            event("hello", hello),
            event("nodes", {"nodes": list(self._rows.values()), "gone": []}),
            event("counts", self._counts),
            event("jobs", {"jobs": jobs}),
        ]

    def _news(self) -> list[bytes]:
        with self._changed_lock:
            changed, self._changed = self._changed, set()
        now = self._clock()
        look = bool(changed) or now - self._looked_at >= _REASONS_SECONDS
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
        rows = {
            node.info.name: node_view(node, self._reserved.get(node.info.name, Reserved()), now=now)
            for node in self._cluster.registry.all()
        }
        told = {name: steady(row) for name, row in rows.items()}
        changed = [row for name, row in rows.items() if told[name] != self._told.get(name)]
        gone = sorted(self._told.keys() - told.keys())
        self._rows, self._told = rows, told
        return [event("nodes", {"nodes": changed, "gone": gone})] if changed or gone else []

    def _count_news(self) -> list[bytes]:
        with self._cluster.store.read() as tx:
            known = tx.by_status()
            waiting = tx.first_waiting(_WAITING)
            failures = tx.last_failures(_FAILURES)
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
        ids = tuple(sorted(changed, reverse=True)[:TASKS_MAX])
        tasks = self._cluster.tasks(Filter(ids=ids, limit=TASKS_MAX))
        return event(
            "tasks",
            {
                "revision": self._cluster.store.revision,
                "tasks": self._views(tasks),
                "more": len(changed) > len(ids),
            },
        )

    def _views(self, tasks: list[Task]) -> list[dict[str, Any]]:
        return [task_view(task, self._shared_dir) for task in tasks]

    def _job_news(self) -> list[bytes]:
        jobs = self._jobs.all()
        changed = [job for job in jobs if job.revision != self._job_revisions.get(job.id)]
        self._job_revisions = {job.id: job.revision for job in jobs}
        return [event("jobs", {"jobs": [job_view(job) for job in changed]})] if changed else []

    def _environment_news(self) -> list[bytes]:
        held = {name: row["environments"] for name, row in self._rows.items()}
        state = (self._environments(), held)
        before, self._environment_state = self._environment_state, state
        return [event("environments", {})] if before is not None and before != state else []
