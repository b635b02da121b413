"""Which task goes where: order, room, and nothing held back without need."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.host.placement import Place, Placement, Reserved, Supply, Waiting, explain, place
from hakuriver.model.node import Capacity, NumaNode
from hakuriver.model.target import Target
from hakuriver.model.units import milli

GIB = 1 << 30


def node(
    name: str,
    cores: float = 4,
    *,
    memory: int = 8 * GIB,
    max_tasks: int = 16,
    numa: dict[int, NumaNode] | None = None,
    reserved: Reserved | None = None,
    unfit: str = "",
    driver: str = "process",
    environments: tuple[str, ...] | None = (),
) -> Place:
    """environments None: a node without an engine."""
    return Place(
        name,
        Capacity(cores, memory, max_tasks, numa or {}),
        reserved or Reserved(),
        unfit,
        driver,
        environments is not None,
        frozenset(environments or ()),
    )


def task(
    id: int,
    cores: float = 1,
    *,
    memory: int | None = None,
    container: str | None = None,
    target: Target | None = None,
) -> Waiting:
    return Waiting(id, cores, memory, container, target)


def placed(waiting: list[Waiting], places: list[Place]) -> dict[int, str]:
    return {each.task: each.node for each in place(waiting, places)}


def test_earlier_tasks_come_first() -> None:
    assert placed([task(1, 3), task(2, 3), task(3, 1)], [node("a")]) == {1: "a"}
    assert placed([task(1, 3), task(2, 1), task(3, 1)], [node("a")]) == {1: "a", 2: "a"}


def test_the_node_with_most_free_cores_is_taken() -> None:
    places = [node("a", 2), node("b", 8), node("c", 4)]
    assert placed([task(1)], places) == {1: "b"}
    assert placed([task(n) for n in range(8)], places) == {
        0: "b", 1: "b", 2: "b", 3: "b", 4: "c", 5: "b", 6: "c", 7: "b",
    }  # fmt: skip


def test_among_equals_the_one_with_fewer_tasks_and_then_the_first_name_is_taken() -> None:
    places = [node("b"), node("a"), node("c", reserved=Reserved(tasks=1))]
    assert list(placed([task(1, 0), task(2, 0), task(3, 0)], places).values()) == ["a", "b", "a"]


def test_a_task_that_waits_holds_back_only_nodes_that_it_could_use() -> None:
    big, small = node("big", 8, reserved=Reserved(cores=milli(6))), node("small", 2)
    waiting = [task(1, 4), task(2, 2), task(3, 1), task(4, 1)]
    # The first needs the big node, so nobody passes it there; the small one is of no use to it.
    assert placed(waiting, [big, small]) == {2: "small"}


def test_a_task_for_one_node_holds_back_no_other() -> None:
    full = node("full", reserved=Reserved(cores=milli(4)))
    waiting = [task(1, target=Target("full")), task(2), task(3, target=Target("full"))]
    assert placed(waiting, [full, node("free")]) == {2: "free"}


def test_a_task_that_no_node_could_ever_run_holds_back_nobody() -> None:
    waiting = [task(1, 99), task(2, memory=99 * GIB), task(3, target=Target("gone")), task(4)]
    assert placed(waiting, [node("a")]) == {4: "a"}


@pytest.mark.parametrize("reason", ["offline", "drained", "drained: moving house", "no shared dir"])
def test_nothing_is_given_to_an_unfit_node_and_nothing_held_back_for_it(reason: str) -> None:
    places = [node("bad", 64, unfit=reason), node("good", 2)]
    assert placed([task(1, 32), task(2, target=Target("bad")), task(3, 2)], places) == {3: "good"}
    assert explain(task(2, target=Target("bad")), places) == f"bad: {reason}"


def test_memory_is_reserved_only_where_it_is_asked_for() -> None:
    places = [node("a", 16, memory=4 * GIB)]
    waiting = [task(1, memory=3 * GIB), task(2), task(3, memory=GIB), task(4), task(5, memory=1)]
    assert placed(waiting, places) == {1: "a", 2: "a", 3: "a", 4: "a"}
    assert "0B of 4G memory are free" in explain(
        task(5, memory=1), [node("a", 16, memory=4 * GIB, reserved=Reserved(memory=4 * GIB))]
    )


def test_tasks_without_cores_are_limited_by_their_number() -> None:
    places = [node("a", 1, max_tasks=3)]
    assert len(placed([task(n, 0) for n in range(10)], places)) == 3
    full = node("a", 1, max_tasks=3, reserved=Reserved(cores=milli(1), tasks=1))
    assert len(placed([task(n, 0) for n in range(10)], [full])) == 2
    over = node("a", 1, reserved=Reserved(cores=milli(5)))
    assert placed([task(1, 0)], [over]) == {1: "a"}, "no cores asked for, none needed"


def test_a_numa_target_is_limited_by_its_part_of_the_node_and_by_the_whole() -> None:
    numa = {0: NumaNode((0, 1), 2 * GIB), 1: NumaNode((2, 3), 2 * GIB)}
    here = Target("a", 1)
    places = [node("a", 4, memory=4 * GIB, numa=numa)]
    assert placed([task(1, 2, target=here), task(2, 1, target=here)], places) == {1: "a"}
    assert placed([task(1, memory=2 * GIB, target=here), task(2, memory=1, target=here)], places) == {1: "a"}  # fmt: skip
    assert placed([task(1, 4), task(2, 1, target=here)], places) == {1: "a"}
    both = [task(1, 2, target=here), task(2, 2, target=Target("a", 0)), task(3, 1)]
    assert placed(both, places) == {1: "a", 2: "a"}
    assert explain(task(1, target=Target("a", 7)), places) == "a: has no NUMA node 7"
    assert "has 2 cores, the task wants 3" in explain(task(1, 3, target=here), places)


def test_an_environment_that_lies_on_some_nodes_runs_only_there() -> None:
    places = [node("big", 64, environments=()), node("has", 2, environments=("env",))]
    assert placed([task(1, container="env")], places) == {1: "has"}
    full = [places[0], node("has", 2, environments=("env",), reserved=Reserved(cores=milli(2)))]
    assert placed([task(1, container="env"), task(2)], full) == {2: "big"}


def test_an_environment_with_a_tarball_runs_on_any_node_with_an_engine() -> None:
    places = [node("big", 64), node("has", 2, environments=("env",)), node("no", 99, environments=None)]  # fmt: skip
    found = place([task(1, container="env")], places, Supply(published=frozenset({"env"})))
    assert found == [Placement(1, "big")]


def test_an_environment_that_is_being_made_holds_nobody_else_back() -> None:
    supply = Supply(making={"env": "it is being made"})
    waiting = task(1, 2, container="env")
    assert place([waiting, task(2, 2)], [node("a", 2)], supply) == [Placement(2, "a")]
    assert explain(waiting, [node("a", 2)], supply) == "it is being made"


def test_an_environment_that_lies_nowhere_goes_to_a_node_that_says_so() -> None:
    places = [node("a"), node("b", 64, environments=None)]
    assert placed([task(1, container="env")], places) == {1: "a"}


def test_a_node_takes_only_the_kinds_of_tasks_that_it_can_run() -> None:
    places = [node("docker", driver=""), node("plain", environments=None)]
    assert placed([task(1), task(2, container="env")], places) == {1: "plain", 2: "docker"}
    assert explain(task(1, container="env"), places[1:]) == "plain: has no Docker engine"
    assert explain(task(1), places[:1]) == "docker: takes no tasks without a container"


@pytest.mark.parametrize(
    ("waiting", "places", "why"),
    [
        (task(1), [], "no node has registered yet"),
        (task(1, target=Target("x")), [node("a")], "node x is not registered"),
        (task(1, 9), [node("a"), node("b")], "all nodes: has 4 cores, the task wants 9"),
        (task(1, 9), [node("a"), node("b", 8)],
         "a: has 4 cores, the task wants 9; b: has 8 cores, the task wants 9"),
        (task(1, memory=9 * GIB), [node("a")], "a: has 8G of memory, the task wants 9G"),
        (task(1, 2), [node("a", reserved=Reserved(cores=2500))],
         "a: 1.5 of 4 cores are free, the task wants 2"),
        (task(1, 1), [node("a", reserved=Reserved(cores=9000))],
         "a: 0 of 4 cores are free, the task wants 1"),
        (task(1, 0), [node("a", max_tasks=2, reserved=Reserved(tasks=2))],
         "a: runs 2 tasks already, its maximum"),
        (task(1), [node("a", unfit="offline"), node("b", unfit="offline")], "all nodes: offline"),
        (task(1, 9), [node("a", unfit="offline"), node("b", unfit="offline")],
         "all nodes: has 4 cores, the task wants 9"),
        (task(1), [node("a", unfit="offline"), node("b", unfit="drained")],
         "a: offline; b: drained"),
        (task(1), [node("a")], "a: an earlier task waits for it"),
    ],
)  # fmt: skip
def test_a_waiting_task_is_told_why(waiting: Waiting, places: list[Place], why: str) -> None:
    assert explain(waiting, places) == why


cores = st.integers(0, 9000).map(lambda n: n / 1000) | st.sampled_from([0.1, 0.3, 1, 2, 0.001])
tasks = st.builds(
    Waiting,
    id=st.integers(1),
    cores=cores,
    memory=st.none() | st.integers(0, 12 * GIB),
    container=st.none() | st.sampled_from(["x", "y"]),
    target=st.none()
    | st.builds(Target, st.sampled_from("abc"), st.none() | st.integers(0, 2)),
)  # fmt: skip
places = st.builds(
    node,
    name=st.just(""),
    cores=st.sampled_from([0.5, 1, 2, 7.3, 64]),
    memory=st.integers(0, 16 * GIB),
    max_tasks=st.integers(0, 9),
    numa=st.sampled_from([{}, {0: NumaNode((0,), GIB), 1: NumaNode((1, 2), 2 * GIB)}]),
    reserved=st.builds(Reserved, cores=st.integers(0, 2000), tasks=st.integers(0, 3)),
    unfit=st.sampled_from(["", "", "", "offline"]),
    driver=st.sampled_from(["process", ""]),
    environments=st.sampled_from([None, (), ("x",), ("x", "y")]),
)


@given(st.lists(tasks, max_size=30, unique_by=lambda each: each.id), st.lists(places, max_size=3))
def test_no_node_is_ever_given_more_than_it_has(waiting: list[Waiting], some: list[Place]) -> None:
    nodes = {name: replace_name(each, name) for name, each in zip("abc", some, strict=False)}
    by_id = {each.id: each for each in waiting}
    found = place(waiting, nodes.values())
    assert len({each.task for each in found}) == len(found)
    for name, each in nodes.items():
        given_here = [by_id[one.task] for one in found if one.node == name]
        used = sum(milli(one.cores) for one in given_here)
        if any(one.cores for one in given_here):
            assert each.reserved.cores + used <= milli(each.capacity.cores)
        assert sum(one.memory or 0 for one in given_here) <= each.capacity.memory
        assert each.reserved.tasks + len(given_here) <= max(each.capacity.max_tasks, 3)
        assert not (given_here and each.unfit)
        assert all(one.target is None or one.target.node == name for one in given_here)
        for number, part in each.capacity.numa.items():
            bound = [one for one in given_here if one.target and one.target.numa == number]
            assert sum(milli(one.cores) for one in bound) <= milli(len(part.cores))
            assert sum(one.memory or 0 for one in bound) <= part.memory


def replace_name(each: Place, name: str) -> Place:
    return Place(
        name, each.capacity, each.reserved, each.unfit, each.driver, each.has_engine, each.environments
    )  # fmt: skip


@given(st.lists(cores, min_size=1, max_size=60), st.sampled_from([1, 2, 3.7]))
def test_fractions_never_over_commit(wanted: list[float], capacity: float) -> None:
    waiting = [task(n, each) for n, each in enumerate(wanted)]
    found = place(waiting, [node("a", capacity, max_tasks=1000)])
    assert sum(milli(wanted[each.task]) for each in found) <= milli(capacity)


def test_ten_tenths_fit_into_one_core() -> None:
    assert len(place([task(n, 0.1) for n in range(11)], [node("a", 1)])) == 10


class Counting:
    """Tasks that count how many of them were looked at."""

    def __init__(self, tasks: Iterator[Waiting]) -> None:
        self._tasks = tasks
        self.read = 0

    def __iter__(self) -> Iterator[Waiting]:
        for each in self._tasks:
            self.read += 1
            yield each


def test_a_full_cluster_reads_two_of_ten_thousand_tasks() -> None:
    full = [node(f"n{n}", reserved=Reserved(cores=milli(4))) for n in range(50)]
    waiting = Counting(task(n) for n in range(10_000))
    assert place(waiting, full) == []
    assert waiting.read == 2


def test_fifty_nodes_with_room_read_no_more_tasks_than_they_can_take() -> None:
    waiting = Counting(task(n) for n in range(10_000))
    assert len(place(waiting, [node(f"n{n}") for n in range(50)])) == 200
    assert waiting.read == 202


def test_unequal_tasks_close_all_nodes_soon() -> None:
    sizes = itertools.cycle([3, 1, 2, 4])
    waiting = Counting(task(n, next(sizes)) for n in range(10_000))
    assert len(place(waiting, [node(f"n{n}") for n in range(50)])) >= 50
    assert waiting.read <= 201


def test_no_usable_node_reads_no_task() -> None:
    waiting = Counting(task(n) for n in range(10_000))
    assert place(waiting, [node("a", unfit="offline")]) == []
    assert waiting.read <= 1


def test_a_placement_names_task_and_node() -> None:
    assert place([task(7)], [node("a")]) == [Placement(7, "a")]
