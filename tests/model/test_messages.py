"""The wire: every message survives the way there and back, and garbage is refused, never worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.model.errors import Refused
from hakuriver.model.fields import WHOLE_MAX
from hakuriver.model.messages import (
    Heartbeat,
    HeartbeatAnswer,
    Held,
    Orders,
    OrdersAnswer,
    RegisterAnswer,
    Report,
    Reports,
    ReportsAnswer,
    RunOrder,
    WishOrder,
)
from hakuriver.model.node import Capacity, Engine, NodeInfo, NumaNode, Vitals
from hakuriver.model.node_messages import JoinAnswer, node_from_json, node_to_json
from hakuriver.model.submission import read_submission
from hakuriver.model.task import Ended, Observed, RefusedByNode, Result, State, Wish

wholes = st.integers(0, WHOLE_MAX)
ids = st.integers(1, WHOLE_MAX)
numbers = st.floats(0, 1e12, allow_nan=False)
# Bytes, as Python gives them to us in sys.argv: characters, and surrogate escapes where they are none.
texts = (
    st.binary(max_size=20)
    .map(lambda data: data.replace(b"\0", b"x").decode("utf-8", "surrogateescape"))
    .map(str)
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
pairs = st.tuples(wholes, wholes)
triples = st.tuples(wholes, wholes, wholes)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


maybe = st.one_of
results = st.builds(
    Result,
    exit_code=maybe(st.none(), st.integers(0, 255)),
    kill_sent=st.booleans(),
    oom=st.booleans(),
    problem=texts,
    peak_memory=maybe(st.none(), wholes),
    cpu_seconds=maybe(st.none(), numbers),
)
facts = (
    st.builds(Observed, st.sampled_from(State))
    | st.builds(Ended, results)
    | st.builds(RefusedByNode, texts, st.booleans())
)
orders = st.builds(
    RunOrder,
    seq=pairs,
    task=ids,
    attempt=ids,
    argv=lists(texts),
    env=st.dictionaries(texts, texts, max_size=3).map(lambda env: tuple(env.items())),
    cores=numbers,
    memory=maybe(st.none(), wholes),
    container=maybe(st.none(), texts),
    privileged=st.booleans(),
    mounts=lists(texts),
    numa=maybe(st.none(), wholes),
)
wishes = st.builds(
    WishOrder, seq=pairs, task=ids, attempt=ids, wish=st.sampled_from(Wish), n=wholes
)
reports = st.builds(
    Report,
    task=ids,
    attempt=ids,
    n=ids,
    fact=facts,
    started_at=maybe(st.none(), numbers),
    ended_at=maybe(st.none(), numbers),
    driver=maybe(st.none(), texts),
    unit_name=maybe(st.none(), texts),
    image=maybe(st.none(), texts),
    note=texts,
    wish_n=wholes,
)
vitals = st.builds(Vitals, numbers, wholes, wholes)
engines = maybe(st.none(), st.builds(Engine, texts, st.booleans()))
environments = st.dictionaries(texts, texts, max_size=3)
held = st.builds(Held, ids, ids, maybe(st.none(), st.sampled_from(State)), wholes)
MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    RunOrder: orders,
    WishOrder: wishes,
    Orders: st.builds(Orders, texts, names, lists(orders), lists(wishes)),
    OrdersAnswer: st.builds(OrdersAnswer, st.frozensets(pairs), st.frozensets(triples)),
    Report: reports,
    Reports: st.builds(Reports, names, wholes, numbers, lists(reports)),
    ReportsAnswer: st.builds(ReportsAnswer, st.frozensets(triples), st.frozensets(pairs)),
    Heartbeat: st.builds(
        Heartbeat, names, wholes, wholes, pairs, lists(held), vitals, engines, environments, lists(texts)
    ),
    HeartbeatAnswer: st.builds(HeartbeatAnswer, pairs, numbers, st.frozensets(pairs)),
    RegisterAnswer: st.builds(RegisterAnswer, texts, numbers),
}  # fmt: skip
nodes = st.builds(
    NodeInfo,
    name=names,
    url=texts,
    instance=texts,
    incarnation=ids,
    boot=texts,
    version=texts,
    protocol=wholes,
    capacity=st.builds(
        Capacity,
        numbers,
        wholes,
        wholes,
        st.dictionaries(
            st.integers(0, 9999), st.builds(NumaNode, lists(wholes), wholes), max_size=2
        ),
    ),
    driver=texts,
    engine=engines,
    environments=environments,
    problems=lists(texts),
)


def wired(document: object) -> Any:
    """As it arrives: what we send is ASCII, since a surrogate escape is no character."""
    return json.loads(json.dumps(document).encode("ascii"))


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_arrives_as_it_was_sent(kind: Any) -> None:
    @given(MESSAGES[kind])
    def check(message: Any) -> None:
        assert kind.from_json(wired(message.to_json())) == message

    check()


@given(nodes)
def test_a_node_arrives_as_it_described_itself(info: NodeInfo) -> None:
    assert node_from_json(wired(node_to_json(info))) == info


@given(st.lists(st.binary(max_size=30), min_size=1))
def test_every_byte_of_an_argument_arrives(argv: list[bytes]) -> None:
    argv = [argument.replace(b"\0", b"") for argument in argv]
    order = RunOrder((1, 1), 1, 1, tuple(each.decode("utf-8", "surrogateescape") for each in argv))
    arrived = RunOrder.from_json(wired(order.to_json()))
    assert [each.encode("utf-8", "surrogateescape") for each in arrived.argv] == argv


# Garbage

odd_values = st.sampled_from(
    [None, True, False, 0, -1, 1, 2**62, 2**63, 2**64, 10**400, 1.5, -0.0, 1e300, "", "x", "\0", "\ud800",
     "\udcff", "ended", "running", [], {}, [True, 1], [1, 2, 3, 4], [[]], {"": None}, "9" * 5000]
)  # fmt: skip
json_values = st.recursive(
    odd_values | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip

READERS: dict[str, tuple[Callable[[object], Any], st.SearchStrategy[Any]]] = {
    **{kind.__name__: (kind.from_json, strategy) for kind, strategy in MESSAGES.items()},  # type: ignore[attr-defined]
    "node": (node_from_json, nodes),
    "submission": (
        read_submission,
        st.just(
            {
                "command": "true", "arguments": ["a"], "env_vars": {"A": "b"}, "required_cores": 1,
                "required_memory_bytes": 5, "targets": ["n:0"], "container_name": "base",
                "privileged": True, "additional_mounts": ["/a:/b:ro"], "user": "me",
            }
        ),
    ),
}  # fmt: skip


def plain(message: Any) -> Any:
    if isinstance(message, dict):
        return message
    return node_to_json(message) if isinstance(message, NodeInfo) else message.to_json()


def must_refuse_or_read(read: Callable[[object], Any], document: object) -> None:
    try:
        message = read(document)
    except Refused as error:
        assert error.detail
        return
    if not isinstance(message, dict) and hasattr(message, "to_json"):
        assert read(wired(message.to_json())) == message


@pytest.mark.parametrize("name", READERS)
def test_garbage_is_refused_and_nothing_worse(name: str) -> None:
    read, _ = READERS[name]

    @given(json_values)
    def check(document: Any) -> None:
        must_refuse_or_read(read, document)

    check()


def damaged(document: Any, data: st.DataObject) -> Any:
    """The document with one value, anywhere in it, replaced, or a field too many or too few."""
    if isinstance(document, dict) and document and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(document)))
        if data.draw(st.integers(0, 5)) == 0:
            return {name: value for name, value in document.items() if name != key}
        return {**document, key: damaged(document[key], data)}
    if isinstance(document, list) and document and data.draw(st.integers(0, 3)):
        place = data.draw(st.integers(0, len(document) - 1))
        return [*document[:place], damaged(document[place], data), *document[place + 1 :]]
    return data.draw(odd_values)


@pytest.mark.parametrize("name", READERS)
def test_a_message_with_one_wrong_value_is_refused_or_read(name: str) -> None:
    read, strategy = READERS[name]

    @given(st.data())
    def check(data: st.DataObject) -> None:
        document = wired(plain(data.draw(strategy)))
        must_refuse_or_read(read, damaged(document, data))

    check()


ORDER = RunOrder((1, 1), 1, 1, ("true",)).to_json()
REPORT = Report(1, 1, 1, Observed(State.RUNNING)).to_json()
BEAT = Heartbeat("n1", 1, 1, (0, 0), ()).to_json()


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (RunOrder.from_json, {**ORDER, "seq": [True, 1]}),
        (RunOrder.from_json, {**ORDER, "seq": [1, 2**63]}),
        (RunOrder.from_json, {**ORDER, "seq": [1, -1]}),
        (RunOrder.from_json, {**ORDER, "seq": [1]}),
        (RunOrder.from_json, {**ORDER, "seq": [1.0, 1]}),
        (RunOrder.from_json, {**ORDER, "task": True}),
        (RunOrder.from_json, {**ORDER, "task": 0}),
        (RunOrder.from_json, {**ORDER, "task": 2**63}),
        (RunOrder.from_json, {**ORDER, "env": {"A": 1}}),
        (RunOrder.from_json, {**ORDER, "env": {"A": "\0"}}),
        (RunOrder.from_json, {**ORDER, "argv": ["\ud800"]}),
        (RunOrder.from_json, {**ORDER, "cores": -1}),
        (RunOrder.from_json, {**ORDER, "cores": 10**400}),
        (RunOrder.from_json, {**ORDER, "surprise": 1}),
        (WishOrder.from_json, {"seq": [1, 1], "task": 1, "attempt": 1, "wish": "explode", "n": 1}),
        (Report.from_json, {**REPORT, "n": 0}),
        (Report.from_json, {**REPORT, "fact": None}),
        (Report.from_json, {**REPORT, "fact": {"kind": "observed", "state": "ended"}}),
        (Report.from_json, {**REPORT, "fact": {"kind": "observed", "state": "running", "x": 1}}),
        (Report.from_json, {**REPORT, "fact": {"kind": "ended", "exit_code": -1}}),
        (Report.from_json, {**REPORT, "started_at": float("nan")}),
        (Heartbeat.from_json, {**BEAT, "held": [[1, 1, "running", True]]}),
        (Heartbeat.from_json, {**BEAT, "held": [[1, 1, "running", 2**64]]}),
        (Heartbeat.from_json, {**BEAT, "held": [[1, -1, "running", 1]]}),
        (Heartbeat.from_json, {**BEAT, "held": [[1, 1, "completed", 1]]}),
        (Heartbeat.from_json, {**BEAT, "held": [[1, 1, "running"]]}),
        (Heartbeat.from_json, {**BEAT, "node": "../etc"}),
        (Heartbeat.from_json, {**BEAT, "environments": {"base": 1}}),
        (OrdersAnswer.from_json, {"orders": [[1, 1]], "wishes": [[1, 1, 2**64]]}),
        (ReportsAnswer.from_json, {"acknowledged": [[1, 1]], "kill": []}),
        (ReportsAnswer.from_json, {"acknowledged": [[1, 1, False]], "kill": []}),
    ],
)
def test_what_no_peer_of_ours_sends_is_refused(
    read: Callable[[object], Any], document: object
) -> None:
    with pytest.raises(Refused):
        read(document)


CAPACITY = {"cores": 2, "memory": 1, "max_tasks": 8, "numa": {}}
NODE = {
    "name": "n1", "url": "http://n1:8001", "instance": "i", "incarnation": 1, "boot": "b",
    "version": "1", "protocol": 1, "capacity": CAPACITY, "driver": "process",
}  # fmt: skip


@pytest.mark.parametrize(
    "numa",
    [{"x": {}}, {"9" * 5000: {"memory": 1}}, {"0": {"cores": [True], "memory": 1}}, {"0": None},
     {"0": {"cores": [-1], "memory": 1}}, {"0": {"cores": ["0"], "memory": 1}}, {"٣": {"memory": 1}}],
)  # fmt: skip
def test_a_numa_node_that_cannot_be_is_refused(numa: object) -> None:
    assert node_from_json(NODE).capacity.numa == {}
    with pytest.raises(Refused):
        node_from_json({**NODE, "capacity": {**CAPACITY, "numa": numa}})


def test_a_host_cannot_say_what_a_node_allows() -> None:
    """Whoever makes a machine join gets no further than the cluster's own settings."""
    evil = {
        "runner.allow_privileged": True,
        "runner.allowed_mounts": ["/"],
        "environment.runner_user": "root",
        "paths.numactl_path": "/tmp/evil",
        "network.tls_ca": "/tmp/evil.pem",
        "auth.auth": "none",
    }
    answer = {"version": "1", "protocol": 1, "build": "", "cluster": "c"}
    given = JoinAnswer.from_json({**answer, "settings": {**evil, "paths.shared_dir": "/mnt"}})
    assert given.settings == {"paths.shared_dir": "/mnt"}
