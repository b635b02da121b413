"""Every error that a user can see: what it is, its HTTP status and its exit code."""

from __future__ import annotations

from typing import ClassVar

DETAIL_MAX = 2000


class HakuRiverError(Exception):
    """Something failed that a person has to know about.

    detail says what failed and where, hint says what to do about it (may be empty).
    kind is the stable word for programs; http_status and exit_code follow from it.
    """

    kind: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        # Often it quotes what somebody sent, which may be megabytes.
        self.detail = detail if len(detail) <= DETAIL_MAX else f"{detail[:DETAIL_MAX]}…"
        self.hint = hint

    def to_json(self) -> dict[str, str]:
        return {"detail": self.detail, "error": self.kind, "hint": self.hint}


class UsageError(HakuRiverError):
    """The command line or the configuration is wrong."""

    kind, http_status, exit_code = "usage", 400, 2


class BadRequest(HakuRiverError):
    """The request cannot be understood."""

    kind, http_status, exit_code = "bad_request", 400, 5


class Refused(HakuRiverError):
    """Understood, and never going to be done as asked."""

    kind, http_status, exit_code = "refused", 422, 5


class Conflict(HakuRiverError):
    """Not possible in the present state."""

    kind, http_status, exit_code = "conflict", 409, 5


class NotFound(HakuRiverError):
    kind, http_status, exit_code = "not_found", 404, 4


class MethodNotAllowed(HakuRiverError):
    """The path exists, the method does not; `allow` lists those that do."""

    kind, http_status, exit_code = "method_not_allowed", 405, 5

    def __init__(self, detail: str, allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail, f"This path answers to: {', '.join(allow)}." if allow else "")
        self.allow = allow


class TooLarge(HakuRiverError):
    kind, http_status, exit_code = "too_large", 413, 5


class Unauthorized(HakuRiverError):
    """No token, or a wrong one."""

    kind, http_status, exit_code = "unauthorized", 401, 6


class Forbidden(HakuRiverError):
    kind, http_status, exit_code = "forbidden", 403, 6


class Unavailable(HakuRiverError):
    """Right request, wrong moment: worth asking again."""

    kind, http_status, exit_code = "unavailable", 503, 1


class Unreachable(HakuRiverError):
    """The peer did not answer.

    refused is True only if the peer's machine refused the connection: then, and only then,
    it is certain that the request was not received.
    """

    kind, http_status, exit_code = "unreachable", 502, 3

    def __init__(self, detail: str, hint: str = "", *, refused: bool = False) -> None:
        super().__init__(detail, hint)
        self.refused = refused


class Internal(HakuRiverError):
    """A fault of ours; the details are in the log of the program that answered."""

    kind, http_status, exit_code = "internal", 500, 1


_BY_KIND: dict[str, type[HakuRiverError]] = {
    cls.kind: cls
    for cls in (
        UsageError, BadRequest, Refused, Conflict, NotFound, TooLarge,
        Unauthorized, Forbidden, Unavailable, Unreachable, Internal,
    )
}  # fmt: skip


def error_from_json(status: int, body: object) -> HakuRiverError:
    """The error that a peer sent, whatever it looks like."""
    if isinstance(body, dict) and isinstance(body.get("detail"), str):
        hint = body.get("hint")
        kind = _BY_KIND.get(str(body.get("error")), Internal if status >= 500 else BadRequest)
        return kind(body["detail"], hint if isinstance(hint, str) else "")
    return Internal(f"the answer has status {status} and is not from HakuRiver")
