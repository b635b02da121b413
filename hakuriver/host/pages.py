"""The files of the dashboard, as a browser gets them: from the package, compressed once, with an ETag."""

from __future__ import annotations

import gzip
import hashlib
import pkgutil
import re
import threading
from dataclasses import dataclass

from hakuriver.model.errors import NotFound

VENDOR = "vendor"
_NAME = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)?\.(html|css|js|svg)")
_FOLDERS = ("", "pages", VENDOR)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Page:
    """body and zipped hold the same, the second one gzipped; tag changes with it."""

    body: bytes
    zipped: bytes
    tag: str
    content_type: str


class Pages:
    """Thread-safe. Each file is read when it is first asked for, and kept: there are a few dozen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[str, Page] = {}

    def get(self, folder: str, name: str) -> Page:
        """Raises NotFound, for everything that is no file of ours by its name alone too."""
        if folder not in _FOLDERS or _NAME.fullmatch(name) is None:
            raise NotFound("the dashboard has no such file")
        path = f"{folder}/{name}" if folder else name
        with self._lock:
            if path not in self._read:
                self._read[path] = _page(path)
            return self._read[path]

    def complete(self) -> bool:
        """Whether what comes from others is here: a checkout does not hold it, the built file does."""
        try:
            self.get(VENDOR, "vue.js")
        except NotFound:
            return False
        return True


def _page(path: str) -> Page:
    try:
        body = pkgutil.get_data("hakuriver.host", f"dashboard/{path}")
    except OSError:
        body = None
    if body is None:
        raise NotFound("the dashboard has no such file")
    return Page(
        body=body,
        zipped=gzip.compress(body, compresslevel=6, mtime=0),
        tag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
        content_type=_TYPES[path.rpartition(".")[2]],
    )
