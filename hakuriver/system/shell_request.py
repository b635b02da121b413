"""What a request for a shell says, the same on host and runner."""

from __future__ import annotations

from dataclasses import dataclass

from hakuriver.model.errors import BadRequest, HakuRiverError
from hakuriver.model.fields import check_text
from hakuriver.system.bridge import FrameChannel, Session, run
from hakuriver.system.frames import PROTOCOL, Size
from hakuriver.system.router import Request, Response

_TERM_MAX = 64
_ARGUMENTS_MAX = 4096


class UpgradeRequired(HakuRiverError):
    """The route is there, and not for ordinary requests."""

    kind, http_status, exit_code = "upgrade_required", 426, 5


@dataclass(frozen=True, slots=True)
class ShellRequest:
    """command () means a shell. size None: without a terminal; term is the kind of the client's."""

    command: tuple[str, ...]
    size: Size | None
    term: str


def read_shell_request(request: Request) -> ShellRequest:
    """From the query: rows, cols, term, and argN for each word of the command. Raises BadRequest."""
    query = request.query
    command: list[str] = []
    while (word := query.get(f"arg{len(command)}")) is not None and len(command) < _ARGUMENTS_MAX:
        command.append(check_text("the command", word))
    if command and (not command[0] or command[0].startswith("-")):
        raise BadRequest(f"a command cannot be called '{command[0][:40]}'")
    term = query.get("term", "")
    if len(term) > _TERM_MAX or not term.isprintable() or not term.isascii():
        raise BadRequest("term is no name of a terminal")
    size = None
    if "rows" in query or "cols" in query:
        size = Size(request.whole("rows", 24, 1, 65535), request.whole("cols", 80, 1, 65535))
    return ShellRequest(tuple(command), size, term)


def check_upgrade(request: Request) -> None:
    if not request.wants(PROTOCOL):
        raise UpgradeRequired(
            f"this is for connections that speak {PROTOCOL}", "Use docker-shell or client shell."
        )


def switch_to(session: Session) -> Response:
    """Speak frames from now on."""
    return Response.switch(
        PROTOCOL, lambda connection, first: run(FrameChannel(connection, first), session)
    )
