"""How a node describes itself on the wire and in the database: the body of POST /v1/register."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hakuriver.model.errors import Refused
from hakuriver.model.fields import Fields, is_whole, plain_document
from hakuriver.model.node import Capacity, Engine, NodeInfo, NumaNode, Vitals
from hakuriver.model.target import NODE_NAME


def node_to_json(info: NodeInfo) -> dict[str, Any]:
    return {
        **plain_document(info),
        "environments": dict(info.environments),
        "capacity": {
            "cores": info.capacity.cores,
            "memory": info.capacity.memory,
            "max_tasks": info.capacity.max_tasks,
            "numa": {
                str(number): {"cores": numa.cores, "memory": numa.memory}
                for number, numa in info.capacity.numa.items()
            },
        },
    }


def node_from_json(document: object) -> NodeInfo:
    with Fields(document) as fields:
        capacity = fields.maybe("capacity", _read_capacity)
        if capacity is None:
            raise Refused("the body lacks the field 'capacity'")
        return NodeInfo(
            name=read_node_name(fields, "name"),
            url=fields.text("url"),
            instance=fields.text("instance"),
            incarnation=fields.whole("incarnation", low=1),
            boot=fields.text("boot"),
            version=fields.text("version"),
            protocol=fields.whole("protocol"),
            capacity=capacity,
            driver=fields.text("driver", ""),
            engine=fields.maybe("engine", read_engine),
            environments=read_environments(fields),
            problems=fields.texts("problems"),
            numactl=fields.flag("numactl", True),
        )


@dataclass(frozen=True, slots=True)
class SyncState:
    """POST /v1/sync of the runner: how far the newest version of an environment is on its way there.

    problem: why it is not on its way any more.
    """

    environment: str
    here: bool
    percent: int
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        return plain_document(self)

    @staticmethod
    def from_json(document: object) -> SyncState:
        with Fields(document) as fields:
            return SyncState(
                environment=fields.text("environment"),
                here=fields.flag("here"),
                percent=fields.whole("percent"),
                problem=fields.text("problem", ""),
            )


def _read_capacity(document: Any) -> Capacity:
    with Fields(document, "capacity") as fields:
        numa = {}
        for number, value in fields.mapping("numa").items():
            # As long as parse_target reads them.
            if not (number.isascii() and number.isdigit() and len(number) <= 4):
                raise Refused(f"'{number[:40]}' is no NUMA node")
            with Fields(value, f"NUMA node {number}") as inner:
                cores = inner.each("cores", _read_core)
                numa[int(number)] = NumaNode(cores, inner.whole("memory"))
        return Capacity(
            cores=fields.number("cores"),
            memory=fields.whole("memory"),
            max_tasks=fields.whole("max_tasks"),
            numa=numa,
        )


def _read_core(value: Any) -> int:
    if not is_whole(value):
        raise Refused("cores of a NUMA node must be whole numbers")
    return int(value)


def read_vitals(document: Any) -> Vitals:
    with Fields(document, "vitals") as fields:
        return Vitals(
            cpu_percent=fields.number("cpu_percent"),
            memory_used=fields.whole("memory_used"),
            memory_total=fields.whole("memory_total"),
        )


def read_engine(document: Any) -> Engine:
    with Fields(document, "engine") as fields:
        return Engine(fields.text("version"), fields.flag("live_restore"))


def read_environments(fields: Fields) -> dict[str, str]:
    """Names of environments and the ids of their images."""
    return fields.texts_by_name("environments")


def read_node_name(fields: Fields, name: str = "node") -> str:
    node = fields.text(name)
    if NODE_NAME.fullmatch(node) is None:
        raise Refused(f"'{node[:80]}' cannot be the name of a node")
    return node


JOIN_SETTINGS = (
    "paths.shared_dir",
    "docker.container_dir",
    "docker.shm_size",
    "timing.heartbeat_interval",
)
"""Settings that a runner takes from its host, if it has none of its own. What a node allows, whom it
trusts and which programs it calls is never among them."""


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """GET /v1/join of the host: settings by name, for a runner that has none of its own.

    Fields that are not known are left alone: another version may have more of them. Settings that
    are not for the host to say are left out.
    """

    version: str
    protocol: int
    build: str
    cluster: str
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return plain_document(self)

    @staticmethod
    def from_json(document: object) -> JoinAnswer:
        if not isinstance(document, dict):
            raise Refused("the answer is not that of a HakuRiver host")
        known = ("version", "protocol", "build", "cluster", "settings")
        with Fields({name: document[name] for name in known if name in document}) as fields:
            return JoinAnswer(
                version=fields.text("version"),
                protocol=fields.whole("protocol"),
                build=fields.text("build", ""),
                cluster=fields.text("cluster"),
                settings={
                    name: value
                    for name, value in fields.mapping("settings").items()
                    if name in JOIN_SETTINGS
                },
            )
