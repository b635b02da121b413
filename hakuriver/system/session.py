"""Sessions of browsers: a cookie that proves, for a while, that its bearer once knew the token.

The value is "EXPIRES.MAC"; the MAC's key comes from the token and the cluster's id, so another token
ends all sessions, and nothing has to be stored. The token itself never goes into a browser's cookie
jar, and another cluster of the same token, on another port of this machine, does not take the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

COOKIE = "hakuriver_session"
SECONDS = 7 * 86400
GUARD = "x-hakuriver"
"""A header that only a page of ours, or a program, can set: browsers ask first for foreign pages."""


def session_key(token: str, cluster: str) -> str:
    """What the sessions of a cluster are signed with; "" without a token: there are none then."""
    return _mac(token, f"hakuriver sessions of {cluster}") if token else ""


def new_session(key: str, now: float) -> str:
    expires = str(int(now) + SECONDS)
    return f"{expires}.{_mac(key, expires)}"


def is_session(value: str, key: str, now: float) -> bool:
    """Never with the key ""."""
    expires, _, mac = value.partition(".")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
        return False
    right = hmac.compare_digest(mac.encode("utf-8", "surrogateescape"), _mac(key, expires).encode())
    return bool(key) and right and now < int(expires) <= now + SECONDS + 60


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


def _mac(key: str, text: str) -> str:
    secret = key.encode("utf-8", "surrogateescape")
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
