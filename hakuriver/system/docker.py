"""The docker command line: argv lists, and reading what it prints.

The CLI and not the API: it works through `sudo -n` and speaks whatever version the engine does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hakuriver.model.errors import HakuRiverError
from hakuriver.system.command import CommandFailed, Completed, run

LABEL = "hakuriver"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What the engine gives to images that set none (moby: system.DefaultPathEnvUnix)."""


class NoEngine(HakuRiverError):
    """There is no Docker engine that we may use."""


class Interrupted(NoEngine):
    """Somebody ended the docker client; it says nothing of what it was to work on."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    version: str
    live_restore: bool
    init: bool


@dataclass(frozen=True, slots=True)
class Container:
    """A container as `docker inspect` describes it. started: it has ever been started."""

    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    started: bool
    exit_code: int
    image: str


def mount_field(field: str) -> str:
    """A field of --mount: the option is one line of CSV (docker docs, `--mount`)."""
    return '"' + field.replace('"', '""') + '"' if set(field) & set(',"\n') else field


def mount_option(source: str, target: str, *, read_only: bool = False) -> list[str]:
    fields = ["type=bind", f"source={source}", f"target={target}"]
    return ["--mount", ",".join([*map(mount_field, fields), *(["readonly"] if read_only else [])])]


class Docker:
    """prefix is what to put before `docker`, for example ("sudo", "-n")."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self.argv = [*prefix, "docker"]

    def run(
        self, *arguments: str, timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Raises NoEngine if it is the engine that does not answer, Interrupted if the client was ended;
        else see Completed.code."""
        argv = [
            argument.encode("utf-8", "surrogateescape") for argument in (*self.argv, *arguments)
        ]
        try:
            done = run(argv, timeout=timeout, extra_env=env)
        except CommandFailed as error:
            raise NoEngine(error.detail, "Install Docker, or start its engine.") from None
        if done.code < 0 or done.code > 128:
            raise Interrupted(f"docker {arguments[0]} was stopped by a signal")
        if done.code != 0:
            check_engine(done)
        return done

    def facts(self) -> EngineFacts:
        """Raises NoEngine with what to do."""
        done = self.run("info", "--format", "{{json .}}", timeout=20)
        if done.code != 0:
            raise NoEngine(f"docker info: {done.error}")
        info = json.loads(done.text)
        if info.get("ServerErrors"):
            check_engine(Completed(1, b"", "\n".join(info["ServerErrors"]).encode()))
            raise NoEngine(str(info["ServerErrors"][0]))
        return EngineFacts(
            version=str(info.get("ServerVersion", "unknown")),
            live_restore=bool(info.get("LiveRestoreEnabled")),
            init=bool(info.get("InitBinary")),
        )

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """All containers with these labels, running or not. Raises NoEngine."""
        filters = [f"--filter=label={name}={value}" for name, value in labels.items()]
        done = self.run("ps", "--all", "--quiet", "--no-trunc", *filters)
        if done.code != 0:
            raise NoEngine(f"docker ps: {done.error}")
        return self.inspect(*done.text.split())

    def inspect(self, *names: str) -> list[Container]:
        """Those that exist."""
        if not names:
            return []
        # Ids that are gone by now make the code 1; the others are printed all the same.
        done = self.run("container", "inspect", *names)
        return [_container(each) for each in json.loads(done.text or "[]")]

    def image_id(self, name: str) -> str | None:
        """The id of an image, by name or id; None if it is not here. Raises NoEngine."""
        done = self.run("image", "inspect", "--format={{.Id}}", name)
        return done.text if done.code == 0 else None

    def image_path(self, name: str) -> str:
        """The PATH of an image's containers: its own, or the engine's default. Raises NoEngine."""
        done = self.run("image", "inspect", "--format={{json .Config.Env}}", name)
        variables = json.loads(done.text or "null") if done.code == 0 else None
        found = [each for each in variables or () if each.startswith("PATH=")]
        return found[-1].partition("=")[2] if found else DEFAULT_PATH

    def environments(self) -> dict[str, str]:
        """Name and image id of each image hakuriver/NAME:base."""
        done = self.run(
            "image", "ls", "--no-trunc", "--filter=reference=hakuriver/*:base",
            "--format={{.Repository}} {{.ID}}",
        )  # fmt: skip
        pairs = [line.split() for line in done.text.splitlines()]
        return {pair[0].partition("/")[2]: pair[1] for pair in pairs if len(pair) == 2}


def engine_error(done: Completed) -> str:
    """What the engine had against it; the client's own last line says only which container it was."""
    told = "Error response from daemon: "
    for line in done.err.decode("utf-8", "replace").splitlines():
        if told in line:
            return line.partition(told)[2].strip()
    return done.error.removeprefix("docker: ")


def check_engine(done: Completed) -> None:
    """Raises NoEngine if a failed docker command says that the engine was not reached."""
    text = done.err.decode("utf-8", "replace")
    if "permission denied" in text and "docker" in text and "connect" in text:
        raise NoEngine(
            "the Docker engine may not be used by this user",
            "Add the user to the group docker, or set runner.use_sudo = true.",
        )
    if "Cannot connect to the Docker daemon" in text or "Is the docker daemon running" in text:
        raise NoEngine("the Docker engine does not answer", "Start it: systemctl start docker")
    if "error during connect: " in text:
        # It was asked, and went away before it answered: what it did is unknown.
        raise NoEngine("the Docker engine went away before it answered")
    if "a password is required" in text or "a terminal is required" in text:
        raise NoEngine(
            "sudo asks for a password",
            "Allow docker without one in /etc/sudoers, see docs/troubleshooting.md.",
        )


def _container(document: Mapping[str, Any]) -> Container:
    state = document["State"]
    return Container(
        id=document["Id"],
        name=document["Name"].lstrip("/"),
        labels=document["Config"].get("Labels") or {},
        state=state["Status"],
        started=not state["StartedAt"].startswith("0001"),
        exit_code=int(state["ExitCode"]),
        image=document["Image"],
    )
