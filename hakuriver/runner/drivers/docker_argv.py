"""What `docker create` is called with: the whole of a task's container, as a pure function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hakuriver.model.messages import Attempt
from hakuriver.model.node import NumaNode
from hakuriver.model.submission import parse_mount
from hakuriver.model.tarball import ROLE_LABEL, image_of
from hakuriver.model.units import format_number
from hakuriver.runner.drivers import LEAST_CORES, Assignment, CannotStart
from hakuriver.runner.policy import Policy
from hakuriver.runner.record import keeper_argv
from hakuriver.runner.taskenv import CARRIER, our_variables
from hakuriver.system.docker import mount_option

_RECORD, _STDOUT, _STDERR = "/hakuriver/record", "/hakuriver/stdout", "/hakuriver/stderr"
_PROGRAM = "/hakuriver/bin"


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """shm_size: of /dev/shm in bytes, 0 is the engine's own. program: the folder with hakurun, None
    if there is none. machine_cores: that it has, whatever runner.cores offers."""

    cluster: str
    node: str
    shared_data: Path
    local_temp_dir: Path
    numa: Mapping[int, NumaNode]
    shm_size: int = 0
    policy: Policy = field(default_factory=Policy)
    sudo: bool = False
    program: Path | None = None
    machine_cores: float = math.inf


def labels_of(settings: DockerSettings, assignment: Assignment) -> dict[str, str]:
    """record tells apart the starts of one attempt: only the newest is ours."""
    task, attempt = assignment.key
    return {
        **own_labels(settings),
        "hakuriver.task": str(task),
        "hakuriver.attempt": str(attempt),
        "hakuriver.record": assignment.record.name,
    }


def own_labels(settings: DockerSettings) -> dict[str, str]:
    return {"hakuriver.cluster": settings.cluster, "hakuriver.node": settings.node}


def key_of(labels: Mapping[str, str]) -> Attempt:
    """(0, 0), which is no attempt, if the labels are not ours."""
    try:
        return int(labels["hakuriver.task"]), int(labels["hakuriver.attempt"])
    except (KeyError, ValueError):
        return 0, 0


def create_argv(settings: DockerSettings, assignment: Assignment, name: str) -> list[str]:
    """The arguments of `docker` that make the container. No value of the user's environment."""
    order = assignment.order
    assert order.container is not None
    numa = None if order.numa is None else _numa(settings, order.numa)
    ours = our_variables(
        order,
        cluster=settings.cluster,
        node=settings.node,
        shared_dir="/shared",
        local_temp_dir="/local_temp",
    )
    mounts = [
        *((each.source, each.target, each.read_only) for each in map(parse_mount, order.mounts)),
        (str(settings.shared_data), "/shared", False),
        (str(settings.local_temp_dir), "/local_temp", False),
        (str(assignment.record), _RECORD, False),
        (str(assignment.stdout), _STDOUT, False),
        (str(assignment.stderr), _STDERR, False),
        *([] if settings.program is None else [(str(settings.program), _PROGRAM, True)]),
    ]
    labels = labels_of(settings, assignment)
    return [
        "create",
        f"--name={name}",
        *(f"--label={key}={value}" for key, value in labels.items()),
        f"--label={ROLE_LABEL}=task",
        "--pull=never",
        "--init",
        "--log-driver=none",
        "--network=host",
        "--privileged" if order.privileged else "--cap-add=SYS_NICE",
        "--workdir=/shared",
        *(option for mount in mounts for option in mount_option(*mount[:2], read_only=mount[2])),
        *_limited(order.cores, settings.machine_cores),
        *([f"--memory={order.memory}", f"--memory-swap={order.memory}"] if order.memory else []),
        *([f"--shm-size={settings.shm_size}"] if settings.shm_size else []),
        *([] if numa is None else [f"--cpuset-cpus={','.join(map(str, numa.cores))}"]),
        *([] if numa is None else [f"--cpuset-mems={order.numa}"]),
        "--env=TINI_KILL_PROCESS_GROUP=1",
        *(f"--env={key}={value}" for key, value in ours.items()),
        *_path(settings, assignment),
        *_carried(settings, assignment),
        "--entrypoint=/bin/sh",
        assignment.image or image_of(order.container),
        "-c",
        *keeper_argv(
            record=_RECORD,
            out=_STDOUT,
            err=_STDERR,
            workdir="/shared",
            counters=True,
            env_names=[key for key, _ in order.env],
            argv=list(order.argv),
        ),
    ]


def _limited(cores: float, machine_cores: float) -> list[str]:
    """The engine refuses what the kernel cannot count, and more than there is."""
    if not cores:
        return []
    return [f"--cpus={format_number(max(LEAST_CORES, min(cores, machine_cores)))}"]


def _path(settings: DockerSettings, assignment: Assignment) -> list[str]:
    """The image's own PATH, and hakurun's folder behind it."""
    if settings.program is None or not assignment.image_path:
        return []
    return [f"--env=PATH={assignment.image_path}:{_PROGRAM}"]


def _numa(settings: DockerSettings, number: int) -> NumaNode:
    if number not in settings.numa:
        raise CannotStart(f"{settings.node} has no NUMA node {number}")
    return settings.numa[number]


def _carried(settings: DockerSettings, assignment: Assignment) -> list[str]:
    """How the user's values get in: through the environment of `docker`, or what sudo leaves of it."""
    if settings.sudo and assignment.order.env:
        return [f"--env-file={env_file(assignment)}"]
    return [f"--env={CARRIER}{place}" for place in range(len(assignment.order.env))]


def env_file(assignment: Assignment) -> Path:
    """Beside the record, since the task can read what is in it."""
    return assignment.record.with_suffix(".env")


def env_file_text(env: Sequence[tuple[str, str]]) -> bytes:
    """NAME=value lines as --env-file wants them: UTF-8, and values of one line.

    Raises CannotStart for a value that such a file cannot hold.
    """
    lines = []
    for place, (name, value) in enumerate(env):
        try:
            lines.append(f"{CARRIER}{place}={value}\n".encode())
        except UnicodeEncodeError:
            lines.append(b"\n\n")
        if lines[-1].count(b"\n") > 1 or b"\r" in lines[-1]:
            raise CannotStart(
                f"environment variable {name} has line breaks or is not UTF-8, which cannot be"
                " passed on through sudo (runner.use_sudo)"
            )
    return b"".join(lines)


# The shell's pid inside, for whoever has to end it; then what the keeper did for the command.
_SHELL = """echo "$$" >"$1"; hakuriver_n=$2 hakuriver_i=0; shift 2
while [ "$hakuriver_i" -lt "$hakuriver_n" ]; do
  eval "export $1=\\"\\$HAKURIVER_ENV_$hakuriver_i\\"; unset HAKURIVER_ENV_$hakuriver_i"
  hakuriver_i=$((hakuriver_i + 1)); shift
done
unset hakuriver_n hakuriver_i TINI_KILL_PROCESS_GROUP
if [ "$#" -gt 0 ]; then exec "$@"; fi
if [ -x /bin/bash ]; then exec /bin/bash; fi
exec /bin/sh"""
_END_SHELL = 'kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "$2" 2>/dev/null'


def shell_arguments(
    assignment: Assignment, container: str, command: Sequence[str], *, note: str, term: str | None
) -> list[str]:
    """`docker exec` into a task's container; note is the name of a file in its record folder."""
    names = [name for name, _ in assignment.order.env]
    return [
        "exec",
        "--interactive",
        *(["--tty", f"--env=TERM={term}"] if term else []),
        container,
        "/bin/sh",
        "-c",
        _SHELL,
        "sh",
        f"{_RECORD}/{note}",
        str(len(names)),
        *names,
        *command,
    ]


def end_shell_arguments(container: str, pid: int, signal: str) -> list[str]:
    return ["exec", "--user=0", container, "/bin/sh", "-c", _END_SHELL, "sh", signal, str(pid)]
