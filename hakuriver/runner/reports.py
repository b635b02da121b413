"""Telling the host what happened: in batches, again and again until it is acknowledged."""

from __future__ import annotations

import logging
import threading
import time

from hakuriver.model.errors import HakuRiverError
from hakuriver.model.messages import Reports
from hakuriver.runner.agent import Agent
from hakuriver.runner.host_api import HostApi
from hakuriver.runner.jobs import Jobs
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

BATCH = 500
_PATIENCE = 0.03
"""Seconds that news other than an end may wait for company: short tasks end meanwhile."""
_GATHER = 0.001
_FIRST_DELAY = 0.2
_LAST_DELAY = 5.0


class Reporter:
    """wake(final) from any thread; the sending is done by one of its own."""

    def __init__(self, *, jobs: Jobs, api: HostApi, node: str, incarnation: int) -> None:
        self._jobs = jobs
        self._api = api
        self._node = node
        self._incarnation = incarnation
        self._agent: Agent | None = None
        self._changed = threading.Condition()
        self._news = False
        self._urgent = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self, agent: Agent) -> None:
        """agent is told of attempts that the host has given up."""
        self._agent = agent
        self._thread.start()

    def wake(self, final: bool) -> None:
        with self._changed:
            self._news = True
            self._urgent = self._urgent or final
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._api.close()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        delay, told = 0.0, False
        while self._await(delay):
            try:
                self._send_all()
            except HakuRiverError as error:
                if not told and not self._stopping:
                    log.warning("cannot report to the host, still trying: %s", plain(error.detail))
                told = True
                delay = min(max(2 * delay, _FIRST_DELAY), _LAST_DELAY)
                continue
            except Exception:
                # Outer edge of this thread: without it nothing would ever be reported again.
                log.exception("cannot report to the host")
                delay = _LAST_DELAY
                continue
            if told:
                log.info("the host takes reports again")
            delay, told = 0.0, False

    def _await(self, delay: float) -> bool:
        """Until there is something to send, or after a failure until it is time to try again."""
        with self._changed:
            if delay:
                self._changed.wait_for(lambda: self._stopping, delay)
            else:
                self._changed.wait_for(lambda: self._news or self._stopping)
                self._changed.wait_for(lambda: self._urgent or self._stopping, _PATIENCE)
                # Ends come in company as well: in a burst one message tells of many.
                self._changed.wait_for(lambda: self._stopping, _GATHER)
            self._news = self._urgent = False
            return not self._stopping

    def _send_all(self) -> None:
        while reports := self._jobs.reports(BATCH):
            message = Reports(self._node, self._incarnation, time.time(), tuple(reports))
            answer = self._api.report(message)
            self._jobs.acknowledged(answer.acknowledged)
            if self._agent is not None:
                self._agent.kill_stale(answer.kill)
            if len(answer.acknowledged) < len(reports):
                return  # Not ours to say, the host finds: asked again with the next news.
