"""Who may speak to us: the token, and what may be served without one."""

from __future__ import annotations

import base64
import contextlib
import hmac
import ipaddress
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from hakuriver.model.errors import Forbidden, Unauthorized, UsageError
from hakuriver.system.plain import plain
from hakuriver.system.session import GUARD, is_session, session_of


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


def offers_token(headers: Mapping[str, str]) -> bool:
    """Whether there is one, right or wrong, in any of the places where it may be."""
    return "authorization" in headers or _TOKEN_PROTOCOL in headers.get(
        "sec-websocket-protocol", ""
    )


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise Forbidden for a request of somebody else's page. Programs send no Origin."""
    origin = headers.get("origin")
    host = headers.get("host", "").lower()
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        raise Forbidden(
            f"requests of the web page {plain(origin[:100])} are not answered",
            "Open the page by the address of this server.",
        )


def admit(
    headers: Mapping[str, str],
    token: str,
    *,
    sessions: str = "",
    method: str = "GET",
    now: float = 0.0,
    names: Collection[str] = (),
) -> None:
    """Raise Unauthorized, or Forbidden for a web page of somebody else's.

    The token opens everything, wherever it comes from, as browsers never add it by themselves. The
    cookie of a session they do add, to requests of any page: so the Origin has to be ours, and what
    changes something needs a header that foreign pages cannot set. Without a token any page in a
    browser on this machine could have commands run here: then we have to be called by an address,
    or by one of our names, because a foreign name can be made to point here.

    sessions is the key of the cookies that are taken; "": none are.
    """
    if token and authorized(headers, token):
        return
    if token:
        if not is_session(session_of(headers), sessions, now):
            raise Unauthorized(_refusal(headers), _HINT)
        check_origin(headers)
        if method not in ("GET", "HEAD") and GUARD not in headers:
            raise Forbidden(f"the header {GUARD} is missing", "Programs send the token instead.")
        return
    host = headers.get("host", "")
    if host and not _is_ours(host, names):
        raise Forbidden(
            f"this server has no token and does not go by the name {plain(host[:100])}",
            "Use its address, such as 127.0.0.1, or set auth.token.",
        )
    check_origin(headers)


_HINT = (
    "Take auth.token of the host's config file. `client login` keeps it for you; or set it as "
    "auth.token in the config file here, or as HAKURIVER_TOKEN."
)


def _refusal(headers: Mapping[str, str]) -> str:
    if offers_token(headers):
        return "the token is wrong"
    return "the session is over" if session_of(headers) else "a token is needed"


def _is_ours(host: str, names: Collection[str]) -> bool:
    try:
        name = urlsplit(f"http://{host}").hostname or ""
        return name == "localhost" or name in names or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def check_bind(address: str, *, token: str, open_to_all: bool, what: str) -> None:
    """Raise UsageError if `what` would serve other machines without asking for a token."""
    if token or open_to_all or is_loopback(address):
        return
    raise UsageError(
        f"{what} would listen on {plain(address) or 'all addresses'}, where other machines reach "
        "it, and no token is set",
        "Set auth.token in the config file or HAKURIVER_TOKEN, listen on 127.0.0.1, or, where "
        'everybody on the network may run commands, set auth = "none" in the section [auth].',
    )


def is_loopback(address: str) -> bool:
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


def names_this_machine(address: str) -> bool:
    """Whether an address means whatever machine uses it: 127.0.0.1, localhost. Asks nobody."""
    try:
        return _is_loopback_address(address.strip("[]"))
    except ValueError:
        return address.lower().rstrip(".") == "localhost"


def _is_loopback_address(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
