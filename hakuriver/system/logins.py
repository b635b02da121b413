"""The tokens that `client login` keeps for a user: one file, for that user's eyes only."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hakuriver.model.errors import UsageError
from hakuriver.system.config import Config

_FILE = "logins.json"


def login_file(config: Config) -> Path:
    return config.home / _FILE


def token_for(config: Config) -> str:
    """What the configuration says, else what was kept for this host, else "". Raises UsageError."""
    return config.token or read_logins(login_file(config)).get(config.host_url, "")


def read_logins(path: Path) -> dict[str, str]:
    """Token by address of the host. Raises UsageError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "it is damaged"
        raise UsageError(f"cannot read {path}: {cause}", "Delete it and log in again.") from None
    if not isinstance(document, dict):
        raise UsageError(f"cannot read {path}: it is damaged", "Delete it and log in again.")
    return {str(url): str(token) for url, token in document.items()}


def write_logins(path: Path, logins: dict[str, str]) -> None:
    """Whole or not at all, mode 0600. Raises UsageError."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(logins, file, indent=1)
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
