"""The token at rest: read from a file, fit to be sent, and kept from other people's eyes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hakuriver.model.errors import UsageError

if TYPE_CHECKING:
    from hakuriver.system.config import Config


def read_token(file: str) -> str:
    """The token in auth.token_file. Raises UsageError, also if there is none in it: as no token at
    all it would open what was meant to be closed."""
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"cannot read auth.token_file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"auth.token_file {file} is not UTF-8") from None
    if not token:
        raise UsageError(f"auth.token_file {file} is empty")
    return token


def check_token(token: str) -> None:
    """Raise UsageError for one that cannot travel in the head of a request.

    The error does not show it: what is wrong by one character is still a secret.
    """
    if not token.isprintable() or token.strip() != token:
        raise UsageError(
            "the token holds line breaks, control characters or blanks around it",
            "Write one line of text. `init config` makes a new one.",
        )


def open_secrets(config: Config) -> list[Path]:
    """The files with the token or a key in them that everybody on this machine can read."""
    key = config.text("network.tls_key") or config.text("network.tls_cert")
    files = [Path(name) for name in (config.text("auth.token_file"), key) if name]
    if config.file is not None and _has_token(config.file):
        files.append(config.file)
    return [path for path in files if _is_open(path)]


def _has_token(file: Path) -> bool:
    """Whether a configuration file has one in it; what counts may come from a variable."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(re.search(r"""(?m)^\s*(auth\.)?token\s*=\s*["']+[^"'\s]""", text))


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:  # what cannot be read is told where it is needed
        return False
