"""What the host does with environments when a user asks: prepare, pack, publish, synchronise.

What takes long is a job; what does not is done at once. Packing and its undoing are in one place,
`_pack`: after it there is a whole new version, or everything is as it was.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hakuriver.host.environment_containers import (
    Committed,
    EnvironmentContainer,
    EnvironmentContainers,
)
from hakuriver.host.jobs import Job, Jobs, Progress
from hakuriver.host.registry import Registry
from hakuriver.host.runner_api import RunnerApi
from hakuriver.host.tarballs import Publisher, full
from hakuriver.model.errors import Conflict, HakuRiverError, NotFound, Refused
from hakuriver.model.node_messages import SyncState
from hakuriver.model.tarball import Version, holders, image_of
from hakuriver.model.target import check_environment_name
from hakuriver.system.archive import read_archive
from hakuriver.system.docker import Docker
from hakuriver.system.docker_stream import save_image
from hakuriver.system.glance import Glance

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_PUBLISHED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Tarball:
    """A published version, and the nodes that hold its image."""

    version: Version
    nodes: tuple[str, ...]


class Environments:
    """connect(url) makes the way to a runner; on_room is called when a waiting task may find its
    environment now."""

    def __init__(
        self,
        *,
        containers: EnvironmentContainers,
        publisher: Publisher,
        jobs: Jobs,
        registry: Registry,
        docker: Docker,
        connect: Callable[[str], RunnerApi],
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.jobs = jobs
        self._containers = containers
        self._publisher = publisher
        self._registry = registry
        self._docker = docker
        self._connect = connect
        self._on_room = on_room
        self._publishing = threading.Lock()
        self._published = Glance("published", self._look, frozenset[str](), age=_PUBLISHED_SECONDS)
        self._initial_problem = ""
        self._changes = 0

    @property
    def changes(self) -> int:
        """Rises whenever a container or a tarball came, went or became another."""
        return self._containers.changes + self._changes

    # Containers

    def containers(self) -> list[EnvironmentContainer]:
        return self._containers.list()

    def create(self, image: str, environment: str, user: str = "") -> Job:
        """A job that pulls the image if it is not here, and makes and starts the container."""
        check_environment_name(environment)
        if not image or image.startswith("-") or not image.isprintable() or " " in image:
            raise Refused(f"'{image[:100]}' is no name of an image")
        self._containers.check_free(environment)
        return self.jobs.start(
            "create", environment, lambda progress: self._create(image, environment, progress),
            user=user,
        )  # fmt: skip

    def _create(self, image: str, environment: str, progress: Progress) -> dict[str, Any]:
        self._have_image(image, progress)
        progress.stage("creating the container")
        self._containers.create(image, environment)
        return {
            "message": f"Environment '{environment}' is ready: its container runs {image}.",
            "container_name": environment,
        }

    def _have_image(self, image: str, progress: Progress) -> None:
        if not self._containers.has_image(image):
            progress.stage(f"pulling {image}")
            self._containers.pull(image, progress.bytes)

    def open(self, environment: str) -> str:
        """The id of its container, started if need be."""
        return self._containers.open(environment)

    def start(self, environment: str) -> None:
        self._containers.open(environment)

    def stop(self, environment: str) -> None:
        self._containers.stop(environment)

    def delete(self, environment: str) -> None:
        """Its tarballs stay."""
        busy = self.jobs.making().get(environment)
        if busy is not None:
            raise Conflict(
                f"environment '{environment}' is being packed, job {busy.id}",
                "Delete its container when that is over.",
            )
        self._containers.delete(environment)

    # Tarballs

    def tarballs(self) -> list[Tarball]:
        """By environment, newest first. Raises Unavailable."""
        held = {node.info.name: node.info.environments for node in self._registry.all()}
        return [Tarball(version, tuple(holders(version, held))) for version in self._versions(None)]

    def problems(self) -> list[str]:
        """Tarballs that cannot be used, and why."""
        try:
            return self._publisher.tarballs.problems()
        except OSError as error:
            raise full(self._publisher.tarballs.folder, error) from None

    def _versions(self, environment: str | None) -> list[Version]:
        try:
            return self._publisher.tarballs.versions(environment)
        except OSError as error:
            raise full(self._publisher.tarballs.folder, error) from None

    def published(self) -> frozenset[str]:
        """Environments that any node can get; asked for with every placement, so it may be
        two seconds old. While the folder cannot be read it is what it was."""
        return self._published.get()

    def _look(self) -> frozenset[str]:
        return frozenset(each.environment for each in self._publisher.tarballs.versions())

    def _look_again(self) -> None:
        self._published.again()
        self._changes += 1
        self._on_room()

    def making(self) -> Mapping[str, str]:
        """Environments that are on their way to a first tarball, and what to say of them."""
        ready = self.published()
        return {
            name: f"environment {name} is being made (job {job.id})"
            for name, job in self.jobs.making().items()
            if name not in ready
        }

    def pack(self, environment: str, user: str = "") -> Job:
        """A job that publishes what the container is now as a new version."""
        check_environment_name(environment)
        self._containers.check_ours(environment)  # Now, not in a job that nobody looks at.
        return self.jobs.start(
            "pack", environment, lambda progress: self._pack(environment, user, progress), user=user
        )

    def _pack(self, environment: str, user: str, progress: Progress) -> dict[str, Any]:
        progress.stage("committing the container")
        committed = self._containers.commit(environment, user)
        try:
            version = self._publish(environment, user, committed, progress)
        except BaseException:
            self._containers.undo_commit(environment, committed)
            raise
        with self._publishing:
            self._publisher.withdraw_superseded()
        self._containers.remove_superseded()
        return {
            "message": f"Environment '{environment}' is published as {version.tarball}.",
            "tarball_path": str(self._publisher.tarballs.folder / version.tarball),
            "image_id": version.image_id,
            "size_bytes": version.size,
        }

    def _publish(
        self, environment: str, user: str, committed: Committed, progress: Progress
    ) -> Version:
        folder = self._publisher.tarballs.folder
        progress.stage("saving the image", total=committed.size)
        try:
            with self._publisher.unfinished(environment) as file:
                size, sha256 = save_image(self._docker, image_of(environment), file, progress.bytes)
                if self._containers.image_id(environment) != committed.image_id:
                    raise Conflict(
                        f"somebody gave the name {image_of(environment)} to another image meanwhile"
                    )
                progress.stage("publishing")
                file.flush()
                version = Version(
                    environment=environment,
                    time=self._publisher.next_time(environment),
                    # Not the engine's own name for it: that differs between kinds of engines.
                    image_id=read_archive(Path(file.name)).image_id,
                    size=size,
                    sha256=sha256,
                    created_by=user,
                    layers=committed.layers,
                )
                self._publisher.publish(file, version)
                self._look_again()
                return version
        except OSError as error:
            raise full(folder, error) from None

    def delete_tarballs(self, environment: str, version: int | None) -> list[Version]:
        check_environment_name(environment)
        if environment in self.jobs.making():
            raise Conflict(f"environment '{environment}' is being packed")
        try:
            with self._publishing:
                gone = self._publisher.delete(environment, version)
        except OSError as error:
            raise full(self._publisher.tarballs.folder, error) from None

        self._look_again()
        return gone

    def make_initial(self, environment: str, image: str) -> Job | None:
        """At the host's start: the default environment, if it has no tarball yet.

        A failure is a line in the log, and told to those whose tasks need it.
        """
        with contextlib.suppress(OSError):
            # Not a glance: what is not found is made.
            if not image or environment in self._look():
                return None
        return self.jobs.start(
            "initial", environment, lambda progress: self._initial(image, environment, progress)
        )

    def _initial(self, image: str, environment: str, progress: Progress) -> dict[str, Any]:
        try:
            if self._containers.has(environment):
                log.info("environment %s has a container: packing it", environment)
            else:
                self._create(image, environment, progress)
            result = self._pack(environment, "the host", progress)
        except HakuRiverError as error:
            self._initial_problem = error.detail
            log.warning("the default environment %s was not made: %s", environment, error.detail)
            log.warning(
                "make it by hand (docker create-container, docker create-tar), name another in"
                ' docker.default_container_name, or write "NULL" there to use none'
            )
            raise
        finally:
            self._on_room()
        return result

    @property
    def initial_problem(self) -> str:
        """Why the default environment could not be made, "" if nothing went wrong."""
        return self._initial_problem

    def tidy(self) -> None:
        """Delete what was withdrawn while nodes were reading it."""
        try:
            with self._publishing:
                self._publisher.delete_withdrawn()
        except OSError as error:
            log.warning("cannot tidy %s: %s", self._publisher.tarballs.folder, error.strerror)

    # Nodes

    def sync(self, environment: str, nodes: tuple[str, ...], user: str = "") -> Job:
        """A job that sees to it that nodes have the newest version; () means all that can."""
        check_environment_name(environment)
        if not self._versions(environment):
            raise NotFound(
                f"environment '{environment}' has no tarball that can be used",
                f"Make one with: docker create-tar {environment}",
            )
        known = {node.info.name: node for node in self._registry.all()}
        for name in nodes:
            if name not in known:
                raise NotFound(f"node {name} is not registered")
            if known[name].info.engine is None or not known[name].online:
                state = "is offline" if not known[name].online else "has no Docker engine"
                raise Conflict(f"node {name} {state}")
        able = [n.info.name for n in known.values() if n.online and n.info.engine is not None]
        chosen = nodes or tuple(able)
        if not chosen:
            raise Conflict("no node with a Docker engine is online")
        urls = {name: known[name].info.url for name in chosen}
        return self.jobs.start(
            "sync", environment, lambda progress: self._sync(environment, urls, progress), user=user
        )

    def _sync(
        self, environment: str, urls: Mapping[str, str], progress: Progress
    ) -> dict[str, Any]:
        states: dict[str, SyncState] = {}
        apis = {name: self._connect(url) for name, url in urls.items()}
        begin = True
        try:
            while True:
                for name, api in apis.items():
                    progress.check()
                    if name not in states or not _settled(states[name]):
                        states[name] = _ask(api, environment, begin=begin)
                begin = False
                if all(map(_settled, states.values())):
                    break
                progress.stage(_percents(states))
                time.sleep(_POLL_SECONDS)
        finally:
            for api in apis.values():
                api.close()
        failed = {name: state.problem for name, state in states.items() if not state.here}
        if failed:
            words = "; ".join(f"{name}: {problem}" for name, problem in failed.items())
            raise HakuRiverError(f"'{environment}' could not be brought to every node: {words}")
        return {
            "message": f"Environment '{environment}' is on {', '.join(sorted(states))}.",
            "nodes": sorted(states),
        }


def _settled(state: SyncState) -> bool:
    return state.here or bool(state.problem)


def _ask(api: RunnerApi, environment: str, *, begin: bool) -> SyncState:
    try:
        return api.sync(environment, begin=begin)
    except HakuRiverError as error:
        return SyncState(environment, here=False, percent=0, problem=error.detail)


def _percents(states: Mapping[str, SyncState]) -> str:
    return ", ".join(f"{name} {state.percent} %" for name, state in sorted(states.items()))
