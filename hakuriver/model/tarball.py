"""Tarballs of environments: their names in the shared directory, and what is known of each.

ENV-UNIXTIME.tar is what `docker save` writes, and ENV-UNIXTIME.json beside it the manifest, which is
published last: a tarball that has one is complete. A tarball may come without (from the first
HakuRiver, or copied by hand); its image id is then read from inside of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hakuriver.model.errors import Refused
from hakuriver.model.fields import Fields
from hakuriver.model.target import ENVIRONMENT_NAME

_NAME = re.compile(rf"({ENVIRONMENT_NAME.pattern})-([0-9]{{1,11}})\.(tar|json)")
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LAYERS_MAX = 1000

ENVIRONMENT_LABEL = "hakuriver.environment"
"""On a container that is an environment: its name."""
ROLE_LABEL = "hakuriver.role"
"""environment, image or task. An image hands its labels down to its containers, so each sets its own."""
IMAGE_LABEL = f"{ROLE_LABEL}=image"


@dataclass(frozen=True, slots=True)
class Version:
    """One packed version of an environment.

    time is the UNIXTIME of its name and orders the versions. image_id is what every engine calls
    the image; sha256 and layers (the image's diff ids, lowest first) are empty without a manifest.
    """

    environment: str
    time: int
    image_id: str
    size: int
    sha256: str = ""
    created_by: str = ""
    layers: tuple[str, ...] = ()

    @property
    def tarball(self) -> str:
        return f"{self.environment}-{self.time}.tar"

    @property
    def manifest(self) -> str:
        return f"{self.environment}-{self.time}.json"


def parse_name(name: str) -> tuple[str, int, str] | None:
    """(environment, time, "tar" or "json") of a file's name; None if it is no such file."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], int(match[2]), match[3])


def image_of(environment: str) -> str:
    """What docker calls the image of an environment."""
    return f"hakuriver/{environment}:base"


def manifest_to_json(version: Version) -> dict[str, Any]:
    return {
        "environment": version.environment,
        "tarball": version.tarball,
        "image_id": version.image_id,
        "size": version.size,
        "sha256": version.sha256,
        "created_at": version.time,
        "created_by": version.created_by,
        "layers": list(version.layers),
    }


def manifest_from_json(document: object, environment: str, time: int) -> Version:
    """Raises Refused if it is not the manifest that its file's name promises."""
    with Fields(document, "the manifest") as fields:
        version = Version(
            environment=fields.text("environment"),
            time=fields.whole("created_at"),
            image_id=fields.text("image_id"),
            size=fields.whole("size"),
            sha256=fields.text("sha256"),
            created_by=fields.text("created_by", ""),
            layers=fields.texts("layers"),
        )
        tarball = fields.text("tarball")
    if (version.environment, version.time) != (environment, time) or tarball != version.tarball:
        raise Refused("the manifest is that of another tarball")
    if not _IMAGE_ID.fullmatch(version.image_id) or not _SHA256.fullmatch(version.sha256):
        raise Refused("the manifest has no proper image_id and sha256")
    if len(version.layers) > _LAYERS_MAX:
        raise Refused("the manifest has too many layers")
    return version


def superseded(versions: Iterable[Version], keep: int) -> list[Version]:
    """What is to go when only the newest `keep` versions of each environment stay."""
    by_name: dict[str, list[Version]] = {}
    for version in versions:
        by_name.setdefault(version.environment, []).append(version)
    return [
        old
        for found in by_name.values()
        for old in sorted(found, key=lambda each: each.time, reverse=True)[max(keep, 1) :]
    ]


def holders(version: Version, environments: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The nodes that hold this version; environments: of each node, image ids by environment."""
    return sorted(
        node
        for node, images in environments.items()
        if version.image_id and images.get(version.environment) == version.image_id
    )
