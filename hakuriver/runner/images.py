"""Which image a task of an environment runs, and bringing it here if it is not.

The newest tarball decides, by its image id: no clock and no name does. One load per environment at a
time, for however many tasks wait for it; different environments load side by side.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hakuriver.model.errors import HakuRiverError, Refused
from hakuriver.model.node_messages import SyncState
from hakuriver.model.tarball import IMAGE_LABEL, Version, image_of
from hakuriver.runner.drivers import CannotStart
from hakuriver.system.archive import read_archive
from hakuriver.system.docker import Docker, Interrupted, NoEngine
from hakuriver.system.docker_stream import load_image
from hakuriver.system.plain import plain
from hakuriver.system.tarballs import Lease, Tarballs

log = logging.getLogger(__name__)

OnLoaded = Callable[[str], None]
"""Called with "" when the image is here, else with why it is not."""
OnProgress = Callable[[str], None]

_STEP_PERCENT = 5
_TRIES = 3
_LEFT_SECONDS = 60.0
_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Chosen:
    """The image to run; version is the UNIXTIME of its tarball. None if it was never published: then
    whatever has the name when the task starts is run, and image_id may be a few seconds old. path is
    the PATH that the image sets."""

    image_id: str
    version: int | None
    path: str = ""


@dataclass(slots=True)
class Loading:
    """A load under way, and who waits for it."""

    version: Version
    percent: int = 0
    waiters: list[tuple[OnProgress, OnLoaded]] = field(default_factory=list)


class Images:
    """Thread-safe. named() tells the ids of the images called hakuriver/ENV:base, as they were a few
    seconds ago; on_loaded() is called after each load."""

    def __init__(
        self,
        *,
        docker: Docker,
        tarballs: Tarballs,
        state: Path,
        node: str,
        named: Callable[[], Mapping[str, str]],
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self._docker = docker
        self._tarballs = tarballs
        self._aliases = Aliases(state / "images.json")
        self._node = node
        self._named = named
        self._on_loaded = on_loaded
        self._lock = threading.Lock()
        self._here: set[str] = set()
        self._replaced: set[str] = set()
        self._loading: dict[str, Loading] = {}
        self._problems: dict[str, str] = {}
        self._in_use: set[str] = set()
        self._paths: dict[str, str] = {}

    def published(self, named: Mapping[str, str]) -> dict[str, str]:
        """Image ids by environment, as the whole cluster knows them."""
        return self._aliases.published(named)

    def choose(self, environment: str) -> Chosen | Version:
        """The image to run, or the version that has to be loaded first.

        Raises CannotStart if there is neither tarball nor image, or none that can be used; NoEngine.
        """
        version = self._newest(environment)
        if version is None:
            return self._unpublished(environment)
        image_id = self._aliases.get(version)
        with self._lock:
            known = image_id in self._here
        if not known and self._docker.image_id(image_id) is None:
            return version
        with self._lock:
            self._here.add(image_id)
        return Chosen(image_id, version.time, self._path(image_id))

    def _newest(self, environment: str) -> Version | None:
        try:
            return self._tarballs.newest(environment)
        except Refused as error:
            raise CannotStart(f"environment '{environment}': {error.detail}") from None
        except OSError as error:
            raise CannotStart(
                f"cannot look for environment '{environment}' in {self._tarballs.folder}:"
                f" {error.strerror}"
            ) from None

    def _unpublished(self, environment: str) -> Chosen:
        image_id = self._named().get(environment) or self._docker.image_id(image_of(environment))
        if image_id is None:
            raise CannotStart(
                f"there is no environment '{environment}': no tarball {environment}-*.tar in"
                f" {self._tarballs.folder.name} and no image {image_of(environment)} on {self._node}."
                f" Make it on the host: docker create-container IMAGE {environment}, then"
                f" docker create-tar {environment}"
            )
        return Chosen(image_id, None, self._path(image_id))

    def _path(self, image_id: str) -> str:
        """Looked up once per image."""
        with self._lock:
            known = self._paths.get(image_id)
        if known is not None:
            return known
        path = self._docker.image_path(image_id)
        with self._lock:
            self._paths[image_id] = path
        return path

    def forget(self, image_id: str) -> None:
        """Somebody has removed it: look again next time."""
        with self._lock:
            self._here.discard(image_id)

    def load(self, version: Version, on_progress: OnProgress, on_loaded: OnLoaded) -> None:
        """See to it that the version is loaded; returns at once."""
        with self._lock:
            loading = self._loading.get(version.environment)
            if loading is not None:
                loading.waiters.append((on_progress, on_loaded))
                percent = loading.percent
            else:
                loading = Loading(version, waiters=[(on_progress, on_loaded)])
                self._loading[version.environment] = loading
                percent = 0
                threading.Thread(
                    target=self._run,
                    args=(loading,),
                    name=f"load-{version.environment}",
                    daemon=True,
                ).start()
        on_progress(_note(loading.version, percent))

    def sync(self, environment: str, *, begin: bool) -> SyncState:
        """How far the newest version is on its way here; begin: load it if it is not here.

        Raises CannotStart, NoEngine.
        """
        if begin:
            with self._lock:
                self._here.clear()  # Who asks wants to know what is true now.
        choice = self.choose(environment)
        if isinstance(choice, Chosen):
            return SyncState(environment, here=True, percent=100)
        if begin:
            self.load(choice, lambda note: None, lambda problem: None)
        with self._lock:
            loading = self._loading.get(environment)
            if loading is not None:
                return SyncState(environment, here=False, percent=loading.percent)
            problem = self._problems.get(environment, "it is not being loaded")
            return SyncState(environment, here=False, percent=0, problem=problem)

    # In the thread of one load

    def _run(self, loading: Loading) -> None:
        problem = ""
        try:
            self._load(loading)
        except HakuRiverError as error:
            problem = error.detail
        except OSError as error:
            problem = f"{loading.version.tarball}: {error.strerror}"
        except Exception:
            # Outer edge of the thread that tasks wait for.
            log.exception("cannot load %s", loading.version.tarball)
            problem = "internal error; see the runner's log"
        if problem:
            problem = (
                f"environment '{loading.version.environment}' cannot be loaded on {self._node}:"
                f" {plain(problem)}{_advice(problem)}"
            )
            log.error("%s", problem)
        with self._lock:
            del self._loading[loading.version.environment]
            self._problems[loading.version.environment] = problem
        self._on_loaded()
        for _, on_loaded in loading.waiters:
            on_loaded(problem)

    def _load(self, loading: Loading) -> None:
        why = ""
        for _ in range(_TRIES):
            version = loading.version
            try:
                with self._tarballs.lease(version, self._node) as lease:
                    self._load_leased(loading, lease)
                return
            except FileNotFoundError:
                # Superseded and removed before the lease was seen: there is a newer one.
                newest = self._newest(version.environment)
                if newest is None or newest == version:
                    raise
                loading.version = newest
                why = f"{loading.version.tarball} was removed again and again"
            except Interrupted as error:
                why = error.detail
                loading.percent = 0
        raise HakuRiverError(why)

    def _load_leased(self, loading: Loading, lease: Lease) -> None:
        version = loading.version
        path = self._tarballs.folder / version.tarball

        def on_bytes(done: int) -> None:
            percent = 100 * done // max(version.size, 1)
            if percent >= loading.percent + _STEP_PERCENT:
                loading.percent = percent
                lease.renew()
                self._tell(loading)

        name = image_of(version.environment)
        archive = read_archive(path)
        if archive.tags != (name,) or archive.image_id != version.image_id:
            # Loading it would put an image of another's choice under any name.
            raise HakuRiverError(f"{version.tarball} does not hold the image that it should")
        before = self._docker.image_id(name)
        log.info("loading %s, %d bytes", version.tarball, version.size)
        load_image(self._docker, path, sha256=version.sha256, size=version.size, on_bytes=on_bytes)
        local = self._docker.image_id(name)
        if local is None:
            raise HakuRiverError(f"the engine loaded {version.tarball} and has no image {name}")
        self._aliases.put(version, local)
        with self._lock:
            self._here.add(local)
            if before not in (None, local):
                self._replaced.add(str(before))
        log.info("%s is here", version.tarball)

    def _tell(self, loading: Loading) -> None:
        with self._lock:
            waiters = list(loading.waiters)
        for on_progress, _ in waiters:
            on_progress(_note(loading.version, loading.percent))

    # Images that nothing needs any more

    def tidy(self) -> None:
        """Remove earlier versions of environments that no container uses, and leases of our own that
        an earlier life has left."""
        with self._lock:
            reading = {each.version.tarball for each in self._loading.values()}
        self._tarballs.drop_leases(self._node, but=reading, older_than=_LEFT_SECONDS)
        with contextlib.suppress(NoEngine):
            self._remove_superseded()

    def _remove_superseded(self) -> None:
        dangling = ("image", "ls", "--no-trunc", "--quiet", "--filter=dangling=true")
        nameless = set(self._docker.run(*dangling).text.split())
        ours = set(self._docker.run(*dangling, f"--filter=label={IMAGE_LABEL}").text.split())
        try:
            wanted = {self._aliases.get(version) for version in self._current()}
        except OSError:
            return  # Without the folder nobody can tell what is superseded.
        with self._lock:
            ours |= self._replaced & nameless
        for image_id in ours - wanted:
            # Without --force the engine refuses while a container uses it.
            removed = self._docker.run("image", "rm", image_id).code == 0
            if removed:
                log.info("removed the superseded image %s", image_id)
            with self._lock:
                if removed:
                    self._here.discard(image_id)
                    self._replaced.discard(image_id)
                    self._in_use.discard(image_id)
                else:
                    self._in_use.add(image_id)

    def unused(self, image_id: str) -> bool:
        """A container of it is gone. Whether it is superseded, so that it may be removed now."""
        with self._lock:
            return image_id in self._in_use

    def _current(self) -> list[Version]:
        newest: dict[str, Version] = {}
        for version in self._tarballs.versions():
            newest.setdefault(version.environment, version)
        return list(newest.values())


class Aliases:
    """What this engine calls the image of a tarball, where that is not the id of its configuration:
    engines that keep images in containerd (default since 29) call it by the digest of its manifest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._ids: dict[str, str] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self._ids = {}  # Only costs a load.

    def get(self, version: Version) -> str:
        with self._lock:
            return self._ids.get(version.image_id, version.image_id)

    def put(self, version: Version, local: str) -> None:
        """Remember that the version is called so here. A lost file only costs a load."""
        if local == version.image_id:
            return
        with self._lock:
            self._ids = dict([*self._ids.items(), (version.image_id, local)][-_REMEMBERED:])
            temporary = self._path.with_suffix(".tmp")
            try:
                temporary.write_text(json.dumps(self._ids), encoding="utf-8")
                os.replace(temporary, self._path)
            except OSError as error:
                log.warning("cannot write %s: %s", self._path, error.strerror)

    def published(self, named: Mapping[str, str]) -> dict[str, str]:
        """Image ids as the host knows them."""
        with self._lock:
            names = {local: image_id for image_id, local in self._ids.items()}
        return {name: names.get(local, local) for name, local in named.items()}


def _note(version: Version, percent: int) -> str:
    return f"syncing {version.environment} ({percent} %)"


def _advice(problem: str) -> str:
    if "no space left" in problem.lower():
        return "; make room on that node's disk, and submit or requeue the task again"
    if "damaged" in problem or "bytes of its manifest" in problem or "EOF" in problem:
        return "; pack it again with docker create-tar"
    return ""
