"""Looking at nodes and acting on them: nodes health drain undrain remove."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hakuriver.client.arguments import Parser, Verb, user_name
from hakuriver.client.host_api import HostApi, Row
from hakuriver.client.output import Output
from hakuriver.client.render import (
    HEALTH_TITLES,
    NODE_TITLES,
    Table,
    aggregate,
    health_cells,
    node_cells,
    node_problems,
    word,
)
from hakuriver.system.plain import plain


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """node None: all of them."""

    node: str | None = None
    reason: str = ""
    force: bool = False


def node_options(given: argparse.Namespace) -> NodeOptions:
    return NodeOptions(
        getattr(given, "node", None), getattr(given, "reason", ""), getattr(given, "force", False)
    )


def no_arguments(parser: Parser) -> None:
    """Nothing beyond the global options."""


def maybe_node(parser: Parser) -> None:
    parser.add_argument("node", nargs="?", metavar="NODE", help="only this node")


def one_node(parser: Parser) -> None:
    parser.add_argument("node", metavar="NODE", help="the node's name")


def drain_arguments(parser: Parser) -> None:
    one_node(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="shown to everybody")


def remove_arguments(parser: Parser) -> None:
    one_node(parser)
    parser.add_argument(
        "--force", action="store_true", help="give up the tasks that it holds: they have failed"
    )


def nodes(_: NodeOptions, api: HostApi, out: Output) -> int:
    rows = api.nodes()
    if out.mode == "json":
        out.json(rows)
    elif out.mode == "quiet":
        out.lines(plain(word(row, "hostname")) for row in rows)
    else:
        out.lines(Table(NODE_TITLES, paint=out.painted).lines(map(node_cells, rows)))
        out.lines(problem for row in rows for problem in node_problems(row))
        if not rows:
            out.note("No node has registered yet. Start one with: hakuriver.pyz runner")
    return 0


def health(options: NodeOptions, api: HostApi, out: Output) -> int:
    """The newest record of each node; with --json the whole history, as the host has it."""
    answer = api.health(options.node)
    if out.mode == "json":
        out.json(answer)
        return 0
    records, totals = _newest(answer)
    if out.mode == "quiet":
        out.lines(plain(f"{word(row, 'hostname')} {word(row, 'status')}") for row in records)
        return 0
    now = time.time()
    table = Table(HEALTH_TITLES, paint=out.painted)
    out.lines(table.lines(health_cells(record, now) for record in records))
    if totals:
        out.line(aggregate(totals))
    if not records:
        out.note("No node has sent anything yet.")
    return 0


def _newest(answer: Any) -> tuple[Sequence[Row], Row | None]:
    """The last record of each node, and of the cluster; histories are oldest first."""
    if isinstance(answer, list):
        return answer[-1:], None
    snapshots, totals = answer["nodes"], answer["aggregate"]
    return (snapshots[-1] if snapshots else []), (totals[-1] if totals else None)


def drain(options: NodeOptions, api: HostApi, out: Output) -> int:
    return say(api.drain(options.node or "", options.reason), out)


def undrain(options: NodeOptions, api: HostApi, out: Output) -> int:
    return say(api.undrain(options.node or ""), out)


def remove(options: NodeOptions, api: HostApi, out: Output) -> int:
    return say(api.remove(options.node or "", force=options.force, user=user_name()), out)


def say(answer: Row, out: Output) -> int:
    if out.mode == "json":
        out.json(answer)
    elif out.mode == "text":
        out.line(plain(word(answer, "message")))
    return 0


VERBS = {
    "nodes": Verb(no_arguments, node_options, nodes),
    "health": Verb(maybe_node, node_options, health),
    "drain": Verb(drain_arguments, node_options, drain),
    "undrain": Verb(one_node, node_options, undrain),
    "remove": Verb(remove_arguments, node_options, remove),
}
