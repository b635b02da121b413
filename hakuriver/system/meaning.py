"""What the text of a setting means, where it is more than a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hakuriver.model.errors import HakuRiverError, UsageError
from hakuriver.system.config import Config

T = TypeVar("T")


def meant(setting: str, parse: Callable[[str], T], text: str) -> T:
    """What parse makes of it. Raises UsageError that names the setting."""
    try:
        return parse(text)
    except HakuRiverError as error:
        raise UsageError(f"{setting}: {error.detail}", error.hint) from None


def tarball_dir(config: Config, shared_dir: Path) -> Path:
    """Where the environments' tarballs are. Raises UsageError if that is not in the shared directory."""
    name = config.text("docker.container_dir")
    if "/" in name or name in ("", ".", ".."):
        raise UsageError(
            f"docker.container_dir: '{name}' is no name of a folder", "It is in paths.shared_dir."
        )
    return shared_dir / name
