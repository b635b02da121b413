"""A scripted host, and the client in this process talking to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hakuriver.__main__ import main
from tests.client.fake_host import FakeHost


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Client = Callable[..., Ended]


@pytest.fixture
def host() -> Iterator[FakeHost]:
    with FakeHost() as host:
        yield host


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HAKURIVER_HOME, so that nobody's own configuration plays a part."""
    home = tmp_path / "home"
    monkeypatch.setenv("HAKURIVER_HOME", str(home))
    for name in ("HAKURIVER_CONFIG", "HAKURIVER_TOKEN", "HAKURIVER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def hakuriver(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Client:
    """hakuriver("init", …): run it, in this process."""

    def run(*argv: str) -> Ended:
        capfdbinary.readouterr()
        code = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Ended(code, out.decode(), err.decode())

    return run


@pytest.fixture
def client(host: FakeHost, hakuriver: Client) -> Client:
    """client("status", "12"): against the scripted host."""
    return lambda *argv: hakuriver("client", "--host", host.address, *argv)
