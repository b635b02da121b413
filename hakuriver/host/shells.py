"""Shells in environments' containers, and through to the nodes beside tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hakuriver.host.cluster import Cluster
from hakuriver.host.environment_containers import EnvironmentContainers
from hakuriver.host.terminals import Terminals
from hakuriver.model.errors import Conflict
from hakuriver.model.target import check_environment_name
from hakuriver.model.task import Status
from hakuriver.system.bridge import Session
from hakuriver.system.httpc import HttpClient
from hakuriver.system.plain import plain
from hakuriver.system.remote_session import open_session
from hakuriver.system.shell_request import ShellRequest

log = logging.getLogger(__name__)


class Shells:
    """connect(url) makes a client of a runner. terminals: where those of pages are kept."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        containers: EnvironmentContainers,
        connect: Callable[[str], HttpClient],
        terminals: Terminals,
    ) -> None:
        self.terminals = terminals
        self._cluster = cluster
        self._containers = containers
        self._connect = connect

    def environment(self, name: str, wanted: ShellRequest, *, peer: str) -> Session:
        """In its container, started if it was stopped. Raises NotFound, Conflict, Unavailable."""
        session = self._containers.exec(check_environment_name(name), wanted)
        log.info("shell in environment %s, from %s", name, plain(peer))
        return session

    def task(self, task_id: int, wanted: ShellRequest, *, peer: str) -> Session:
        """Beside a task that runs. Raises NotFound, Conflict, Unreachable."""
        task = self._cluster.task(task_id)
        if task.status.final:
            raise Conflict(f"task {task_id} is over: {task.status.value}")
        if task.node is None or task.status in (Status.PENDING, Status.ASSIGNING):
            raise Conflict(f"task {task_id} has not started yet: {task.status.value}")
        node = self._cluster.registry.get(task.node)
        if node is None or not node.online:
            raise Conflict(f"task {task_id} is on {task.node}, which does not answer")
        fields: dict[str, str | list[str]] = {
            f"arg{place}": word for place, word in enumerate(wanted.command)
        }
        if wanted.term:
            fields["term"] = wanted.term
        path = f"/v1/shell/{task_id}/{task.attempt}"
        session = open_session(self._connect(node.info.url), path, size=wanted.size, fields=fields)
        log.info("shell beside task %d on %s, from %s", task_id, task.node, plain(peer))
        return session
