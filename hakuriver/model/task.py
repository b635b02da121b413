"""The life of a task: what it is, what can happen to it, and what follows from that.

Facts come from runners. They are levels, not edges: the same fact may arrive twice, late or
out of order, and none of that may change the outcome. Acts come from people and from rules of
the host, and are legal only where the table says so.

Everything about transitions lives here; nothing here knows who stores, sends or shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hakuriver.model.target import Target


class Status(str, Enum):
    PENDING = "pending"
    ASSIGNING = "assigning"
    RUNNING = "running"
    PAUSED = "paused"
    LOST = "lost"
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"
    KILLED_OOM = "killed_oom"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.KILLED, Status.KILLED_OOM})
ON_NODE = frozenset({Status.ASSIGNING, Status.RUNNING, Status.PAUSED, Status.LOST})
"""Holding cores and memory of a node: it runs there, or it cannot be ruled out."""


class Wish(str, Enum):
    """What somebody asked for; becomes a status only when the runner has seen it happen."""

    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"


class State(str, Enum):
    """What a runner sees of an attempt that has not ended."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What was asked for: never changes.

    container is the environment, None for a task directly on the node. cores 0 and memory None
    reserve and limit nothing. Strings may hold surrogate escapes: they are bytes to be passed on.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cores: float = 1
    memory: int | None = None
    container: str | None = None
    privileged: bool = False
    mounts: tuple[str, ...] = ()
    target: Target | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended, as far as its node can tell.

    kill_sent: a signal of ours was sent before the command ended by itself.
    oom: the task's own cgroup counted an out-of-memory kill.
    problem: why there is no exit code, or what happened beside it.
    """

    exit_code: int | None
    kill_sent: bool = False
    oom: bool = False
    problem: str = ""
    peak_memory: int | None = None
    cpu_seconds: float | None = None

    @property
    def status(self) -> Status:
        if self.kill_sent:
            return Status.KILLED
        if self.exit_code == 0:
            return Status.COMPLETED
        if self.oom and self.exit_code is not None:
            return Status.KILLED_OOM
        return Status.FAILED


@dataclass(frozen=True, slots=True)
class Observed:
    """Fact: the attempt is there, in this state."""

    state: State


@dataclass(frozen=True, slots=True)
class Ended:
    """Fact: the attempt is over."""

    result: Result


@dataclass(frozen=True, slots=True)
class RefusedByNode:
    """Fact: the attempt never ran and never will. for_good: no other attempt would either."""

    reason: str
    for_good: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Fact: the node does not answer."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """Fact: the node came back without the attempt, and certainly nothing of it is left there."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """Act: given to a node."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Act: taken back from a node that certainly never heard of it."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Act: killed before any node had it."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """Act: to be run again, as a new attempt."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Act: somebody has decided not to wait for its node any longer."""


Event = (
    Observed | Ended | RefusedByNode | Unreachable | Vanished
    | Dispatched | Undelivered | Cancelled | Requeued | Forgotten
)  # fmt: skip

FACTS = (Observed, Ended, RefusedByNode, Unreachable, Vanished)
ACTS: dict[type, frozenset[Status]] = {
    Dispatched: frozenset({Status.PENDING}),
    Undelivered: frozenset({Status.ASSIGNING, Status.LOST}),
    Cancelled: frozenset({Status.PENDING}),
    Requeued: frozenset({Status.LOST, Status.FAILED}),
    Forgotten: frozenset({Status.LOST}),
}
_ACT_LEADS_TO: dict[type, Status] = {
    Dispatched: Status.ASSIGNING,
    Undelivered: Status.PENDING,
    Cancelled: Status.KILLED,
    Requeued: Status.PENDING,
    Forgotten: Status.FAILED,
}
_SEEN: dict[State, Status] = {
    State.STARTING: Status.ASSIGNING,
    State.RUNNING: Status.RUNNING,
    State.PAUSED: Status.PAUSED,
}


class IllegalTransition(Exception):
    """Names the status and the event that do not go together."""

    def __init__(self, status: Status, event: Event) -> None:
        super().__init__(f"a task that is {status.value} cannot be {type(event).__name__.lower()}")
        self.status = status
        self.event = event


def advance(status: Status, event: Event) -> Status:
    """The status after the event.

    * A fact never moves a final status, and never raises there.
    * A fact about a pending task is a fault of the caller: attempts were not compared.
    * An act is legal only from the statuses that ACTS names.
    Raises IllegalTransition.
    """
    if isinstance(event, FACTS):
        if status.final:
            return status
        if status is Status.PENDING:
            raise IllegalTransition(status, event)
        return _after_fact(event)
    if status not in ACTS[type(event)]:
        raise IllegalTransition(status, event)
    return _ACT_LEADS_TO[type(event)]


def _after_fact(fact: Event) -> Status:
    match fact:
        case Observed(state):
            return _SEEN[state]
        case Ended(result):
            return result.status
        case RefusedByNode(for_good=True):
            return Status.FAILED
        case RefusedByNode():
            # Also if it was seen: a keeper may be there that has not claimed the attempt yet, and
            # a runner that restarts then claims it instead.
            return Status.PENDING
        case Vanished():
            return Status.FAILED
        case _:
            return Status.LOST


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the host knows it. Times are Unix seconds by the host's clock.

    attempt counts from 1; a number is never used twice. wish_n orders the wishes, the last one
    wins; wish is None once confirmed. report_n is the number of the newest report applied to
    this attempt. incarnation is the runner's that reported last. image_version is the UNIXTIME of
    the tarball that the image came from. logs_pruned: its output was deleted to make room.
    """

    id: int
    batch_id: int
    spec: TaskSpec
    status: Status
    submitted_at: float
    attempt: int = 1
    node: str | None = None
    message: str = ""
    exit_code: int | None = None
    assigned_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    wish: Wish | None = None
    wish_n: int = 0
    report_n: int = 0
    incarnation: int = 0
    driver: str | None = None
    unit_name: str | None = None
    image: str | None = None
    image_version: int | None = None
    peak_memory: int | None = None
    cpu_seconds: float | None = None
    logs_pruned: bool = False
    revision: int = 0

    def output_name(self, stream: str, attempt: int | None = None) -> str:
        """Where its output is, relative to the shared directory; stream is stdout or stderr.

        attempt None means the present one.
        """
        return output_name(self.id, self.attempt if attempt is None else attempt, stream)


def output_name(task_id: int, attempt: int, stream: str) -> str:
    """task_outputs/7.out for a first attempt, task_errors/7.2.err for a second one's errors.

    Attempts never share a file: the first may still be writing on a node that was cut off.
    """
    folder, suffix = _STREAMS[stream]
    number = f"{task_id}" if attempt == 1 else f"{task_id}.{attempt}"
    return f"{folder}/{number}.{suffix}"


_STREAMS = {"stdout": ("task_outputs", "out"), "stderr": ("task_errors", "err")}


_SIGNALS = {1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL",
            11: "SEGV", 13: "PIPE", 14: "ALRM", 15: "TERM", 24: "XCPU", 25: "XFSZ", 31: "SYS"}  # fmt: skip


_LAST_SIGNAL = 64


def explain_exit(result: Result) -> str:
    """Why a task did not complete, in one line; empty if it did."""
    if result.problem:
        return result.problem
    code = result.exit_code
    if result.status is Status.KILLED_OOM:
        return "out of memory: the kernel killed it at its memory limit; ask for more with --memory"
    if result.kill_sent:
        return "killed on request" if code is not None else "killed before it started"
    if code == 126:
        return "exit code 126: the command was found but is not executable"
    if code == 127:
        return "exit code 127: command not found"
    if code is not None and 128 < code <= 128 + _LAST_SIGNAL:
        number = code - 128
        name = _SIGNALS.get(number, str(number))
        return f"exit code {code}: ended by signal {name}"
    return f"exit code {code}" if code else ""
