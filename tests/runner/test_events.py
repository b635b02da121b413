"""The threads that learn of containers' ends outlive whatever goes wrong with one of them."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakuriver.runner.drivers import events
from hakuriver.runner.drivers.events import Died, EngineEvents
from hakuriver.system.docker import Docker
from tests.support.wait import wait_until

DIED = {"Action": "die", "Actor": {"ID": "abc", "Attributes": {"exitCode": "3"}}}


class Listener:
    """Fails as often as `failures` says."""

    def __init__(self, folder: Path) -> None:
        script = folder / "docker"
        script.write_text(f"#!/bin/sh\necho '{json.dumps(DIED)}'\nexec sleep 60\n")
        script.chmod(0o755)
        docker = Docker()
        docker.argv = [str(script)]
        self.failures = {"died": 1, "look": 2}
        self.looks = 0
        self.events = EngineEvents(docker, {}, on_died=self.on_died, look=self.look)

    def on_died(self, died: Died) -> None:
        self._fail("died")

    def look(self, *, gap: bool, but: frozenset[str]) -> None:
        self._fail("look")
        self.looks += 1

    def _fail(self, what: str) -> None:
        if self.failures[what]:
            self.failures[what] -= 1
            raise OSError(errno.EMFILE, "Too many open files")


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(events, "_RETRY_SECONDS", 0.05)
    listener = Listener(tmp_path)
    yield listener
    listener.events.stop()


def test_what_cannot_be_looked_at_is_looked_at_again(listener: Listener) -> None:
    listener.events.start()
    wait_until(lambda: listener.looks and listener.failures == {"died": 0, "look": 0})
    assert not listener.events.lost, "the engine is there: it is we who failed"
    looks = listener.looks
    listener.events.relist()
    wait_until(lambda: listener.looks > looks)
