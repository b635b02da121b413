"""The dashboard's own files over HTTP. They hold no secret, so they need no token; what they ask for does."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from hakuriver import PROTOCOL, __version__
from hakuriver.host.pages import Page
from hakuriver.system.auth import admit
from hakuriver.system.router import Request, Response

if TYPE_CHECKING:
    from hakuriver.host.routes import Desk

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, no script in the text of a page. xterm.js and uPlot set styles by hand."""

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)

_BARE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>HakuRiver</title>
<h1>The dashboard is not in this copy</h1>
<p>This host runs from a checkout, or from a file that was built without the web page. Build the
complete file, once, where npm reaches a registry, and start the host from it:</p>
<pre>python3 build_zipapp.py
python3 dist/hakuriver.pyz host</pre>
<p>The host itself works: the command line and the HTTP API do not need this page.</p></html>
"""


def front(request: Request, desk: Desk) -> Response:
    """The page for a browser; for programs what this is, as JSON, with the token as everywhere."""
    if "text/html" in request.headers.get("accept", ""):
        if desk.pages.complete():
            return _answer(request, desk.pages.get("", "index.html"))
        headers = (("Content-Security-Policy", _POLICY),)
        return Response(200, _BARE.encode(), headers, "text/html; charset=utf-8")
    access = desk.access
    admit(request.headers, access.token, sessions=access.sessions, now=time.time())
    return Response.json(
        {
            "name": "HakuRiver",
            "version": __version__,
            "protocol": PROTOCOL,
            "cluster": desk.cluster.id,
        }
    )


def file(request: Request, desk: Desk) -> Response:
    return _answer(
        request, desk.pages.get(request.params.get("folder", ""), request.params["name"])
    )


def _answer(request: Request, page: Page) -> Response:
    # no-cache: kept, but asked for each time, so that the page of a new host is never an old one.
    headers: list[tuple[str, str]] = [
        ("ETag", page.tag),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", _POLICY),
        ("Vary", "Accept-Encoding, Accept"),
    ]
    # A proxy that compresses marks our tag as a weak one.
    given = request.headers.get("if-none-match", "").split(",")
    if {page.tag, "*"} & {tag.strip().removeprefix("W/") for tag in given}:
        return Response(304, b"", tuple(headers), page.content_type)
    if _GZIP.search(request.headers.get("accept-encoding", "")):
        headers.append(("Content-Encoding", "gzip"))
        return Response(200, page.zipped, tuple(headers), page.content_type)
    return Response(200, page.body, tuple(headers), page.content_type)
