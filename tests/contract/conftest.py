"""A bench for each driver, with folders of its own."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.bench import KINDS, Bench, DockerKind, Kind, Places, ProcessKind, SystemdKind

MARKS = {"docker": (pytest.mark.docker,)}


@pytest.fixture(scope="session", params=[pytest.param(k, marks=MARKS.get(k, ())) for k in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "docker":
        return DockerKind(request.getfixturevalue("docker_images"))
    return SystemdKind() if request.param == "systemd" else ProcessKind()


@pytest.fixture
def places() -> Iterator[Places]:
    home = Path(tempfile.mkdtemp(prefix="hakuriver-bench-"))
    home.chmod(0o755)
    made = Places(home, uuid.uuid4().hex)
    for folder in (made.shared_data, made.temp, made.records):
        folder.mkdir(parents=True)
    for name in ("task_outputs", "task_errors"):
        (home / "shared" / name).mkdir()
    made.records.chmod(0o711)
    yield made
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def bench(kind: Kind, places: Places) -> Iterator[Bench]:
    made = Bench(kind, places)
    yield made
    made.close()
