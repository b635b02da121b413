"""A lab: a network, a shared directory, and nodes that know each other by name."""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.lab.image import node_image
from tests.lab.node import Node, Site, docker


class Lab:
    """`with Lab() as lab:`; at its end nodes, network and folders are gone, whatever happened."""

    def __init__(self) -> None:
        self.site = Site(
            unique=f"hakuriver-lab-{uuid.uuid4().hex[:8]}",
            home=Path(tempfile.mkdtemp(prefix="hakuriver-lab-")),
            image=node_image(),
            network=f"hakuriver-lab-{uuid.uuid4().hex[:8]}",
        )
        self.nodes: dict[str, Node] = {}

    @property
    def shared(self) -> Path:
        """The shared directory, as this machine sees it."""
        return self.site.home / "shared"

    def __enter__(self) -> Lab:
        self.site.home.chmod(0o755)
        self.shared.mkdir(mode=0o755)
        self._make_network()
        return self

    def _make_network(self) -> None:
        """With a subnet that was asked for, since only there a node can have the same address again.

        The engine chooses it first: it knows which ones are free.
        """
        name = self.site.network
        docker("network", "create", name)
        template = "{{range .IPAM.Config}}{{.Subnet}}{{end}}"
        subnet = docker("network", "inspect", "--format", template, name).out.strip()
        docker("network", "rm", name)
        docker("network", "create", "--subnet", subnet, name)
        self._addresses = ipaddress.ip_network(subnet).hosts()
        # The engine gives the first to the bridge.
        self.gateway = str(next(self._addresses))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self.nodes.values():
            node.stop()
        docker("network", "rm", self.site.network, check=False)
        shutil.rmtree(self.site.home, ignore_errors=True)

    def add(self, name: str, *, mounts: Sequence[str] = (), live_restore: bool = True) -> Node:
        """A node that has booted."""
        # Its own for ever: else one that boots takes that of one whose cable is cut.
        node = Node(name, self.site, str(next(self._addresses)), mounts=mounts)
        # Before it is started: a start that fails half-way is cleaned up as well.
        self.nodes[name] = node
        node.start(live_restore=live_restore)
        return node
