"""Who may speak to us: the token, and what may be served without one."""

from __future__ import annotations

import base64
import contextlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from hakuriver.model.errors import Forbidden, Unauthorized, UsageError
from hakuriver.system.plain import plain


def authorized(headers: Mapping[str, str], token: str) -> bool:
    """Do the headers (lower-case names, values as latin-1) carry the token? Without one, always."""
    if not token:
        return True
    wanted = token.encode("utf-8", "surrogateescape")
    scheme, _, given = headers.get("authorization", "").strip().partition(" ")
    try:
        sent = given.strip().encode("latin-1")
    except UnicodeEncodeError:
        return False
    right = hmac.compare_digest(sent, wanted) and scheme.lower() == "bearer"
    return right or hmac.compare_digest(_token_of_websocket(headers), wanted)


_TOKEN_PROTOCOL = "hakuriver.token."


def _token_of_websocket(headers: Mapping[str, str]) -> bytes:
    """Pages can set no headers on a WebSocket but the names of protocols: the token in base64url."""
    for word in headers.get("sec-websocket-protocol", "").split(","):
        name = word.strip()
        if name.startswith(_TOKEN_PROTOCOL):
            text = name.removeprefix(_TOKEN_PROTOCOL)
            with contextlib.suppress(ValueError):
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return b""


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise Forbidden for a WebSocket of somebody else's page: browsers let every page open one."""
    origin = headers.get("origin")
    host = headers.get("host", "").lower()
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        raise Forbidden(
            f"a WebSocket of the web page {plain(origin[:100])} is not answered",
            "Open the page by the address of this server.",
        )


def admit(headers: Mapping[str, str], token: str) -> None:
    """Raise Unauthorized, or Forbidden for a web page of somebody else's.

    Without a token any page in a browser on this machine could have commands run here. Browsers
    name the page's origin: it has to be us, and under an address, because a foreign name can be
    made to point here. With a token this is needless, as browsers do not add tokens by themselves.
    """
    if not authorized(headers, token):
        raise Unauthorized(
            "the token is wrong" if "authorization" in headers else "a token is needed",
            "Take auth.token of the host's config file: set it as auth.token in the config file "
            "here, or as HAKURIVER_TOKEN.",
        )
    origin = headers.get("origin")
    if token or origin is None:
        return
    if origin.lower() != f"http://{headers.get('host', '').lower()}" or not _is_address(origin):
        raise Forbidden(
            f"requests of the web page {plain(origin[:100])} are not answered",
            "Open the page by the address of this server, or set auth.token.",
        )


def _is_address(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def check_bind(address: str, *, token: str, open_to_all: bool, what: str) -> None:
    """Raise UsageError if `what` would serve other machines without asking for a token."""
    if token or open_to_all or _is_loopback(address):
        return
    raise UsageError(
        f"{what} would listen on {plain(address) or 'all addresses'}, where other machines reach "
        "it, and no token is set",
        "Set auth.token in the config file or HAKURIVER_TOKEN, listen on 127.0.0.1, or, where "
        'everybody on the network may run commands, set auth = "none" in the section [auth].',
    )


def _is_loopback(address: str) -> bool:
    """Whether all that the name or address stands for is on the loopback interface."""
    if not address:
        return False
    try:
        found = socket.getaddrinfo(address.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"the address to listen on, {plain(address)}, is not known",
            "Use an address of this machine, such as 127.0.0.1.",
        ) from error
    return all(_is_loopback_address(str(sockaddr[0])) for *_, sockaddr in found)


def _is_loopback_address(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
