"""Generated examples are the same in every run: a failure is one for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.host.office import Office

settings.register_profile("hakuriver", derandomize=True, deadline=None)
settings.load_profile("hakuriver")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A host that knows one node, n1."""
    office = Office(tmp_path)
    office.join()
    yield office
    office.store.close()
