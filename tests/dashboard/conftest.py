"""A cluster with a browser in front of it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.support import needs
from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.images import Images

TOKEN = "a token, for tests"


@pytest.fixture(autouse=True)
def _browser_is_there() -> None:
    needs.needs(needs.browser(), needs.artefact())


@pytest.fixture
def closed(program: list[str]) -> Iterator[Cluster]:
    """A cluster with a token: a host, and node1 with room for four."""
    with Cluster(program, auth_token=TOKEN) as cluster:
        cluster.start_host()
        cluster.start_runner(runner_cores=4)
        yield cluster


@pytest.fixture
def up(cluster: Cluster) -> Cluster:
    """A cluster without a token, as on one machine: a host, and node1 with room for four."""
    cluster.start_host()
    cluster.start_runner(runner_cores=4)
    return cluster


@pytest.fixture
def page(up: Cluster) -> Iterator[Browser]:
    """The dashboard of `up`. Whatever a test does there, the page has nothing to complain about."""
    with Browser(f"http://127.0.0.1:{up.port}") as browser:
        yield browser
        browser.check()


@pytest.fixture
def environment() -> Iterator[str]:
    """A name that no other environment has; what is made of it is removed at the end."""
    name = f"d{uuid.uuid4().hex[:10]}"
    yield name
    for argv in (
        ["rm", "--force", "--volumes", name],
        ["rmi", "--force", f"hakuriver/{name}:base"],
    ):
        subprocess.run(["docker", *argv], capture_output=True, timeout=60)


@pytest.fixture
def base_image(docker_images: Images) -> str:
    return docker_images.image(docker_images.base)
