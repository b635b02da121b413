"""What can be asked of a runner: orders, by its host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hakuriver import PROTOCOL, __version__
from hakuriver.model.errors import Unavailable
from hakuriver.model.messages import Orders
from hakuriver.runner.agent import Agent
from hakuriver.system.router import Request, Response, Route


@dataclass(frozen=True, slots=True)
class Desk:
    """agent() is None until the runner has registered for the first time."""

    node: str
    agent: Callable[[], Agent | None]


def about(request: Request, desk: Desk) -> Response:
    return Response.json(
        {
            "name": "HakuRiver runner",
            "version": __version__,
            "protocol": PROTOCOL,
            "node": desk.node,
        }
    )


def orders(request: Request, desk: Desk) -> Response:
    message = Orders.from_json(request.json())
    agent = desk.agent()
    if agent is None:
        raise Unavailable(f"runner {desk.node} is not registered yet")
    return Response.json(agent.accept(message).to_json())


ROUTES: tuple[Route[Desk], ...] = (
    Route("GET", "/", about),
    Route("POST", "/v1/orders", orders),
)
