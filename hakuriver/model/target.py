"""Where a task is to run: "node1" or "node1:0"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hakuriver.model.errors import Refused

NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
ENVIRONMENT_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
"""What docker accepts as the last part of an image's name, so that hakuriver/ENV:base exists."""


@dataclass(frozen=True, slots=True)
class Target:
    """A node, and one of its NUMA nodes if the task is to be bound to it."""

    node: str
    numa: int | None = None

    def __str__(self) -> str:
        return self.node if self.numa is None else f"{self.node}:{self.numa}"


def parse_target(text: str) -> Target:
    """Raises Refused if it is no target."""
    node, colon, numa = text.partition(":")
    if NODE_NAME.fullmatch(node) is None:
        raise Refused(f"'{text}' names no node", "A target is NODE or NODE:NUMA, as in node1:0.")
    if not colon:
        return Target(node)
    if not numa.isascii() or not numa.isdigit() or len(numa) > 4:
        raise Refused(
            f"'{text}': '{numa}' is no NUMA node", "A NUMA node is a number, as in node1:0."
        )
    return Target(node, int(numa))


def check_environment_name(name: str) -> str:
    """The name itself; raises Refused if no image could have it."""
    if len(name) > 128 or ENVIRONMENT_NAME.fullmatch(name) is None:
        raise Refused(
            f"'{name}' is no environment name",
            "Use lower-case letters and digits, with single '.', '_' or '-' between them.",
        )
    return name
