"""What a user submits: the body of POST /submit, and what of it can be passed on to a program.

The kernel's limits: one argument or NAME=value is at most 128 KiB with its NUL
(MAX_ARG_STRLEN, execve(2)); all of them together at most 2 MiB with the default stack limit,
of which the keeper and our own variables need a little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hakuriver.model.errors import Refused
from hakuriver.model.fields import Fields, check_text, is_whole
from hakuriver.model.sweep import OURS, PREFIX, Sweep
from hakuriver.model.target import check_environment_name

NO_CONTAINER = "NULL"
ARGUMENT_MAX = 128 * 1024
TOTAL_MAX = 1_900_000
TASKS_MAX = 100_000
"""Of one submission."""
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
RESERVED_PREFIX = "HAKURIVER_"
_POINTER = 8


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request; None means: as the host's configuration says.

    With a sweep there is a task for each of its combinations; argv is the first one's then.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    sweep: Sweep | None
    cores: float
    memory: int | None
    targets: tuple[str, ...]
    container: str | None
    privileged: bool | None
    mounts: tuple[str, ...] | None
    user: str

    @property
    def count(self) -> int:
        """How many commands it stands for, on each target."""
        return 1 if self.sweep is None else self.sweep.total

    def commands(self) -> Iterator[tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]:
        """Command line and environment of each task, in order."""
        if self.sweep is None:
            yield self.argv, self.env
            return
        for place in range(self.sweep.total):
            variables = {**self.sweep.variables(place), **dict(self.env)}
            yield self.sweep.argv(place), tuple(variables.items())


def read_submission(document: object) -> Submission:
    """Raises Refused, naming the field that cannot be passed on."""
    with Fields(document) as fields:
        sweep = fields.maybe("sweep", read_sweep)
        command = fields.text("command") if sweep is None else fields.maybe_text("command")
        argv = (command or "", *fields.texts("arguments"))
        env = tuple(fields.mapping("env_vars").items())
        check_env(env)
        if sweep is not None:
            if argv != ("",):
                raise Refused("a sweep has its command in its words, not in 'command'")
            argv = sweep.argv(0)
        container = fields.maybe_text("container_name")
        if container is not None and container != NO_CONTAINER:
            check_environment_name(container)
        mounts = fields.texts("additional_mounts") or None
        for mount in mounts or ():
            parse_mount(mount)
        submission = Submission(
            argv=argv,
            env=env,
            sweep=sweep,
            cores=fields.number("required_cores", 1.0),
            memory=fields.maybe_whole("required_memory_bytes") or None,
            targets=fields.texts("targets"),
            container=container,
            privileged=fields.maybe_flag("privileged"),
            mounts=mounts,
            user=fields.text("user", "")[:256],
        )
    check_count(submission.count * max(len(submission.targets), 1))
    for words, variables in submission.commands():
        check_argv(words)
        check_total(words, variables)
    return submission


def read_sweep(document: Any) -> Sweep:
    """Raises Refused."""
    with Fields(document, "the sweep") as fields:
        axes = fields.each("axes", _read_axis)
        words = fields.each("words", lambda word: _read_word(word, len(axes)))
        names = fields.texts("names")
        sweep = Sweep(words, axes, names, fields.flag("zipped"), ())
    for name in names:
        if (name and not (name.startswith(PREFIX) and ENV_NAME.fullmatch(name))) or name in OURS:
            raise Refused(f"'{name[:80]}' cannot be the variable of an axis")
    if not words or not all(axes) or len(names) != len(axes):
        raise Refused("a sweep has words, a value or more for each axis, and a name for each")
    if sweep.zipped and len({len(axis) for axis in axes}) > 1:
        raise Refused("the axes of a zipped sweep have the same number of values")
    check_count(sweep.total)
    return sweep


def check_count(tasks: int) -> None:
    """Of one submission: combinations, for each target."""
    if tasks > TASKS_MAX:
        raise Refused(
            f"{tasks} tasks at once; at most {TASKS_MAX} are taken",
            "Divide it, or let each task do more: hakurun works inside tasks too.",
        )


def _read_axis(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Refused("an axis is a list of texts")
    return tuple(check_text("a value of an axis", each) for each in value)


def _read_word(value: Any, axes: int) -> tuple[str | int, ...]:
    """Texts, and numbers of axes."""
    if not isinstance(value, list):
        raise Refused("a word of a sweep is a list")
    for piece in value:
        if isinstance(piece, str):
            check_text("a word", piece)
        elif not is_whole(piece) or piece >= axes:
            raise Refused("a word of a sweep holds texts and numbers of axes")
    return tuple(value)


def size(text: str) -> int:
    """Bytes that a program receives for a text."""
    return len(text.encode("utf-8", "surrogateescape"))


def check_argv(argv: Sequence[str]) -> None:
    if not argv[0]:
        raise Refused("the command is empty")
    if argv[0].startswith("-"):
        raise Refused(
            f"the command begins with '-': {argv[0][:80]!r}",
            "Options of the submission come before the command; the command itself is a name or a path.",
        )
    for place, argument in enumerate(argv):
        if size(argument) >= ARGUMENT_MAX:
            name = f"argument {place}" if place else "the command"
            raise Refused(
                f"{name} has {size(argument)} bytes; the kernel passes at most {ARGUMENT_MAX - 1}",
                "Put the data into a file under /shared and pass its name.",
            )


def check_for_container(argv: Sequence[str], env: Sequence[tuple[str, str]]) -> None:
    """Refuse what a container engine would change: its API is JSON, which holds characters only."""
    named = [(f"argument {place}" if place else "the command", a) for place, a in enumerate(argv)]
    named += [(f"environment variable {name}", value) for name, value in env]
    for name, value in named:
        if any("\udc80" <= character <= "\udcff" for character in value):
            raise Refused(
                f"{name} is not UTF-8, which Docker cannot pass on to a container",
                "Run it without one (--container NULL), or put the bytes into a file under /shared.",
            )


def check_env(env: Sequence[tuple[str, object]]) -> None:
    for name, value in env:
        if ENV_NAME.fullmatch(name) is None:
            raise Refused(
                f"environment variable {name[:80]!r}: the name is no identifier",
                "Names consist of letters, digits and '_' and do not begin with a digit.",
            )
        if name.startswith(RESERVED_PREFIX):
            raise Refused(f"environment variable {name}: names with {RESERVED_PREFIX} are our own")
        if not isinstance(value, str):
            raise Refused(f"environment variable {name}: the value must be a text")
        if "\0" in value:
            raise Refused(f"environment variable {name}: the value contains a NUL byte")
        try:
            length = size(name) + size(value) + 1
        except UnicodeEncodeError:
            raise Refused(
                f"environment variable {name}: the value holds a lone surrogate"
            ) from None
        if length >= ARGUMENT_MAX - len("HAKURIVER_ENV_9999="):
            raise Refused(
                f"environment variable {name} has {length} bytes; at most 128 KiB can be passed"
            )


def check_total(argv: Sequence[str], env: Sequence[tuple[str, str]]) -> None:
    """Values travel beside the names, and pointers count (execve(2))."""
    total = sum(size(argument) + 1 + _POINTER for argument in argv)
    total += sum(2 * size(name) + size(value) + 40 + _POINTER for name, value in env)
    if total > TOTAL_MAX:
        raise Refused(
            f"command and environment have {total} bytes together; at most {TOTAL_MAX} can be passed",
            "Put the data into a file under /shared and pass its name.",
        )


@dataclass(frozen=True, slots=True)
class Mount:
    source: str
    target: str
    read_only: bool


def parse_mount(text: str) -> Mount:
    """ "SRC:DST" or "SRC:DST:ro"; raises Refused if it is neither."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source.startswith("/") or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise Refused(
            f"mount '{text[:200]}' is not SRC:DST or SRC:DST:ro",
            "Both are absolute paths: SRC on the node, DST in the container.",
        )
    if ".." in source.split("/") or ".." in target.split("/"):
        raise Refused(f"mount '{text[:200]}' contains '..'")
    inside = [part for part in target.split("/") if part not in ("", ".")]
    if inside in ([], ["shared"], ["local_temp"]) or inside[0].startswith("hakuriver"):
        raise Refused(f"mount '{text[:200]}': '{target}' is taken by HakuRiver or is the root")
    return Mount(source, target, mode == "ro")
