"""Whom the runner calls: its host."""

from __future__ import annotations

from hakuriver.model.messages import (
    Heartbeat,
    HeartbeatAnswer,
    RegisterAnswer,
    Reports,
    ReportsAnswer,
)
from hakuriver.model.node import NodeInfo
from hakuriver.model.node_messages import node_to_json
from hakuriver.system.httpc import HttpClient

TIMEOUT = 20.0


class HostApi:
    """One keep-alive connection; for one thread. All messages may be repeated."""

    def __init__(self, url: str, *, token: str, ca: str = "") -> None:
        self.url = url
        self._http = HttpClient(url, token=token, ca=ca, timeout=TIMEOUT)

    def register(self, info: NodeInfo) -> RegisterAnswer:
        answer = self._http.call("POST", "/v1/register", body=node_to_json(info), retry=True)
        return RegisterAnswer.from_json(answer)

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        answer = self._http.call("POST", "/v1/heartbeat", body=heartbeat.to_json(), retry=True)
        return HeartbeatAnswer.from_json(answer)

    def report(self, reports: Reports) -> ReportsAnswer:
        answer = self._http.call("POST", "/v1/reports", body=reports.to_json(), retry=True)
        return ReportsAnswer.from_json(answer)

    def close(self) -> None:
        self._http.close()
