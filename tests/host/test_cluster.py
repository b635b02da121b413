"""What users ask for: submitted once however often it is sent, and every verb in every status."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hakuriver.host import identity
from hakuriver.host.cluster import Defaults
from hakuriver.host.placement import Supply
from hakuriver.model.errors import Conflict, NotFound, Refused
from hakuriver.model.messages import Report, Reports
from hakuriver.model.node import Capacity
from hakuriver.model.submission import read_submission
from hakuriver.model.task import Ended, Observed, RefusedByNode, Result, State, Status, Wish
from tests.host.office import RUNNING, Office

# Submitting


def test_a_submission_is_answered_with_its_ids(office: Office) -> None:
    answer = office.submit(arguments=["a"])
    assert answer == {"message": "Task 1 accepted.", "task_ids": ["1"], "batch_id": "1"}
    assert office.task(1).spec.argv == ("true", "a")
    assert office.rooms >= 1


def test_what_was_accepted_is_there_after_a_kill(office: Office) -> None:
    office.submit(arguments=["\udcff", ""], env_vars={"A": "\udc80"}, user="me")
    office.restart()
    spec = office.task(1).spec
    assert (spec.argv, spec.env, spec.user) == (("true", "\udcff", ""), (("A", "\udc80"),), "me")


def test_a_file_server_that_does_not_answer_holds_nobody_but_who_submits(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new block of ids is written to the shared directory: never while others wait for it."""
    running, came, dead = office.running(), threading.Event(), threading.Event()
    real = identity.read_identity

    def held(folder: Path) -> Any:
        came.set()
        assert dead.wait(30)
        return real(folder)

    monkeypatch.setattr(identity, "read_identity", held)
    axis = [str(number) for number in range(2 * identity.BLOCK)]
    many = {"words": [["echo"], [0]], "axes": [axis], "names": [""], "zipped": False}
    submitting = threading.Thread(target=lambda: office.submit(sweep=many), daemon=True)
    submitting.start()
    assert came.wait(30)
    others = threading.Thread(target=lambda: office.cluster.kill(running), daemon=True)
    others.start()
    others.join(10)
    assert office.task(running).wish is Wish.KILL
    assert office.one() == running + 1, "of the block that there is"
    dead.set()
    submitting.join(30)
    assert len(office.all()) == 2 + len(axis)


def test_the_same_key_and_body_get_the_same_answer(office: Office) -> None:
    first = office.submit(key="k", arguments=["x"])
    office.restart()
    assert office.submit(key="k", arguments=["x"]) == first
    assert len(office.all()) == 1


def test_the_order_of_fields_makes_no_other_body(office: Office) -> None:
    one = {"command": "true", "container_name": "NULL", "user": "me"}
    two = dict(reversed(one.items()))
    office.cluster.submit(read_submission(one), key="k", body=one)
    office.cluster.submit(read_submission(two), key="k", body=two)
    assert len(office.all()) == 1


def test_the_same_key_with_another_body_is_refused(office: Office) -> None:
    office.submit(key="k", arguments=["x"])
    with pytest.raises(Refused, match="the key k was used for another submission") as refused:
        office.submit(key="k", arguments=["y"])
    assert refused.value.http_status == 422
    assert len(office.all()) == 1


def test_no_key_means_another_task_each_time(office: Office) -> None:
    assert office.one() != office.one()


def test_a_key_is_remembered_with_the_targets_that_failed(office: Office) -> None:
    answer = office.submit(key="k", targets=["n1", "gone"])
    office.join("gone")
    assert office.submit(key="k", targets=["n1", "gone"]) == answer
    assert [entry["target"] for entry in answer["failed_targets"]] == ["gone"]


def test_several_targets_are_one_batch(office: Office) -> None:
    office.join("n2")
    answer = office.submit(targets=["n1", "n2", "n1:0"])
    assert answer["task_ids"] == ["1", "2", "3"]
    assert answer["batch_id"] == "1"
    assert answer["message"] == "Tasks 1, 2, 3 accepted."
    assert [str(task.spec.target) for task in reversed(office.all())] == ["n1", "n2", "n1:0"]
    assert {task.batch_id for task in office.all()} == {1}


def test_targets_that_cannot_be_are_named_and_the_others_go_on(office: Office) -> None:
    answer = office.submit(targets=["nowhere", "n1", "n1:7", "n1:x"])
    assert answer["task_ids"] == ["1"]
    assert answer["failed_targets"] == [
        {"target": "nowhere", "reason": "node nowhere is not registered"},
        {"target": "n1:7", "reason": "node n1 has no NUMA node 7 (it has: 0)"},
        {"target": "n1:x", "reason": "'n1:x': 'x' is no NUMA node"},
    ]


def test_a_submission_without_any_usable_target_is_refused(office: Office) -> None:
    with pytest.raises(Refused, match="no target can be used: nowhere: node nowhere is not"):
        office.submit(key="k", targets=["nowhere"])
    assert office.all() == []
    office.join("nowhere")
    assert office.submit(key="k", targets=["nowhere"])["task_ids"] == ["1"], "no answer was stored"


def test_an_offline_or_drained_target_means_waiting(office: Office) -> None:
    office.cluster.drain("n1", "moving house")
    task_id = office.one(targets=["n1"])
    office.cluster.place()
    assert office.task(task_id).status is Status.PENDING
    assert office.task(task_id).message == "n1: drained: moving house"
    office.cluster.drain("n1", None)
    office.silence()
    assert office.task(task_id).message == "n1: offline"


# Environments


def test_without_a_container_the_default_one_is_taken(tmp_path: Path) -> None:
    office = Office(tmp_path, Defaults("base", privileged=True, mounts=("/a:/b",)))
    office.join()
    spec = office.task(office.one(container_name=None)).spec
    assert (spec.container, spec.privileged, spec.mounts) == ("base", True, ("/a:/b",))
    spec = office.task(
        office.one(container_name=None, privileged=False, additional_mounts=["/c:/d"])
    ).spec
    assert (spec.container, spec.privileged, spec.mounts) == ("base", False, ("/c:/d",))
    spec = office.task(office.one(container_name="other")).spec
    assert spec.container == "other"
    spec = office.task(office.one(container_name="NULL")).spec
    assert (spec.container, spec.privileged, spec.mounts) == (None, False, ())
    office.store.close()


def test_a_default_environment_that_is_nowhere_is_refused_with_a_way_out(tmp_path: Path) -> None:
    office = Office(tmp_path, Defaults("nowhere"))
    office.join()
    with pytest.raises(Refused, match="default environment 'nowhere' does not exist") as refused:
        office.submit(container_name=None)
    assert "--container NULL" in refused.value.hint
    assert office.one(container_name="NULL") > 0
    assert office.one(container_name="nowhere") > 0, "who names it gets to hear it from the node"
    office.why_missing = "no internet here"
    with pytest.raises(Refused, match="Making it failed: no internet here"):
        office.submit(container_name=None)
    office.supply = Supply(published=frozenset({"nowhere"}))
    assert office.one(container_name=None) > 0
    office.store.close()


def test_tasks_of_an_environment_that_is_being_made_wait_and_say_so(tmp_path: Path) -> None:
    office = Office(tmp_path, Defaults("new"), supply=Supply(making={"new": "new is being made"}))
    office.join()
    waiting, other = office.one(container_name=None), office.one()
    office.cluster.place()
    assert office.task(waiting).status is Status.PENDING
    assert office.task(waiting).message == "new is being made"
    assert office.task(other).status is Status.ASSIGNING, "nobody else waits for it"
    office.supply = Supply(published=frozenset({"new"}))
    office.cluster.place()
    assert office.task(waiting).status is Status.ASSIGNING
    office.store.close()


@pytest.mark.parametrize("field", [{"privileged": True}, {"additional_mounts": ["/a:/b"]}])
def test_what_needs_a_container_is_refused_without_one(office: Office, field: dict) -> None:
    with pytest.raises(Refused, match="no container do not go together"):
        office.submit(**field)


def test_bytes_are_passed_on_without_a_container_only(office: Office) -> None:
    assert office.one(arguments=["\udcff"])
    with pytest.raises(Refused, match="argument 1 is not UTF-8"):
        office.submit(arguments=["\udcff"], container_name="base")


# Placing


def test_the_assignment_is_the_reservation(office: Office) -> None:
    ids = [office.one(required_cores=1.5) for _ in range(4)]
    office.cluster.place()
    statuses = [office.task(task_id).status for task_id in ids]
    assert statuses == [Status.ASSIGNING] * 2 + [Status.PENDING] * 2
    office.cluster.place()
    assert len(office.orders()) == 2
    assert office.told.count("n1") >= 1
    assert office.task(ids[2]).message == "n1: 1 of 4 cores are free, the task wants 1.5"


def test_an_order_has_the_epoch_and_a_number_that_rises_for_ever(office: Office) -> None:
    office.assigned()
    office.restart()
    office.join()
    office.assigned()
    assert [order.order.seq for order in office.orders()] == [(1, 1), (2, 2)]


def test_room_is_given_back_when_a_task_is_over(office: Office) -> None:
    first, second = office.running(required_cores=4), office.one(required_cores=4)
    office.cluster.place()
    assert office.task(second).status is Status.PENDING
    rooms = office.rooms
    office.report(first, Ended(Result(0)), 2)
    assert office.rooms > rooms
    office.cluster.place()
    assert office.task(second).status is Status.ASSIGNING


def test_a_node_that_shrinks_evicts_nobody(office: Office) -> None:
    running = office.running(required_cores=4)
    office.join(capacity=Capacity(1, 1 << 30, 2))
    office.cluster.place()
    assert office.task(running).status is Status.RUNNING


# Verbs


Make = Callable[[Office], int]


def pending(office: Office) -> int:
    return office.one(required_cores=99)


def paused(office: Office) -> int:
    task_id = office.running()
    office.cluster.pause(task_id)
    office.report(task_id, Observed(State.PAUSED), 2, wish_n=1)
    return task_id


LIVE: dict[Status, Make] = {
    Status.ASSIGNING: lambda office: office.assigned(),
    Status.RUNNING: lambda office: office.running(),
    Status.PAUSED: paused,
    Status.LOST: lambda office: office.lost(),
}


def over(result: Result) -> Make:
    def make(office: Office) -> int:
        task_id = office.running()
        office.report(task_id, Ended(result), 9)
        return task_id

    return make


OVER: dict[Status, Make] = {
    Status.COMPLETED: over(Result(0)),
    Status.FAILED: over(Result(1)),
    Status.KILLED: over(Result(143, kill_sent=True)),
    Status.KILLED_OOM: over(Result(137, oom=True)),
}
live = pytest.mark.parametrize("status", LIVE)
finished = pytest.mark.parametrize("status", OVER)


@live
def test_a_kill_is_a_wish_until_the_node_confirms_it(office: Office, status: Status) -> None:
    task_id = LIVE[status](office)
    office.told.clear()
    after = office.cluster.kill(task_id)
    assert (after.status, after.wish) == (status, Wish.KILL)
    assert office.told == ["n1"]


@live
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_and_resume_are_wishes_and_the_last_one_wins(
    office: Office, status: Status, verb: str
) -> None:
    task_id = LIVE[status](office)
    n = office.task(task_id).wish_n
    for count, word in enumerate(["resume", "pause", verb], 1):
        after = getattr(office.cluster, word)(task_id)
        assert (after.wish, after.wish_n) == (Wish(word), n + count)
        assert after.status is status


@live
def test_what_is_being_killed_can_be_killed_again_and_nothing_else(
    office: Office, status: Status
) -> None:
    task_id = LIVE[status](office)
    n = office.cluster.kill(task_id).wish_n
    for verb in (office.cluster.pause, office.cluster.resume):
        with pytest.raises(Conflict, match="is being killed"):
            verb(task_id)
    assert office.cluster.kill(task_id).wish_n == n + 1


def test_a_pending_task_is_killed_at_once(office: Office) -> None:
    after = office.cluster.kill(pending(office))
    assert (after.status, after.message) == (Status.KILLED, "killed before it started")
    assert (after.completed_at, after.node, after.exit_code) == (office.now, None, None)
    office.cluster.place()
    assert office.task(after.id).status is Status.KILLED


def test_a_pending_task_cannot_be_paused(office: Office) -> None:
    task_id = pending(office)
    with pytest.raises(Conflict, match="has not started, it cannot be paused"):
        office.cluster.pause(task_id)
    with pytest.raises(Conflict, match="has not started, it cannot be resumed"):
        office.cluster.resume(task_id)


@finished
@pytest.mark.parametrize("verb", ["kill", "pause", "resume"])
def test_what_is_over_takes_no_wish(office: Office, status: Status, verb: str) -> None:
    task_id = OVER[status](office)
    assert office.task(task_id).status is status
    with pytest.raises(Conflict, match=f"task {task_id} is over: {status.value}") as refused:
        getattr(office.cluster, verb)(task_id)
    assert refused.value.http_status == 409


@pytest.mark.parametrize("verb", ["kill", "pause", "resume", "requeue"])
def test_a_task_that_is_not_there_is_not_found(office: Office, verb: str) -> None:
    with pytest.raises(NotFound, match="there is no task 99"):
        getattr(office.cluster, verb)(99)
    with pytest.raises(NotFound):
        office.cluster.forget(99, "me")


REQUEUE = {Status.LOST: LIVE[Status.LOST], Status.FAILED: OVER[Status.FAILED]}
ALL = {Status.PENDING: pending, **LIVE, **OVER}


@pytest.mark.parametrize("status", ALL)
def test_only_lost_and_failed_tasks_can_be_requeued(office: Office, status: Status) -> None:
    task_id = ALL[status](office)
    if status not in REQUEUE:
        with pytest.raises(Conflict, match=f"is {status.value}, it cannot be requeued"):
            office.cluster.requeue(task_id)
        return
    rooms = office.rooms
    after = office.cluster.requeue(task_id)
    assert (after.status, after.attempt, after.node) == (Status.PENDING, 2, None)
    assert after.exit_code is after.completed_at is None
    assert office.rooms > rooms


@pytest.mark.parametrize("status", ALL)
def test_only_lost_tasks_can_be_forgotten(office: Office, status: Status) -> None:
    task_id = ALL[status](office)
    if status is not Status.LOST:
        with pytest.raises(Conflict, match=f"is {status.value}, it cannot be forgotten"):
            office.cluster.forget(task_id, "me")
        return
    after = office.cluster.forget(task_id, "me")
    assert after.status is Status.FAILED
    assert after.message == "forgotten by me; it may still be running on n1"


def test_a_requeued_task_takes_its_old_order_back(office: Office) -> None:
    task_id = office.assigned()
    office.send()
    office.silence()
    assert len(office.orders()) == 1
    office.cluster.requeue(task_id)
    assert office.orders() == []


def test_requeueing_implies_a_kill_of_the_attempt_before(office: Office) -> None:
    task_id = office.lost()
    office.cluster.requeue(task_id)
    answer = office.fleet.report(Reports("n1", 1, 0.0, (Report(task_id, 1, 99, RUNNING),)))
    assert answer.kill == {(task_id, 1)}


def test_a_task_that_nothing_holds_back_is_not_said_to_wait_for_another(office: Office) -> None:
    first = office.one(required_cores=3)
    big, small = office.one(required_cores=3), office.one(required_cores=1)
    assert office.cluster.task(first).message == ""
    why = office.cluster.task(big).message
    assert why == "n1: an earlier task waits for it", "the first will have taken the cores"
    office.cluster.place()
    assert office.cluster.task(big).message == "n1: 1 of 4 cores are free, the task wants 3"
    assert office.cluster.task(small).message == "n1: an earlier task waits for it"


def test_a_task_that_was_sent_back_says_why_and_what_it_waits_for(office: Office) -> None:
    task_id = office.assigned()
    office.send()
    office.cluster.drain("n1", "")
    office.report(task_id, RefusedByNode("the shared directory is gone", for_good=False), 1)
    assert office.task(task_id).message == "the shared directory is gone; n1: drained"


def test_draining_is_remembered_and_unknown_nodes_are_named(office: Office) -> None:
    office.cluster.drain("n1", "moving house")
    office.restart()
    office.join()
    state = office.registry.get("n1")
    assert state is not None
    assert state.unfit == "drained: moving house"
    with pytest.raises(NotFound, match="node n9 is not registered"):
        office.cluster.drain("n9", "")
