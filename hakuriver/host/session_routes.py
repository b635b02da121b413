"""Logging in and out of a browser: the token is changed for a cookie that proves it was known."""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING

from hakuriver.host.audit import who
from hakuriver.model.errors import BadRequest, Unauthorized
from hakuriver.system.auth import authorized, check_origin
from hakuriver.system.router import Request, Response
from hakuriver.system.session import is_session, new_session, session_of, set_cookie

if TYPE_CHECKING:
    from hakuriver.host.routes import Desk

log = logging.getLogger(__name__)


def login(request: Request, desk: Desk) -> Response:
    """{"token": …} -> 204 and the cookie. Raises Unauthorized for a wrong one."""
    check_origin(request.headers)
    given = request.json().get("token")
    if not isinstance(given, str):
        raise BadRequest("the body lacks the field 'token'")
    token = desk.access.token
    right = hmac.compare_digest(
        given.strip().encode("utf-8", "surrogateescape"), token.encode("utf-8", "surrogateescape")
    )
    if token and not right:
        desk.access.strangers.wrong_token(request.peer)
        raise Unauthorized("the token is wrong", "It is auth.token in the config file of the host.")
    log.info("%s: logged in", who(request))
    cookie = new_session(desk.access.sessions, time.time()) if token else ""
    return Response(204, b"", (set_cookie(cookie, secure=desk.access.tls),))


def logout(request: Request, desk: Desk) -> Response:
    check_origin(request.headers)
    return Response(204, b"", (set_cookie("", secure=desk.access.tls),))


def session(request: Request, desk: Desk) -> Response:
    """{"needs_token", "logged_in"}: what a page asks before anything else."""
    token = desk.access.token
    known = authorized(request.headers, token) or is_session(
        session_of(request.headers), desk.access.sessions, time.time()
    )
    return Response.json({"needs_token": bool(token), "logged_in": known})
