"""What can be asked of a runner: orders, by its host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hakuriver import PROTOCOL, __version__
from hakuriver.model.errors import Conflict, NotFound, Unavailable
from hakuriver.model.fields import Fields
from hakuriver.model.messages import Orders
from hakuriver.model.target import check_environment_name
from hakuriver.runner.agent import Agent
from hakuriver.runner.drivers import CannotStart
from hakuriver.runner.images import Images
from hakuriver.runner.shells import Shells
from hakuriver.system.router import Request, Response, Route
from hakuriver.system.shell_request import check_upgrade, read_shell_request, switch_to


@dataclass(frozen=True, slots=True)
class Desk:
    """agent(), images() and shells() are None until the runner has registered for the first time."""

    node: str
    agent: Callable[[], Agent | None]
    images: Callable[[], Images | None]
    shells: Callable[[], Shells | None]


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


def sync(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        environment = check_environment_name(fields.text("environment"))
        begin = fields.flag("begin")
    images = desk.images()
    if images is None:
        raise Unavailable(f"runner {desk.node} is not registered yet")
    try:
        return Response.json(images.sync(environment, begin=begin).to_json())
    except CannotStart as error:
        raise Conflict(str(error)) from None


def shell(request: Request, desk: Desk) -> Response:
    check_upgrade(request)
    shells = desk.shells()
    task, attempt = request.params["task"], request.params["attempt"]
    numbers = task.isdecimal() and attempt.isdecimal() and len(task + attempt) < 40
    if shells is None or not numbers:
        raise NotFound(f"there is no task {task[:40]} here")
    wanted = read_shell_request(request)
    return switch_to(
        shells.open(int(task), int(attempt), wanted.command, size=wanted.size, term=wanted.term)
    )


ROUTES: tuple[Route[Desk], ...] = (
    Route("GET", "/", about),
    Route("POST", "/v1/orders", orders),
    Route("POST", "/v1/sync", sync),
    Route("GET", "/v1/shell/<task>/<attempt>", shell),
)
