"""Whether the shared directory is the cluster's: a mount that is missing looks like an empty one."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that anybody waits for the directory; a server that answers does so in milliseconds."""
_MOMENT = 0.2


class SharedDir:
    """Looks at the directory in a thread of its own, which a dead file server may hold for ever.

    cluster is whose it should be, None as long as that is not known.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience: float = PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster: str | None = None
        self._path = path
        self._patience = patience
        self._monotonic = monotonic
        self._turn = threading.Condition()
        self._asked = self._answered = 0
        self._since: float | None = None  # when the look that goes on now began
        self._found = ""
        self._thread: threading.Thread | None = None

    def problem(self) -> str:
        """What is wrong right now, for people; "" if nothing is. Waits for PATIENCE at most."""
        return self._ask(self._patience) or ""

    def glance(self) -> str:
        """The same for whoever cannot wait: as it was a moment ago, if the answer takes a moment."""
        found = self._ask(min(_MOMENT, self._patience))
        return self._found if found is None else found

    def _ask(self, wait: float) -> str | None:
        """None: not answered yet, and not for long enough to say so."""
        if self.cluster is None:
            return ""
        with self._turn:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shared", daemon=True)
                self._thread.start()
            self._asked += 1
            mine = self._asked
            self._turn.notify_all()
            if not self._stuck():
                self._turn.wait_for(lambda: self._answered >= mine, wait)
            if self._answered >= mine:
                return self._found
            if wait < self._patience and not self._stuck():
                return None
            return f"the shared directory {self._path} does not answer; is its server up?"

    def _stuck(self) -> bool:
        return self._since is not None and self._monotonic() - self._since >= self._patience

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._asked > self._answered)
                # Whoever asks from here on is answered by the next look, not by this one.
                asked, cluster = self._asked, self.cluster or ""
                self._since = self._monotonic()
            try:
                found = shared_dir_problem(self._path, cluster)
            except Exception:
                # Outer edge of this thread: without it nothing would ever start here again.
                log.exception("cannot look at %s", self._path)
                found = f"cannot look at the shared directory {self._path}; see the runner's log"
            with self._turn:
                self._answered, self._since, self._found = asked, None, found
                self._turn.notify_all()


def shared_dir_problem(shared_dir: Path, cluster: str) -> str:
    """ "" if it is there and belongs to this cluster, else what is wrong, for people."""
    path = shared_dir / ".hakuriver.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["cluster"]
        read_only = os.statvfs(shared_dir).f_flag & os.ST_RDONLY
    except FileNotFoundError:
        return f"the shared directory {shared_dir} is not mounted (there is no {path.name} in it)"
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"cannot read {path}: it is damaged"
    if found != cluster:
        return f"the shared directory {shared_dir} belongs to another cluster, {found}"
    if read_only:
        return (
            f"the shared directory {shared_dir} is mounted read-only: no task can write its output"
        )
    return ""
