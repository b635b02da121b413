"""Nodes that left for good: who may be removed, and what becomes of what they held."""

from __future__ import annotations

import pytest

from hakuriver.model.errors import Conflict, NotFound
from hakuriver.model.messages import Held
from hakuriver.model.task import Ended, RefusedByNode, Result, State, Status
from tests.host.office import RUNNING, Office


def names(office: Office) -> list[str]:
    return [node.info.name for node in office.registry.all()]


def remove(office: Office, name: str = "n1", *, force: bool = False) -> list[int]:
    held, _ = office.fleet.remove(name, force=force, by="ann")
    return [task.id for task in held]


def test_a_node_that_is_heard_of_is_not_removed(office: Office) -> None:
    for force in (False, True):
        with pytest.raises(Conflict, match="n1 is online") as refusal:
            remove(office, force=force)
        assert "systemctl disable --now hakuriver-runner" in refusal.value.hint
    assert "n1" in names(office)


def test_a_node_is_not_gone_because_the_host_has_just_started(office: Office) -> None:
    office.restart()
    with pytest.raises(Conflict, match="not known yet"):
        remove(office, force=True)
    office.silence()
    assert remove(office) == []


def test_a_node_that_is_heard_of_while_it_is_removed_has_to_register_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone from the database by then: tasks given to it would be nobody's after a restart."""
    office.silence()
    real = office.registry.remove

    def heard_of(name: str) -> None:
        office.beat(name)
        real(name)

    monkeypatch.setattr(office.registry, "remove", heard_of)
    remove(office)
    assert names(office) == []
    with pytest.raises(NotFound):
        office.beat()
    office.join(incarnation=1)
    task_id = office.running()
    office.restart()
    assert names(office) == ["n1"]
    office.silence()
    assert office.task(task_id).status is Status.LOST


def test_an_unknown_node_cannot_be_removed(office: Office) -> None:
    with pytest.raises(NotFound, match="n9"):
        remove(office, "n9")


def test_a_node_that_holds_nothing_is_gone_for_good(office: Office) -> None:
    office.ended()
    office.cluster.drain("n1", "old")
    office.silence()
    assert remove(office) == []
    assert "n1" not in names(office)
    office.restart()
    assert "n1" not in names(office)
    assert office.task(1).node == "n1", "its old tasks still say where they ran"
    with pytest.raises(NotFound):
        remove(office)


def test_what_it_holds_keeps_a_node_unless_that_is_given_up(office: Office) -> None:
    lost = office.lost()
    with pytest.raises(Conflict, match=rf"holds 1 task: {lost}") as refusal:
        remove(office)
    assert "--force" in refusal.value.hint
    assert office.task(lost).status is Status.LOST
    assert remove(office, force=True) == [lost]
    task = office.task(lost)
    assert (task.status, task.message) == (
        Status.FAILED,
        "forgotten by ann; it may still be running on n1",
    )


def test_tasks_that_are_not_lost_yet_are_given_up_as_well(office: Office) -> None:
    """After a restart of the host, before the first scan."""
    running = office.running()
    office.restart()
    office.now += 1000
    assert remove(office, force=True) == [running]
    assert office.task(running).status is Status.FAILED


def test_a_task_that_certainly_never_arrived_waits_for_another_node(office: Office) -> None:
    waiting = office.one()
    office.cluster.place()
    assert office.task(waiting).status is Status.ASSIGNING
    office.now += 1000
    office.registry.silent_since(office.now)
    assert remove(office, force=True) == [waiting]
    task = office.task(waiting)
    assert (task.status, task.attempt, task.node) == (Status.PENDING, 1, None)
    office.join("n2")
    office.cluster.place()
    assert office.task(waiting).node == "n2"


def test_its_orders_are_closed_and_its_numbers_go_on(office: Office) -> None:
    office.lost()
    remove(office, force=True)
    assert office.orders() == []
    office.join()
    office.beat()
    again = office.assigned()
    (order,) = office.orders()
    assert order.order.task == again
    assert order.order.seq > (1, 1), "a number that the runner has seen closed is refused for ever"


def test_who_comes_back_is_new_and_what_it_still_runs_is_killed(office: Office) -> None:
    lost = office.lost()
    office.cluster.drain("n1", "broken")
    remove(office, force=True)
    with pytest.raises(NotFound, match="not registered"):
        office.beat("n1", Held(lost, 1, State.RUNNING, 1))
    office.join()
    state = office.registry.get("n1")
    assert state is not None
    assert state.drained is None
    answer = office.beat("n1", Held(lost, 1, State.RUNNING, 2))
    assert answer.kill == {(lost, 1)}
    office.report(lost, RUNNING, 3)
    office.report(lost, Ended(Result(143, kill_sent=True)), 4)
    assert office.task(lost).status is Status.FAILED
    assert office.task(lost).exit_code == 143


def test_it_is_said_how_many_tasks_wait_for_that_name(office: Office) -> None:
    office.cluster.drain("n1", "leaving")
    office.one(targets=["n1"])
    office.silence()
    _, waiting = office.fleet.remove("n1", force=False, by="")
    assert waiting == 1
    assert "no node has registered" in office.task(1).message


def test_what_was_forgotten_altogether_is_killed_as_well(office: Office) -> None:
    """Given up, pruned, and still running on the node that comes back."""
    lost = office.lost()
    remove(office, force=True)
    office.store.write(lambda tx: tx.forget_tasks([office.task(lost)]))
    office.join()
    assert office.beat("n1", Held(lost, 1, State.RUNNING, 1)).kill == {(lost, 1)}
    unheard_of = lost + 1
    assert office.beat("n1", Held(unheard_of, 1, State.RUNNING, 1)).kill == frozenset()


def test_a_task_that_was_sent_back_does_not_come_and_go_until_the_next_heartbeat(
    office: Office,
) -> None:
    task_id = office.assigned()
    office.send()
    office.report(task_id, RefusedByNode("no share", for_good=False), 1)
    for _ in range(5):
        office.cluster.place()
    task = office.task(task_id)
    assert (task.status, task.attempt, task.message) == (Status.PENDING, 2, "n1: no share")
    office.beat()
    office.cluster.place()
    assert office.task(task_id).status is Status.ASSIGNING
