"""Who did what: one line in the log for each request that changes something."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from hakuriver.model.errors import HakuRiverError
from hakuriver.system.plain import plain
from hakuriver.system.router import C, Request, Response, Route

log = logging.getLogger(__name__)

_SHOWN = 60
_READ_BYTES = 1 << 20
USER = "x-hakuriver-user"
"""The header in which a client says who is using it. Nobody checks it: the token is the same for all."""


def audited(routes: Iterable[Route[C]]) -> tuple[Route[C], ...]:
    """The routes, of which those that people change something by write down who did, and how it went.

    What runners report is not people's doing; a login tells of itself.
    """
    return tuple(
        replace(route, handler=_telling(route)) if _is_told(route) else route for route in routes
    )


def who(request: Request) -> str:
    """alice@10.0.0.5, with the name as it was told."""
    name = unquote(request.headers.get(USER, "")) or "somebody"
    return f"{plain(name[:_SHOWN])}@{plain(request.peer)}"


def _is_told(route: Route[C]) -> bool:
    if route.open or route.pattern.startswith("/v1/"):
        return False
    return route.method != "GET" or route.pattern.endswith(("/shell", "/terminal"))


def _telling(route: Route[C]) -> Any:
    def handler(request: Request, context: C) -> Response:
        what = (
            f"{who(request)}: {request.method} {plain(request.path[:300])}{_names(route, request)}"
        )
        try:
            response = route.handler(request, context)
        except HakuRiverError as error:
            log.info("%s: refused: %s", what, plain(error.detail[:300]))
            raise
        log.info("%s: %d%s", what, response.status, _result(response))
        return response

    return handler


def _names(route: Route[C], request: Request) -> str:
    """Of the one request whose path does not say what it is about, the names in its body."""
    if route.pattern != "/docker/host/create":
        return ""
    try:
        body = request.json()
    except HakuRiverError:
        return ""
    name, image = (str(body.get(key))[:_SHOWN] for key in ("container_name", "image_name"))
    return f" {plain(name)} of {plain(image)}"


def _result(response: Response) -> str:
    """What the caller is told: of a submission, which tasks came of it."""
    if not isinstance(response.body, bytes) or len(response.body) > _READ_BYTES:
        return ""
    try:
        message = json.loads(response.body).get("message", "")
    except (ValueError, AttributeError):
        return ""
    return f" {plain(str(message)[:200])}" if message else ""
