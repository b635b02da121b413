"""A lab for all tests of a module; each test leaves its nodes as it found them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.packages import ROOT, node_packages
from tests.support import needs

PROGRAM = "/opt/hakuriver/hakuriver.pyz"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    needs.needs(needs.lab())
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def node(lab: Lab, pyz: Path) -> Node:
    """One node with the built program, and the tests of this checkout to be run inside it."""
    made = lab.add("node1", mounts=[f"{ROOT}:/src:ro", f"{node_packages()}:/packages:ro"])
    made.put(PROGRAM, pyz.read_bytes(), mode=0o755)
    return made
