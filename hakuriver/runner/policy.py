"""What a node takes, by its own configuration, whatever the host sends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hakuriver.model.errors import Refused
from hakuriver.model.messages import RunOrder
from hakuriver.model.submission import Mount, parse_mount
from hakuriver.runner.drivers import CannotStart


@dataclass(frozen=True, slots=True)
class Policy:
    """allowed_mounts are folders of this machine; "/" among them means everything."""

    privileged: bool = True
    allowed_mounts: Sequence[str] = ("/",)


def permitted(order: RunOrder, policy: Policy, *, node: str) -> RunOrder:
    """The order as it may be carried out: with the folders that were looked at, not with links that
    may lead elsewhere by the time they are mounted. Raises CannotStart with the setting's name."""
    if order.privileged and not policy.privileged:
        raise CannotStart(f"{node} takes no privileged tasks (runner.allow_privileged)")
    try:
        mounts = [parse_mount(text) for text in order.mounts]
    except Refused as error:
        raise CannotStart(error.detail) from None
    if "/" in policy.allowed_mounts:
        return order
    allowed = [os.path.realpath(folder) for folder in policy.allowed_mounts]
    return replace(order, mounts=tuple(_permitted(mount, allowed, node) for mount in mounts))


def _permitted(mount: Mount, allowed: Sequence[str], node: str) -> str:
    real = os.path.realpath(mount.source)
    named = mount.source if real == os.path.normpath(mount.source) else f"{mount.source} ({real})"
    if ":" in real or not any(_inside(real, folder) for folder in allowed):
        raise CannotStart(f"{node} does not allow to mount {named} (runner.allowed_mounts)")
    return f"{real}:{mount.target}:{'ro' if mount.read_only else 'rw'}"


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
