"""What a machine asks that is to become a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hakuriver.system import program
from hakuriver.system.router import Request, Response

if TYPE_CHECKING:
    from hakuriver.host.routes import Desk


def join(request: Request, desk: Desk) -> Response:
    return Response.json(desk.joining.answer().to_json())


def join_snippet(request: Request, desk: Desk) -> Response:
    return Response.json({"commands": desk.joining.commands(desk.access.port())})


def own_file(request: Request, desk: Desk) -> Response:
    """The file that this host runs from, so that a new machine needs nothing else."""
    content = desk.joining.file()
    return Response(200, content, (("ETag", f'"{program.build()}"'),), "application/zip")
