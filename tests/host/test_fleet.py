"""What runners are told and what they say: registration, orders, heartbeats, reports and silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hakuriver.host.rows import Tx
from hakuriver.model.errors import Conflict, NotFound
from hakuriver.model.messages import Held, Report, Reports
from hakuriver.model.task import Ended, Observed, RefusedByNode, Result, State, Status, Wish
from hakuriver.system.http_connection import Limits
from tests.host.office import INTERVAL, RUNNING, SILENCE, Office, node

# Registration


def test_a_runner_that_registers_learns_its_cluster_and_interval(office: Office) -> None:
    answer = office.fleet.register(node())
    assert answer.cluster == office.cluster.id
    assert answer.interval == INTERVAL
    state = office.registry.get("n1")
    assert state is not None
    assert state.online
    assert office.told[-1] == "n1", "what waits for it is sent"


def test_a_node_is_known_after_a_restart_and_counts_as_offline_until_it_speaks(
    office: Office,
) -> None:
    office.restart()
    state = office.registry.get("n1")
    assert state is not None
    assert state.unfit == "offline"
    office.beat()
    state = office.registry.get("n1")
    assert state is not None
    assert state.unfit == ""


def test_a_second_runner_of_the_same_name_is_refused_while_the_first_one_is_at_work(
    office: Office,
) -> None:
    office.now += 2 * INTERVAL - 1
    with pytest.raises(
        Conflict, match="a node named n1 is at work already, at http://n1:8001"
    ) as refused:
        office.fleet.register(node(instance="another", url="http://elsewhere"))
    assert "--name" in refused.value.hint
    state = office.registry.get("n1")
    assert state is not None
    assert state.info.url == "http://n1:8001"


def test_a_new_machine_may_take_over_the_name_of_one_that_is_silent(office: Office) -> None:
    running, assigned = office.running(), office.assigned()
    office.now += 2 * INTERVAL
    office.fleet.register(node(instance="another"))
    assert office.task(running).status is Status.FAILED
    assert office.task(running).message == "n1 came back without it; how far it got is unknown"
    assert office.task(assigned).status is Status.ASSIGNING, "it was never sent to the old one"
    orders = office.send()
    assert orders is not None
    assert [order.task for order in orders.orders] == [assigned]


def test_a_restarted_runner_registers_at_once_and_keeps_its_tasks(office: Office) -> None:
    running = office.running()
    office.fleet.register(node(incarnation=2))
    assert office.task(running).status is Status.RUNNING


def test_a_runner_whose_ledger_lost_its_last_transactions_is_told_again(office: Office) -> None:
    """Power failed, and the disk had not kept what it had confirmed; or an older copy was put back."""
    reported, taken, killed = office.running(), office.assigned(), office.assigned()
    office.send()
    office.cluster.kill(killed)
    office.send()
    office.join(incarnation=2)
    orders = office.send()
    assert orders is not None
    assert [order.task for order in orders.orders] == [taken, killed]
    assert [wish.task for wish in orders.wishes] == [killed]
    office.beat(incarnation=2)
    assert office.task(reported).status is Status.FAILED
    assert office.task(reported).message == "n1 came back without it; how far it got is unknown"
    assert office.task(taken).status is Status.ASSIGNING


def test_a_drained_node_stays_drained_when_it_registers_again(office: Office) -> None:
    office.cluster.drain("n1", "x")
    office.fleet.register(node(incarnation=2))
    state = office.registry.get("n1")
    assert state is not None
    assert state.drained == "x"


# Orders


def test_orders_and_wishes_that_were_taken_on_are_not_sent_again(office: Office) -> None:
    task_id = office.assigned()
    office.cluster.kill(task_id)
    orders = office.send()
    assert orders is not None
    assert [order.task for order in orders.orders] == [task_id]
    assert [(wish.task, wish.wish) for wish in orders.wishes] == [(task_id, Wish.KILL)]
    assert orders.wishes[0].seq == orders.orders[0].seq
    assert office.send() is None
    office.cluster.kill(task_id)
    again = office.send()
    assert again is not None
    assert again.orders == ()
    assert again.wishes[0].n == orders.wishes[0].n + 1


def test_what_was_not_answered_is_sent_again_and_all_of_it_after_a_restart(office: Office) -> None:
    first = office.assigned()
    sent = office.fleet.outgoing("n1")
    second = office.assigned()
    again = office.send()
    assert sent is not None
    assert again is not None
    assert [order.task for order in again.orders] == [first, second]
    assert again.orders[0] == sent.orders[0]
    office.restart()
    assert office.fleet.outgoing("n1") is None, "nobody is there yet"
    office.beat()
    after = office.fleet.outgoing("n1")
    assert after is not None
    assert after.orders == again.orders


def test_a_report_closes_the_order_in_the_same_transaction(office: Office) -> None:
    task_id = office.assigned()
    office.send()
    office.report(task_id, RUNNING, 1)
    office.restart()
    office.beat()
    assert office.orders() == []
    assert office.fleet.outgoing("n1") is None


def test_a_message_holds_no_more_than_a_runner_can_swallow(office: Office) -> None:
    for _ in range(4):
        office.submit(arguments=["x" * 100_000] * 15, required_cores=0)
    office.cluster.place()
    counts = []
    while (orders := office.send()) is not None:
        counts.append(len(orders.orders))
    assert counts == [2, 2]


def test_a_silent_nodes_orders_wait(office: Office) -> None:
    office.assigned()
    office.now += SILENCE + 1
    office.registry.silent_since(office.now - SILENCE)
    assert office.fleet.outgoing("n1") is None


# Taking back what never arrived


def test_an_order_that_was_never_sent_goes_back_into_the_queue(office: Office) -> None:
    task_id = office.assigned()
    office.silence()
    task = office.task(task_id)
    assert (task.status, task.attempt, task.node) == (Status.PENDING, 1, None)
    assert task.message.startswith("n1 went offline before it received the task")
    assert office.orders() == []


def test_an_order_that_was_refused_at_every_try_goes_back_too(office: Office) -> None:
    task_id = office.assigned()
    for _ in range(3):
        orders = office.fleet.outgoing("n1")
        assert orders is not None
        office.fleet.undelivered("n1", orders, refused=True)
    office.silence()
    assert office.task(task_id).status is Status.PENDING


@pytest.mark.parametrize("refused", [[False], [True, False], [False, True]])
def test_an_order_that_may_have_arrived_once_is_lost_and_not_given_to_another(
    office: Office, refused: list[bool]
) -> None:
    task_id = office.assigned()
    for each in refused:
        orders = office.fleet.outgoing("n1")
        assert orders is not None
        office.fleet.undelivered("n1", orders, refused=each)
    office.silence()
    assert office.task(task_id).status is Status.LOST
    assert len(office.orders()) == 1, "it is sent again when the node is back"


def test_a_host_that_was_killed_while_it_sent_cannot_rule_out_that_it_did(office: Office) -> None:
    task_id = office.assigned()
    office.fleet.outgoing("n1")
    office.restart()
    office.silence()
    assert office.task(task_id).status is Status.LOST


def test_a_try_that_fails_after_the_task_was_given_up_still_counts(office: Office) -> None:
    """The node went silent while a connection to it was being made, and then it was refused."""
    task_id = office.assigned()
    orders = office.fleet.outgoing("n1")
    assert orders is not None
    office.silence()
    assert office.task(task_id).status is Status.LOST
    office.fleet.undelivered("n1", orders, refused=True)
    office.fleet.scan()
    assert office.task(task_id).status is Status.PENDING


def test_a_message_is_no_larger_than_a_runner_takes_whatever_json_makes_of_it(
    office: Office,
) -> None:
    """A refused message would be sent again for ever, and the node be told nothing any more."""
    for _ in range(2):
        office.assigned(arguments=["\udc80" * 120_000] * 15)
    sizes = []
    while (orders := office.send()) is not None:
        sizes.append(len(json.dumps(orders.to_json())))
    assert len(sizes) == 2
    assert max(sizes) < Limits().body_bytes


def test_an_order_that_is_taken_back_while_it_is_being_sent_is_not_sent(office: Office) -> None:
    task_id = office.assigned()
    first = office.fleet.outgoing("n1")
    assert first is not None
    office.fleet.undelivered("n1", first, refused=True)
    between(office, lambda: office.silence())
    assert office.fleet.outgoing("n1") is None
    assert office.task(task_id).status is Status.PENDING


def between(office: Office, act: Callable[[], object]) -> None:
    """Have it happen right before the next commit."""
    write = office.store.write

    def interrupted(work: Callable[[Tx], Any]) -> Any:
        office.store.write = write  # type: ignore[method-assign]
        act()
        return write(work)

    office.store.write = interrupted  # type: ignore[method-assign]


def test_a_task_that_was_to_be_killed_is_killed_when_it_comes_back(office: Office) -> None:
    task_id = office.assigned()
    office.cluster.kill(task_id)
    office.silence()
    assert office.task(task_id).status is Status.KILLED


# Heartbeats


def test_a_heartbeat_of_an_unknown_runner_asks_it_to_register(office: Office) -> None:
    with pytest.raises(NotFound):
        office.beat("n9")
    with pytest.raises(NotFound):
        office.beat(incarnation=2)


def test_a_heartbeat_says_below_which_number_all_orders_are_over(office: Office) -> None:
    assert office.beat().orders_closed_below == (1, 1)
    first, second = office.assigned(), office.assigned()
    office.send()
    assert office.beat().orders_closed_below == (1, 1)
    office.report(second, RUNNING, 1)
    assert office.beat().orders_closed_below == (1, 1), "the first is still open"
    office.report(first, RUNNING, 1)
    assert office.beat().orders_closed_below == (1, 3)
    office.restart()
    assert office.beat().orders_closed_below == (2, 3)


def test_a_lost_task_is_found_again(office: Office) -> None:
    task_id = office.lost()
    rooms = office.rooms
    office.beat("n1", Held(task_id, 1, State.RUNNING, 1), seen=(1, 1))
    assert office.task(task_id).status is Status.RUNNING
    assert office.rooms > rooms


def test_a_heartbeat_that_was_overtaken_changes_nothing(office: Office) -> None:
    task_id = office.running()
    office.beats["n1"] = 5
    office.beat("n1", Held(task_id, 1, State.RUNNING, 1), seen=(1, 1))
    office.beats["n1"] = 2
    office.beat("n1", seen=(1, 1))
    assert office.task(task_id).status is Status.RUNNING


def test_a_forgotten_task_that_is_found_running_is_killed(office: Office) -> None:
    task_id = office.lost()
    office.cluster.forget(task_id, "me")
    answer = office.beat("n1", Held(task_id, 1, State.RUNNING, 1), seen=(1, 1))
    assert answer.kill == {(task_id, 1)}
    assert office.task(task_id).status is Status.FAILED


def test_a_node_that_comes_back_without_a_task_has_lost_it(office: Office) -> None:
    task_id = office.lost()
    office.fleet.register(node(incarnation=2))
    office.beats["n1"] = 0
    office.beat("n1", incarnation=2, seen=(1, 1))
    task = office.task(task_id)
    assert (task.status, task.completed_at) == (Status.FAILED, office.now)
    assert office.orders() == []


def test_a_kill_is_carried_out_when_the_node_of_a_lost_task_returns(office: Office) -> None:
    task_id = office.lost()
    office.cluster.kill(task_id)
    assert office.fleet.outgoing("n1") is None
    office.beat("n1", Held(task_id, 1, State.RUNNING, 1), seen=(1, 1))
    orders = office.send()
    assert orders is not None
    assert [wish.wish for wish in orders.wishes] == [Wish.KILL]


def test_a_problem_of_a_node_keeps_tasks_away_until_it_is_gone(office: Office) -> None:
    office.join(problems=("the shared directory is not mounted",))
    task_id = office.one()
    office.cluster.place()
    assert office.task(task_id).message == "n1: the shared directory is not mounted"
    rooms = office.rooms
    office.beat()
    assert office.rooms > rooms
    office.cluster.place()
    assert office.task(task_id).status is Status.ASSIGNING


# Reports


def test_reports_are_acknowledged_one_by_one(office: Office) -> None:
    mine, others = office.running(), 99
    office.join("n2")
    foreign = office.running("n2")
    answer = office.fleet.report(
        Reports(
            "n1", 1, 0.0,
            (Report(mine, 1, 7, Ended(Result(0))), Report(others, 1, 1, RUNNING), Report(foreign, 1, 9, RUNNING)),
        )
    )  # fmt: skip
    assert answer.acknowledged == {(mine, 1, 7), (others, 1, 1)}
    assert office.task(mine).status is Status.COMPLETED
    assert office.task(foreign).status is Status.RUNNING


def test_what_was_acknowledged_is_on_disk(office: Office) -> None:
    task_id = office.ended(3)
    office.restart()
    assert (office.task(task_id).status, office.task(task_id).exit_code) == (Status.FAILED, 3)


def test_a_report_of_an_end_makes_room(office: Office) -> None:
    task_id = office.running()
    rooms = office.rooms
    office.report(task_id, Observed(State.PAUSED), 2)
    assert office.rooms == rooms
    office.report(task_id, Ended(Result(0)), 3)
    assert office.rooms == rooms + 1


def test_a_node_that_has_no_room_after_all_sends_the_task_elsewhere(office: Office) -> None:
    task_id = office.assigned()
    office.send()
    rooms = office.rooms
    office.report(task_id, RefusedByNode("not now", for_good=False), 1)
    task = office.task(task_id)
    assert (task.status, task.attempt) == (Status.PENDING, 2)
    assert office.orders() == []
    assert office.rooms > rooms
    late = office.fleet.report(Reports("n1", 1, 0.0, (Report(task_id, 1, 1, RUNNING),)))
    assert late.kill == {(task_id, 1)}


# Silence


def test_a_silent_node_loses_its_tasks_and_keeps_what_they_hold(office: Office) -> None:
    task_id = office.running(required_cores=4)
    office.silence()
    task = office.task(task_id)
    assert task.status is Status.LOST
    assert task.message == "n1 does not answer; the task may still be running there"
    with office.store.read() as tx:
        assert tx.reserved()["n1"].cores == 4000


def test_a_node_that_speaks_in_time_loses_nothing(office: Office) -> None:
    task_id = office.running()
    office.now += SILENCE - 1
    office.beat("n1", Held(task_id, 1, State.RUNNING, 1), seen=(1, 1))
    office.now += SILENCE - 1
    office.fleet.scan()
    assert office.task(task_id).status is Status.RUNNING


def test_after_a_restart_everybody_has_time_to_be_heard_of(office: Office) -> None:
    task_id = office.running()
    office.now += 1000
    office.restart()
    office.fleet.scan()
    assert office.task(task_id).status is Status.RUNNING
    office.silence()
    assert office.task(task_id).status is Status.LOST


def test_scanning_again_changes_nothing(office: Office) -> None:
    task_id = office.lost()
    revision = office.task(task_id).revision
    office.silence()
    assert office.task(task_id).revision == revision
