"""Kill, pause and resume: the whole tree, gracefully, and only what was asked for."""

from __future__ import annotations

import os
import sys

import pytest

from hakuriver.model.task import Status
from tests.contract.bench import GRACE, KINDS, Bench, kill9, state_of
from tests.support.wait import wait_until

LOOP = "while :; do sleep 0.05; done"


def test_a_command_that_traps_term_has_the_last_word(bench: Bench) -> None:
    run = bench.sh(f"trap 'echo last words; exit 7' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    assert run.kill()
    result = run.result()
    assert (result.status, result.exit_code, run.out) == (Status.KILLED, 7, b"ready\nlast words\n")


def test_a_command_that_does_not_trap_ends_by_the_signal(bench: Bench) -> None:
    run = bench.run("sleep", "600")
    wait_until(run.assignment.started)
    assert run.kill()
    result = run.result()
    assert (result.status, result.exit_code, run.err) == (Status.KILLED, 143, b"")


def test_a_command_that_ignores_term_is_killed_hard(bench: Bench) -> None:
    run = bench.sh(f"trap '' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    assert run.kill()
    assert run.ended() is None, "a TERM that is ignored ends nothing"
    assert run.kill(hard=True)
    result = run.result()
    assert (result.status, result.exit_code) == (Status.KILLED, 137)
    assert not run.processes()


def test_a_kill_straight_after_the_start_is_not_lost(bench: Bench) -> None:
    run = bench.run("sleep", "600")
    run.kill()
    if run.ended() is None:
        run.kill(hard=True)
    assert run.result().status is Status.KILLED
    assert not run.processes()


def test_a_kill_of_what_is_over_does_nothing(bench: Bench) -> None:
    run = bench.run("true")
    run.end()
    for hard in (False, True):
        assert not bench.driver.kill(run.assignment, hard=hard)
    assert not run.pause()
    assert not run.resume()
    assert run.result().status is Status.COMPLETED


@pytest.mark.parametrize(
    "escape",
    [
        "setsid sleep 600",
        "timeout 600 sleep 600",
        "sleep 600 &",
        "(sleep 600 &) ; (setsid sleep 600 &)",
        "(trap '' TERM HUP; exec setsid sleep 600) &",
    ],
    ids=["setsid", "timeout", "background", "twice", "deaf"],
)
def test_a_kill_reaches_the_whole_tree(bench: Bench, escape: str) -> None:
    run = bench.sh(f"echo ready; {escape}\n{LOOP}")
    run.wait_out(b"ready")
    wait_until(lambda: len(run.processes()) >= 3, message="keeper, command and child")
    run.kill()
    assert run.result(10 + 2 * GRACE).status is Status.KILLED
    assert not run.processes(), "told before everything was gone"


@pytest.mark.parametrize(
    "leave",
    ["sleep 600 &", "setsid sleep 600 &", "(trap '' TERM HUP; exec sleep 600) &"],
    ids=["child", "session", "deaf"],
)
def test_children_left_behind_are_gone_before_the_end_is_told(bench: Bench, leave: str) -> None:
    run = bench.sh(f"{leave}\necho parent is done; exit 3")
    result = run.result(10 + 2 * GRACE)
    assert not run.processes()
    assert (result.status, result.exit_code, run.out) == (Status.FAILED, 3, b"parent is done\n")


def test_a_fork_bomb_of_short_lives_is_killed(bench: Bench) -> None:
    run = bench.sh(
        "trap '' TERM; f() { sh -c 'sleep 0.2' & }; echo ready; while :; do f; sleep 0.01; done"
    )
    run.wait_out(b"ready")
    run.kill()
    run.kill(hard=True)
    assert run.result(20).status is Status.KILLED
    assert not run.processes()


def test_a_paused_task_makes_no_progress_until_it_is_resumed(bench: Bench) -> None:
    run = bench.sh("i=0; while :; do i=$((i + 1)); echo $i; done")
    run.wait_out(b"100")
    assert run.pause()
    assert run.paused()
    ticks = bench.sh("sleep 0.3")  # another task's life: time that this one has no part in
    before = run.assignment.stdout.stat().st_size
    ticks.end()
    assert run.assignment.stdout.stat().st_size == before, "it wrote while it was paused"
    assert run.ended() is None
    assert run.resume()
    assert not run.paused()
    wait_until(lambda: run.assignment.stdout.stat().st_size > before, message="it goes on")
    run.kill()
    assert run.result().status is Status.KILLED


def test_pause_and_resume_twice_is_harmless(bench: Bench) -> None:
    run = bench.sh(f"trap 'exit 7' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    assert [run.pause(), run.pause(), run.resume(), run.resume()] == [True] * 4
    assert not run.paused()
    run.kill()
    assert run.result().exit_code == 7


def test_a_pause_reaches_children_in_other_sessions(bench: Bench) -> None:
    run = bench.sh(f"setsid sleep 600 & timeout 600 sleep 600 & echo ready; {LOOP}")
    run.wait_out(b"ready")
    wait_until(lambda: len(run.processes()) >= 4)
    assert run.pause()
    keeper = bench.kind.keeper(run)
    frozen = [pid for pid in run.processes() if pid != keeper]
    # The freezer of cgroups leaves D (v1) or S (v2) in /proc; what counts is that docker says so.
    assert run.paused()
    if bench.kind.name == "process":
        assert {state_of(pid) for pid in frozen} <= {"T", "D"}, "D: in the middle of a vfork"
    assert run.resume()
    run.kill()
    run.result()


# A container is paused by the freezer of cgroups, which knows no such moment.
@pytest.mark.parametrize("kind", [each for each in KINDS if each != "docker"], indirect=True)
def test_a_task_in_the_middle_of_a_vfork_can_be_paused(bench: Bench) -> None:
    fifo = bench.places.home / "fifo"
    os.mkfifo(fifo)
    # The child waits for the fifo before its exec, its parent for the exec.
    spawn = f"""import os
os.posix_spawn("/bin/echo", ["echo", "child"], {{}},
    file_actions=[(os.POSIX_SPAWN_OPEN, 0, {str(fifo)!r}, os.O_RDONLY, 0)])
os.wait()
print("parent", flush=True)"""
    run = bench.run(sys.executable, "-c", spawn)
    keeper = bench.kind.keeper(run)

    def states() -> list[str]:
        return sorted(state_of(pid) for pid in run.processes() if pid != keeper)

    wait_until(lambda: states() == ["D", "S"], message="a parent in D, its child at the fifo")
    assert run.pause()
    assert run.paused()
    assert states() == ["D", "T"]
    fifo_end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    assert run.paused(), "stopped, whatever it waited for"
    run.resume()  # It may be over before anybody looks whether it goes on.
    assert run.result().status is Status.COMPLETED
    os.close(fifo_end)
    assert run.out == b"child\nparent\n"


def test_a_paused_task_can_be_killed_gracefully(bench: Bench) -> None:
    run = bench.sh(f"trap 'echo bye; exit 7' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    assert run.pause()
    run.kill()
    result = run.result()
    assert (result.status, result.exit_code, run.out) == (Status.KILLED, 7, b"ready\nbye\n")


def test_a_paused_task_that_ignores_term_can_be_killed_hard(bench: Bench) -> None:
    run = bench.sh(f"trap '' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    assert run.pause()
    run.kill()
    run.kill(hard=True)
    assert run.result().exit_code == 137
    assert not run.processes()


def test_a_keeper_that_is_killed_takes_its_task_with_it(bench: Bench) -> None:
    run = bench.sh(f"setsid sleep 600 & echo ready; {LOOP}")
    run.wait_out(b"ready")
    kill9(bench.kind.keeper(run))
    ending = run.end(10 + 2 * GRACE)
    result = run.result()
    assert not run.processes(), "told before everything was gone"
    assert result.status is Status.FAILED
    assert "the supervising process was killed" in result.problem
    assert ending.record is None
    assert result.exit_code in (None, 137)


def test_a_keeper_that_is_killed_after_a_kill_counts_as_killed(bench: Bench) -> None:
    run = bench.sh(f"trap '' TERM; echo ready; {LOOP}")
    run.wait_out(b"ready")
    run.kill()
    kill9(bench.kind.keeper(run))
    assert run.result(10 + 2 * GRACE).status is Status.KILLED


def test_one_tasks_signals_leave_others_alone(bench: Bench) -> None:
    one = bench.sh(f"echo ready; {LOOP}")
    other = bench.sh("echo ready; sleep 0.5; echo undisturbed")
    one.wait_out(b"ready")
    other.wait_out(b"ready")
    one.pause()
    one.kill()
    one.kill(hard=True)
    assert one.result().status is Status.KILLED
    assert (other.result().status, other.out) == (Status.COMPLETED, b"ready\nundisturbed\n")
