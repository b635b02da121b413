"""The containers that environments are prepared in, through the docker SDK.

Only containers with our labels are listed, opened or changed; whatever else has the name is left
alone, and said to be there. The engine is the host's own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hakuriver.host.engine import (
    ANSWER_SECONDS,
    WORK_SECONDS,
    engine,
    import_sdk,
    sdk_errors,
    words,
)
from hakuriver.host.exec_session import ExecSession
from hakuriver.model.errors import Conflict, HakuRiverError, NotFound, Refused
from hakuriver.model.tarball import ENVIRONMENT_LABEL, ROLE_LABEL, image_of
from hakuriver.system.bridge import Session
from hakuriver.system.shell_request import ShellRequest

# A number, since not every `sleep` knows "infinity"; 68 years.
_SLEEP = "2147483647"
_STOP_SECONDS = 10
_SETTLE_SECONDS = 0.3

OnPull = Callable[[int, int], None]
"""Called with bytes so far and in all, as far as they are known."""


@dataclass(frozen=True, slots=True)
class EnvironmentContainer:
    """status is docker's word: created, running, paused, exited …"""

    id: str
    environment: str
    image: str
    status: str
    created: str


class EnvironmentContainers:
    """Thread-safe. Every method raises Unavailable if there is no engine that we may use."""

    def __init__(self, *, shared_data: str) -> None:
        self._shared_data = shared_data
        self.changes = 0
        """Rises whenever one came, went, or was started or stopped by us."""

    def list(self) -> list[EnvironmentContainer]:
        with engine() as client:
            filters = {"label": f"{ROLE_LABEL}=environment"}
            found = client.containers.list(all=True, filters=filters, ignore_removed=True)
            return sorted(map(_described, found), key=lambda each: each.environment)

    def check_free(self, environment: str) -> None:
        """Raises Conflict if a container has the name, ours or not."""
        with engine() as client:
            container = _find(client, environment)
        if container is None:
            return
        if _is_ours(container, environment):
            raise Conflict(
                f"environment '{environment}' has a container already",
                f"Open it with: docker-shell {environment}. To begin anew: docker"
                f" delete-container {environment}",
            )
        raise _not_ours(environment)

    def has(self, environment: str) -> bool:
        """Whether it has a container. Raises Conflict if somebody else's has its name."""
        with contextlib.suppress(NotFound):
            self.check_ours(environment)
            return True
        return False

    def check_ours(self, environment: str) -> None:
        """Raises NotFound, Conflict."""
        with self._ours(environment):
            pass

    def has_image(self, image: str) -> bool:
        with engine() as client:
            try:
                client.images.get(image)
            except sdk_errors().ImageNotFound:
                return False
            return True

    def pull(self, image: str, on_pull: OnPull) -> None:
        """Raises Refused with the engine's words."""
        repository, tag = _split_tag(image)
        layers: dict[str, tuple[int, int]] = {}
        with engine(WORK_SECONDS) as client:
            try:
                for event in client.api.pull(repository, tag=tag, stream=True, decode=True):
                    if "error" in event:
                        raise Refused(*_cannot_pull(image, str(event["error"])))
                    detail = event.get("progressDetail") or {}
                    if "id" in event and detail.get("total"):
                        layers[event["id"]] = (int(detail.get("current", 0)), int(detail["total"]))
                    on_pull(*map(sum, zip(*layers.values(), strict=True)) if layers else (0, 0))
            except sdk_errors().APIError as error:
                raise Refused(*_cannot_pull(image, words(error))) from None

    def create(self, image: str, environment: str) -> EnvironmentContainer:
        """Make and start it; nothing is left if it cannot be started. Raises Conflict, Refused."""
        with engine() as client:
            try:
                container = client.containers.create(
                    image,
                    name=environment,
                    # No CMD: an image that has none itself would get it when this is packed.
                    entrypoint=["sleep", _SLEEP],
                    labels={ROLE_LABEL: "environment", ENVIRONMENT_LABEL: environment},
                    init=True,
                    volumes={self._shared_data: {"bind": "/shared", "mode": "rw"}},
                )
            except sdk_errors().APIError as error:
                if error.status_code == 409:
                    raise Conflict(
                        f"a container named '{environment}' has just been made"
                    ) from None
                raise Refused(f"cannot make a container of {image}: {words(error)}") from None
            try:
                container.start()
                _check_stays(container, image)
            except sdk_errors().APIError as error:
                _remove(container)
                raise _cannot_start(image, words(error)) from None
            except BaseException:
                _remove(container)
                raise
            self.changes += 1
            return _described(container)

    def open(self, environment: str) -> str:
        """The id of its container, started if it was stopped. Raises NotFound, Conflict."""
        with self._ours(environment) as container:
            try:
                if container.status == "paused":
                    container.unpause()
                container.start()  # Nothing, if it runs.
            except sdk_errors().APIError as error:
                raise Conflict(f"cannot start '{environment}': {words(error)}") from None
            self.changes += 1
            return str(container.id)

    def exec(self, environment: str, wanted: ShellRequest) -> Session:
        """A command in its container, started if it was stopped. Raises NotFound, Conflict."""
        container = self.open(environment)
        docker = import_sdk()
        with engine():
            client = docker.from_env(timeout=ANSWER_SECONDS, version="auto")
        return ExecSession(
            client,
            container,
            wanted.command,
            size=wanted.size,
            term=wanted.term,
            translate=_cannot_exec,
        )

    def stop(self, environment: str) -> None:
        with self._ours(environment) as container:
            container.stop(timeout=_STOP_SECONDS)
            self.changes += 1

    def delete(self, environment: str) -> None:
        with self._ours(environment) as container:
            container.remove(force=True, v=True)
            self.changes += 1

    def commit(self, environment: str, user: str) -> Committed:
        """Make the image hakuriver/ENV:base of it, running or not; paused for that moment."""
        with self._ours(environment, WORK_SECONDS) as container:
            client = container.client
            before = _image_id(client, image_of(environment))
            config = _config_of_image(client, container)
            # Not as changes: "ENTRYPOINT []" there means the container's own, our `sleep`.
            own = {each: config.get(each) or [] for each in ("Entrypoint", "Cmd")}
            changes = [f"LABEL {ROLE_LABEL}=image {ENVIRONMENT_LABEL}={environment}"]
            repository, tag = image_of(environment).split(":")
            try:
                author = f"{user or 'somebody'} with HakuRiver"
                image = container.commit(repository, tag, author=author, changes=changes, conf=own)
                attrs = client.images.get(image.id).attrs
            except sdk_errors().APIError as error:
                raise HakuRiverError(f"cannot commit '{environment}': {words(error)}") from None
            layers = tuple((attrs.get("RootFS") or {}).get("Layers") or ())
            return Committed(image.id, int(attrs.get("Size") or 0), layers, before)

    def undo_commit(self, environment: str, committed: Committed) -> None:
        """Give the name back to the image that had it before, and drop the new one."""
        with contextlib.suppress(HakuRiverError), engine() as client:
            if committed.before is not None:
                repository, tag = image_of(environment).split(":")
                client.api.tag(committed.before, repository, tag, force=True)
            else:
                client.api.remove_image(image_of(environment))
            if committed.before != committed.image_id:
                client.api.remove_image(committed.image_id)

    def image_id(self, environment: str) -> str | None:
        with engine() as client:
            return _image_id(client, image_of(environment))

    def remove_superseded(self) -> None:
        """Remove earlier images of environments that nothing uses."""
        with engine() as client:
            filters = {"dangling": True, "label": f"{ROLE_LABEL}=image"}
            for image in client.images.list(filters=filters):
                with contextlib.suppress(Exception):  # In use: the engine says no.
                    client.api.remove_image(image.id)

    @contextlib.contextmanager
    def _ours(self, environment: str, seconds: float = ANSWER_SECONDS) -> Iterator[Any]:
        with engine(seconds) as client:
            container = _find(client, environment)
            if container is None:
                raise NotFound(
                    f"environment '{environment}' has no container on the host",
                    f"Make one with: docker create-container IMAGE {environment}. The ones there"
                    " are: docker list-containers",
                )
            if not _is_ours(container, environment):
                raise _not_ours(environment)
            yield container


@dataclass(frozen=True, slots=True)
class Committed:
    """size in bytes as docker counts; before: the image that had the name until now."""

    image_id: str
    size: int
    layers: tuple[str, ...]
    before: str | None


def _find(client: Any, environment: str) -> Any | None:
    try:
        container = client.containers.get(environment)
    except sdk_errors().NotFound:
        return None
    except sdk_errors().APIError as error:
        if "multiple ids found" in words(error).lower():
            return None
        raise
    # The engine takes a name for the beginning of an id as well.
    return container if container.name == environment else None


def _is_ours(container: Any, environment: str) -> bool:
    labels: dict[str, str] = container.labels
    return labels.get(ROLE_LABEL) == "environment" and labels.get(ENVIRONMENT_LABEL) == environment


def _not_ours(environment: str) -> Conflict:
    return Conflict(
        f"the container named '{environment}' on the host was not made by HakuRiver",
        "It is left alone. Choose another name for the environment.",
    )


def _check_stays(container: Any, image: str) -> None:
    """Without `sleep` in the image docker-init starts, and ends at once. Raises Refused."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        container.reload()
        if container.status not in ("created", "running"):
            raise _cannot_start(image, "no program `sleep`")
        time.sleep(0.05)


def _described(container: Any) -> EnvironmentContainer:
    config = container.attrs["Config"]
    return EnvironmentContainer(
        id=container.id,
        environment=container.labels.get(ENVIRONMENT_LABEL, container.name),
        image=config.get("Image") or container.attrs.get("Image", ""),
        status=container.status,
        created=str(container.attrs.get("Created", "")),
    )


def _config_of_image(client: Any, container: Any) -> dict[str, Any]:
    """Of the image that the container was made from; empty if that is gone."""
    try:
        return dict(client.images.get(container.attrs["Image"]).attrs.get("Config") or {})
    except sdk_errors().ImageNotFound:
        return {}


def _image_id(client: Any, name: str) -> str | None:
    try:
        return str(client.images.get(name).id)
    except sdk_errors().ImageNotFound:
        return None


def _remove(container: Any) -> None:
    with contextlib.suppress(Exception):  # What went wrong before is what matters.
        container.remove(force=True, v=True)


def _split_tag(image: str) -> tuple[str, str | None]:
    """ "python" means python:latest; a digest is part of the repository for the engine."""
    if "@" in image:
        repository, _, digest = image.partition("@")
        return repository, digest
    repository, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        return repository, tag
    return image, "latest"


def _cannot_pull(image: str, words: str) -> tuple[str, str]:
    return (
        f"the image {image} is not on the host and cannot be pulled: {words[:500]}",
        (
            "Check its name. Without the internet, bring it by hand: docker save -o FILE on a"
            " machine that has it, docker load -i FILE on the host."
        ),
    )


def _cannot_start(image: str, words: str) -> Refused:
    if "sleep" in words:
        return Refused(
            f"{image} has no program `sleep`, which keeps an environment alive",
            "Use an image with the usual command line tools.",
        )
    return Refused(f"cannot start a container of {image}: {words[:500]}")


def _cannot_exec(error: Exception) -> HakuRiverError:
    said = words(error)
    if "executable file not found" in said or "no such file or directory" in said:
        return Refused(f"the container has no such program: {said[:300]}")
    return HakuRiverError(f"cannot open a shell in the container: {said[:500]}")
