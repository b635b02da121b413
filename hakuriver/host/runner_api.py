"""Whom the host calls: a runner."""

from __future__ import annotations

from hakuriver.model.messages import Orders, OrdersAnswer
from hakuriver.model.node_messages import SyncState
from hakuriver.system.httpc import HttpClient

TIMEOUT = 30.0


class RunnerApi:
    """One keep-alive connection to one runner; for one thread."""

    def __init__(self, url: str, *, token: str, ca: str = "") -> None:
        self.url = url
        self._http = HttpClient(url, token=token, ca=ca, timeout=TIMEOUT)

    def orders(self, orders: Orders) -> OrdersAnswer:
        """Raises Unreachable, or what the runner refused the message with."""
        # Never repeated by the connection itself: each try has to be counted before it is made.
        answer = self._http.call("POST", "/v1/orders", body=orders.to_json(), retry=False)
        return OrdersAnswer.from_json(answer)

    def sync(self, environment: str, *, begin: bool) -> SyncState:
        body = {"environment": environment, "begin": begin}
        return SyncState.from_json(self._http.call("POST", "/v1/sync", body=body, retry=True))

    def close(self) -> None:
        self._http.close()
