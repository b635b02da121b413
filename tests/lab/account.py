"""Whether every accepted task came out as it really went, judged by what it itself wrote down.

A task of the chaos appends to a file of its own, which no fault touches: "started ATTEMPT" and
"ended ATTEMPT CODE", and "mute ATTEMPT" if it could not write to its log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

FINAL = ("completed", "failed", "killed", "killed_oom")
SCRIPT = """
w=/witness/$HAKURIVER_TASK_ID a=$HAKURIVER_ATTEMPT
echo "started $a" >>$w
echo "hello $HAKURIVER_TASK_ID $a" || echo "mute $a" >>$w
sleep $1
echo "bye $2" || echo "mute $a" >>$w
echo "ended $a $2" >>$w
exit $2
"""


@dataclass(frozen=True, slots=True)
class Acts:
    """What was done to a task or around it. killed, requeued: asked for, whatever was answered.

    rebooted: a node was while the chaos went on. disk: the shared directory was full or away.
    engine_restarted: its engine was, in the moment when it ended.
    """

    killed: bool = False
    requeued: bool = False
    rebooted: bool = False
    engine_restarted: bool = False
    disk: bool = False


@dataclass(slots=True)
class Testimony:
    """What a task itself wrote, by attempt."""

    starts: Counter[int] = field(default_factory=Counter)
    ends: dict[int, list[int]] = field(default_factory=dict)
    mute: set[int] = field(default_factory=set)


def read_testimony(text: str) -> Testimony:
    told = Testimony()
    for line in text.splitlines():
        word, attempt, *rest = line.split()
        if word == "started":
            told.starts[int(attempt)] += 1
        elif word == "ended":
            told.ends.setdefault(int(attempt), []).append(int(rest[0]))
        else:
            told.mute.add(int(attempt))
    return told


def judge(task: dict[str, Any], told: Testimony, output: bytes | None, acts: Acts) -> list[str]:
    """What is wrong with the outcome of one task; [] if it is the truth."""
    wrong = [f"attempt {a} ran {n} times" for a, n in told.starts.items() if n > 1]
    wrong += [f"attempt {a} ended {e}" for a, e in told.ends.items() if len(e) > 1]
    last = int(task["attempt"])
    if any(attempt > last for attempt in told.starts):
        wrong.append(f"attempt {max(told.starts)} ran, the host knows of {last}")
    if last > 1 and told.ends.keys() - {last} and not acts.requeued:
        wrong.append("an earlier attempt had ended and it was run again")
    ended = told.ends.get(last, [])
    wrong += _status(task, ended[0] if ended else None, last in told.starts, acts)
    wrong += _output(task, told, output, acts)
    return wrong


def _status(task: dict[str, Any], code: int | None, started: bool, acts: Acts) -> list[str]:
    status, exit_code = task["status"], task["exit_code"]
    if status not in FINAL:
        return [f"is {status}"]
    if status == "completed":
        right = started and code == 0 and exit_code == 0
    elif status == "killed":
        # Killed in time, or too late for the command and not for what it left behind.
        right = acts.killed
    elif status == "failed" and exit_code is not None:
        right = started and code == exit_code and code != 0
        # A machine that is shut down in order ends what runs there, before it takes the network away.
        # So does an engine, even with live-restore, to a container that is just starting: it does not
        # count among those that it would leave alone (moby 20.10, daemon.Shutdown).
        stopped = acts.rebooted or (acts.engine_restarted and task["driver"] == "docker")
        right = right or (stopped and code is None and exit_code in (143, 137))
    elif status == "failed":
        right = code is None and _is_excused(str(task["error_message"]), started, acts)
        # Between its last word and the exit record, the power was cut.
        right = right or (acts.rebooted and "restarted" in str(task["error_message"]))
    else:
        right = False
    if right:
        return []
    how = "not started" if not started else "not ended" if code is None else f"ended with {code}"
    return [f"is {status} {exit_code} ({task['error_message']}), and was {how}"]


def _is_excused(message: str, started: bool, acts: Acts) -> bool:
    if "the node restarted" in message or "engine stopped" in message:
        return acts.rebooted
    if "cannot be loaded" in message and "engine" in message:
        return not started  # Decided so: an engine that dies over a tarball fails the task.
    if "log" in message or "shared" in message or "No space" in message:
        return acts.disk and not started
    return False


def _output(task: dict[str, Any], told: Testimony, output: bytes | None, acts: Acts) -> list[str]:
    last = int(task["attempt"])
    if last not in told.starts or last in told.mute:
        return []
    wanted = f"hello {task['task_id']} {last}\n"
    text = (output or b"").decode(errors="replace")
    if last in told.ends:
        right = text == f"{wanted}bye {told.ends[last][0]}\n"
    else:
        # Stopped at some point after its first word, perhaps before it got it out.
        right = f"{wanted}bye".startswith(text) or text.startswith(wanted)
    return [] if right else [f"its output is {text[:200]!r}"]


def account(
    tasks: Sequence[dict[str, Any]],
    accepted: Collection[str],
    testimonies: dict[str, Testimony],
    outputs: dict[str, bytes | None],
    acts: dict[str, Acts],
) -> list[str]:
    """All that is wrong, one line each: tasks lost or made up, and those that were judged wrong."""
    known = {str(task["task_id"]): task for task in tasks}
    wrong = [
        f"task {task_id} was accepted and is not known" for task_id in set(accepted) - set(known)
    ]
    wrong += [f"task {task_id} was accepted by nobody" for task_id in set(known) - set(accepted)]
    wrong += [f"task {task_id} ran and is not known" for task_id in set(testimonies) - set(known)]
    for task_id, task in known.items():
        told = testimonies.get(task_id, Testimony())
        problems = judge(task, told, outputs.get(task_id), acts.get(task_id, Acts()))
        wrong += [f"task {task_id} on {task['assigned_node']}: {problem}" for problem in problems]
    return wrong
