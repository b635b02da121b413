"""What is inside a tarball that `docker save` wrote, without unpacking it.

Facts: the OCI image layout and docker's older one both have a manifest.json, a list with one entry
per image: Config (the path of the image's configuration, whose name is its digest), RepoTags, Layers.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hakuriver.model.errors import Refused

_CONFIG = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")
_MANIFEST_MAX = 4 << 20
_MEMBERS_MAX = 100_000
_BLOCK, _END = 512, 1024  # POSIX: members fill blocks, and two blocks of zeros end an archive


@dataclass(frozen=True, slots=True)
class Archive:
    """image_id is the digest of the image's configuration; size in bytes, of the whole file."""

    image_id: str
    tags: tuple[str, ...]
    size: int


class _Sips(io.FileIO):
    """tarfile reads long names and attributes whole, as long as they say they are."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MANIFEST_MAX:
            raise tarfile.ReadError("a header is too large")
        return super().read(size) or b""


def read_archive(path: Path) -> Archive:
    """Raises Refused if it is cut off, or not one image of docker's; OSError if it cannot be read."""
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        raise Refused(f"{path.name} is no file")
    size = facts.st_size
    try:
        with _Sips(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            manifest, end = _scan(tar)
    except tarfile.TarError as error:
        raise Refused(f"{path.name} is damaged or no tarball: {error}") from None
    whole = -(-end // _BLOCK) * _BLOCK + _END
    if size < whole:
        raise Refused(f"{path.name} is cut off: it has {size} bytes of at least {whole}")
    if manifest is None:
        raise Refused(f"{path.name} is cut off, or was not written by docker save")
    return _read_manifest(manifest, path.name, size)


def _scan(tar: tarfile.TarFile) -> tuple[bytes | None, int]:
    """The content of manifest.json, and where the last member ends."""
    manifest, end = None, 0
    for count, member in enumerate(tar):
        if count > _MEMBERS_MAX:
            raise tarfile.ReadError("too many members")
        end = max(end, member.offset_data + (member.size if member.isreg() else 0))
        if member.name == "manifest.json" and member.isreg() and member.size <= _MANIFEST_MAX:
            file = tar.extractfile(member)
            manifest = file.read() if file else None
    return manifest, end


def _read_manifest(content: bytes, name: str, size: int) -> Archive:
    foreign = Refused(f"{name} was not written by docker save for one image")
    try:
        document: Any = json.loads(content)
        (entry,) = document
        match = _CONFIG.fullmatch(entry["Config"])
        tags = tuple(entry.get("RepoTags") or ())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise foreign from None
    if match is None or not all(isinstance(tag, str) for tag in tags):
        raise foreign
    return Archive(f"sha256:{match[1]}", tags, size)
