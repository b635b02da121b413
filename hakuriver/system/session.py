"""Sessions of browsers: a cookie that proves, for a while, that its bearer once knew the token.

The value is "EXPIRES.MAC"; the MAC's key is the token, so another token ends all sessions, and
nothing has to be stored. The token itself never goes into a browser's cookie jar.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

COOKIE = "hakuriver_session"
SECONDS = 7 * 86400
GUARD = "x-hakuriver"
"""A header that only a page of ours, or a program, can set: browsers ask first for foreign pages."""


def new_session(token: str, now: float) -> str:
    expires = str(int(now) + SECONDS)
    return f"{expires}.{_mac(token, expires)}"


def is_session(value: str, token: str, now: float) -> bool:
    expires, _, mac = value.partition(".")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
        return False
    right = hmac.compare_digest(
        mac.encode("utf-8", "surrogateescape"), _mac(token, expires).encode()
    )
    return right and now < int(expires) <= now + SECONDS + 60


def session_of(headers: Mapping[str, str]) -> str:
    """The cookie's value, "" without one. Of several of that name, the first: the most specific."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value.strip('"')
    return ""


def set_cookie(value: str, *, secure: bool) -> tuple[str, str]:
    """The header that stores it, or with "" takes it away."""
    age = SECONDS if value else 0
    attributes = f"Path=/; HttpOnly; SameSite=Strict; Max-Age={age}"
    return ("Set-Cookie", f"{COOKIE}={value}; {attributes}{'; Secure' if secure else ''}")


def _mac(token: str, expires: str) -> str:
    key = token.encode("utf-8", "surrogateescape")
    return hmac.new(key, f"hakuriver session {expires}".encode(), hashlib.sha256).hexdigest()
