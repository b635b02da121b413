"""Requests, responses and the table of routes. Pure: touches no socket, knows no clock."""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote

from hakuriver.model.errors import (
    BadRequest,
    HakuRiverError,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
)
from hakuriver.system.plain import plain

C = TypeVar("C")
Headers = tuple[tuple[str, str], ...]

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,19}")
_PARAMETER = re.compile(r"<([a-z_]+)>")
_SHOWN = 200  # characters of a peer's text in our error messages


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path and params are percent-decoded, header names are lower-case.

    Of query parameters that occur twice the last one counts; blank ones are kept.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object. Else BadRequest."""
        if not self.body:
            return {}
        try:
            value = json.loads(
                self.body.decode("utf-8"),
                object_pairs_hook=_object,
                parse_float=_finite,
                parse_constant=_refuse_constant,
            )
        except UnicodeDecodeError as error:
            raise BadRequest("the body is not UTF-8") from error
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {plain(str(error))[:_SHOWN]}") from error
        except RecursionError as error:
            raise BadRequest("the body is nested too deeply") from error
        if not isinstance(value, dict):
            raise BadRequest("the body is not a JSON object")
        return value

    def wants(self, protocol: str) -> bool:
        """Whether it asks for the connection to speak this protocol from now on."""
        connection = self.headers.get("connection", "").lower().split(",")
        upgrade = self.headers.get("upgrade", "").strip().lower()
        return "upgrade" in map(str.strip, connection) and upgrade == protocol

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A query parameter from low to high; BadRequest if it is anything else."""
        text = self.query.get(name)
        if text is None:
            return default
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not (math.isfinite(value) and low <= value <= high):
            raise _out_of_range(name, text, f"a number from {low:g} to {high:g}")
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A query parameter in decimal digits from low to high; BadRequest if it is not."""
        text = self.query.get(name)
        if text is None:
            return default
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise _out_of_range(name, text, f"a whole number from {low} to {high}")
        return int(text)


def _out_of_range(name: str, text: str, wanted: str) -> BadRequest:
    return BadRequest(f"{name} has to be {wanted}, not '{plain(text[:_SHOWN])}'")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        # Which of the two was meant is a guess, and programs guess differently.
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' occurs twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


Switched = Callable[[socket.socket, bytes], None]
"""What becomes of a connection that speaks something else from now on; the bytes that came already."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. A body that is an iterator needs its length in bytes.

    switched: takes the connection over once the head of the answer is sent; with status 200 what it
    sends is the body, which ends with the connection.
    """

    status: int
    body: bytes | Iterator[bytes]
    headers: Headers = ()
    content_type: str = "application/json"
    length: int | None = None
    switched: Switched | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes) and self.length is None:
            raise ValueError("a body that is an iterator needs a length")

    @staticmethod
    def json(obj: object, status: int = 200, headers: Headers = ()) -> Response:
        # Output of tasks and names of files may hold surrogate escapes, which UTF-8 cannot carry
        # and \u escapes can: so the text stays ASCII.
        text = json.dumps(obj, separators=(",", ":"), allow_nan=False)
        return Response(status, text.encode("ascii"), headers)

    @staticmethod
    def error(error: HakuRiverError) -> Response:
        headers: Headers = ()
        if isinstance(error, MethodNotAllowed):
            headers = (("Allow", ", ".join(error.allow)),)
        elif isinstance(error, Unauthorized):
            headers = (("WWW-Authenticate", "Bearer"),)
        return Response.json(error.to_json(), error.http_status, headers)

    @staticmethod
    def switch(protocol: str, switched: Switched, headers: Headers = ()) -> Response:
        named = (("Upgrade", protocol), ("Connection", "Upgrade"), *headers)
        return Response(101, b"", named, switched=switched)

    @staticmethod
    def stream(content_type: str, switched: Switched, headers: Headers = ()) -> Response:
        """A body that goes on for as long as both sides like.

        Whoever gives it has a bound on how many there are: the server's does not count them.
        """
        return Response(200, b"", headers, content_type, switched=switched)

    @property
    def is_stream(self) -> bool:
        return self.switched is not None and self.status == 200

    @staticmethod
    def text(body: bytes, headers: Headers = ()) -> Response:
        return Response(200, body, headers, "text/plain; charset=utf-8")


# Without slots: on Python 3.10 a frozen, slotted, generic class cannot be made as Route[X](...).
@dataclass(frozen=True)
class Route(Generic[C]):
    """A method, a pattern such as /task/<id>/stdout, and who answers.

    <name> stands for one segment of the path that is not empty. open: no token is asked for.
    """

    method: str
    pattern: str
    handler: Callable[[Request, C], Response]
    open: bool = False


class Router(Generic[C]):
    """Finds the route for a request; of several that fit, the first of the table."""

    def __init__(self, routes: Iterable[Route[C]]) -> None:
        self._routes: list[tuple[list[str], Route[C]]] = []
        for route in routes:
            segments = _PARAMETER.sub("<>", route.pattern).split("/")
            if any(route.method == other.method and segments == s for s, other in self._routes):
                raise ValueError(f"two routes for {route.method} {route.pattern}")
            self._routes.append((segments, route))

    def match(self, method: str, path: str) -> tuple[Route[C], dict[str, str]]:
        """The route and its parameters, for the path as it was sent: percent-encoded, no query.

        A HEAD is answered where GET is. Raises NotFound, MethodNotAllowed, and BadRequest for a
        path that is not UTF-8 or holds control characters.
        """
        given = decode_path(path)
        allowed: set[str] = set()
        for pattern, route in self._routes:
            if not _fits(pattern, given):
                continue
            methods = {"GET", "HEAD"} if route.method == "GET" else {route.method}
            if method in methods:
                names = _PARAMETER.findall(route.pattern)
                values = [v for p, v in zip(pattern, given, strict=True) if p == "<>"]
                return route, dict(zip(names, values, strict=True))
            allowed |= methods
        shown = plain(path[:_SHOWN])
        if allowed:
            raise MethodNotAllowed(
                f"{plain(method[:_SHOWN])} is not possible on {shown}", tuple(sorted(allowed))
            )
        raise NotFound(f"there is nothing at {shown}")

    def is_open(self, method: str, path: str) -> bool:
        """Whether it is answered without a token; path as for match()."""
        try:
            return self.match(method, path)[0].open
        except HakuRiverError:
            return False


def _fits(pattern: list[str], given: list[str]) -> bool:
    if len(pattern) != len(given):
        return False
    return all(p == v or (p == "<>" and v != "") for p, v in zip(pattern, given, strict=True))


def decode_path(path: str) -> list[str]:
    """The segments of a percent-encoded path; an encoded slash stays inside its segment."""
    segments = [_decode(segment) for segment in path.split("/")]
    if any(ord(c) < 0x20 or ord(c) == 0x7F for segment in segments for c in segment):
        raise BadRequest("the path holds control characters")
    return segments


def decode_query(query: str) -> dict[str, str]:
    """The parameters of a percent-encoded query; BadRequest if they are not UTF-8."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError as error:
        raise BadRequest("the query is not UTF-8") from error


def _decode(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not UTF-8") from error
