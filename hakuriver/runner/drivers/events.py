"""What the Docker engine says of our containers: one `docker events` process for all of them.

Events are a convenience, never evidence: the engine keeps few, and none over its restart. After
any gap everything is listed anew, and once a minute anyway.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hakuriver.system.command import fixed_environment
from hakuriver.system.docker import Docker, NoEngine

log = logging.getLogger(__name__)

# `docker events` would notice the end of a runner that is killed only with the next event, and
# there may be none for days. Its guard notices at once: the other end of its stdin is gone.
_AS_LONG_AS_WE_LIVE = 'exec 3<&0; "$@" </dev/null & exec >&-; read -r _ <&3; kill $!'
_SWEEP_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_SETTLE_SECONDS = 1.0
_SUSPECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Died:
    """cause: "" if the command ended by itself or was killed by us, else who is to blame."""

    container: str
    labels: Mapping[str, str]
    exit_code: int
    cause: Literal["", "outside", "engine"] = ""


class Look(Protocol):
    def __call__(self, *, gap: bool, but: frozenset[str]) -> None:
        """List all containers of ours, except those ids, and draw the conclusions.

        gap: events may have been missed. Raises NoEngine.
        """


def let_go(process: subprocess.Popen[bytes]) -> None:
    """End what _AS_LONG_AS_WE_LIVE guards."""
    if process.stdin is not None:
        process.stdin.close()


class EngineEvents:
    """Calls on_died and look from its own threads, one call at a time.

    lost: the engine has gone away since the start.
    """

    def __init__(
        self,
        docker: Docker,
        labels: Mapping[str, str],
        *,
        on_died: Callable[[Died], None],
        look: Look,
    ) -> None:
        self._docker = docker
        self._labels = labels
        self._on_died = on_died
        self._look = look
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._expected: set[str] = set()
        self._signalled: set[str] = set()
        self._suspects: list[tuple[float, Died]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._relist = threading.Event()
        self._connected = False
        self._soon = False
        self.lost = False
        self._threads = [
            threading.Thread(target=self._listen, name="docker-events", daemon=True),
            threading.Thread(target=self._sweep, name="docker-sweep", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._relist.set()
        with self._lock:
            if self._process is not None:
                let_go(self._process)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)

    def relist(self) -> None:
        """Look at everything again soon."""
        self._relist.set()

    def relist_soon(self) -> None:
        """Look at everything again in a second, without a pause for as long as this is asked for."""
        self._soon = True

    def expect_kill(self, container: str) -> None:
        """We are about to signal this container: its death is nobody else's doing."""
        with self._lock:
            self._expected.add(container)

    def expected(self, container: str) -> bool:
        with self._lock:
            return container in self._expected

    def _listen(self) -> None:
        told = False
        while not self._stopping.is_set():
            try:
                self._follow()
                told = False
            except OSError as error:
                if not told:
                    log.warning("cannot listen to the Docker engine: %s", error.strerror)
                told = True
            self.lost = True
            self._blame_engine()
            self._connected = False
            self._stopping.wait(_RETRY_SECONDS)

    def _follow(self) -> None:
        """Until the engine, or the docker program, goes away."""
        filters = [f"--filter=label={name}={value}" for name, value in self._labels.items()]
        argv = [
            *self._docker.argv, "events", "--format={{json .}}", "--filter=type=container",
            "--filter=event=die", "--filter=event=kill", f"--since={time.time() - 1:.3f}", *filters,
        ]  # fmt: skip
        process = subprocess.Popen(
            ["/bin/sh", "-c", _AS_LONG_AS_WE_LIVE, "sh", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=fixed_environment(),
            start_new_session=True,
        )
        with self._lock:
            self._process = process
        assert process.stdout is not None
        try:
            # What ended before we listened is in no event: look, now that we listen.
            self._relist.set()
            for line in process.stdout:
                self._event(line)
        finally:
            with self._lock:
                self._process = None
            let_go(process)
            process.wait()
            process.stdout.close()

    def _event(self, line: bytes) -> None:
        try:
            event: dict[str, Any] = json.loads(line)
            actor = event["Actor"]
            container, attributes = str(actor["ID"]), dict(actor["Attributes"])
            action = str(event.get("Action") or event.get("status"))
        except (ValueError, KeyError, TypeError):
            log.warning("cannot read an event of the Docker engine")
            return
        if action == "kill":
            with self._lock:
                if container not in self._expected:
                    self._signalled.add(container)
        elif action == "die":
            self._death(Died(container, attributes, int(attributes.get("exitCode", 255))))

    def _death(self, died: Died) -> None:
        with self._lock:
            suspect = died.container in self._signalled
            self._signalled.discard(died.container)
            self._expected.discard(died.container)
            if suspect:
                # Somebody else sent a signal. If it was the engine, it goes away within seconds.
                self._suspects.append((time.monotonic() + _SUSPECT_SECONDS, died))
        if suspect:
            self._relist.set()
        else:
            self._tell(died)

    def _tell(self, died: Died) -> None:
        try:
            with self._telling:
                self._on_died(died)
        except Exception:
            # Edge of the threads that every end in a container depends on: the listing tells it again.
            log.exception("cannot tell the end of container %s, trying again", died.container[:12])
            self._relist.set()

    def _blame_engine(self) -> None:
        with self._lock:
            suspects, self._suspects = self._suspects, []
        if not self._stopping.is_set():
            for _, died in suspects:
                self._tell(Died(died.container, died.labels, died.exit_code, "engine"))

    def _blame_others(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [died for at, died in self._suspects if at <= now]
            self._suspects = [each for each in self._suspects if each[0] > now]
        for died in due:
            self._tell(Died(died.container, died.labels, died.exit_code, "outside"))

    def _sweep(self) -> None:
        """Lists everything: after a gap at once and again when the subscription has settled."""
        while not self._stopping.is_set():
            asked = self._relist.wait(self._pause())
            self._relist.clear()
            if self._stopping.is_set():
                break
            self._blame_others()
            if not self._list(gap=not self._connected):
                self._stopping.wait(_RETRY_SECONDS)
                self._relist.set()
            elif asked and not self._connected:
                self._stopping.wait(_SETTLE_SECONDS)
                self._list(gap=True)
                self._connected = True

    def _pause(self) -> float:
        longest = _RETRY_SECONDS if self._soon else _SWEEP_SECONDS
        self._soon = False
        with self._lock:
            waiting = [at for at, _ in self._suspects]
        if waiting:
            return min(max(min(waiting) - time.monotonic(), 0.05), longest)
        return longest

    def _list(self, *, gap: bool) -> bool:
        # Suspects are dead already; what to say of them is not known yet.
        with self._lock:
            but = frozenset(died.container for _, died in self._suspects)
        try:
            with self._telling:
                self._look(gap=gap, but=but)
        except NoEngine:
            return False
        except Exception:
            log.exception("cannot look at the containers, trying again")  # As for _tell().
            return False
        return True
