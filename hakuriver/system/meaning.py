"""What the text of a setting means, where it is more than a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hakuriver.model.errors import HakuRiverError, UsageError

T = TypeVar("T")


def meant(setting: str, parse: Callable[[str], T], text: str) -> T:
    """What parse makes of it. Raises UsageError that names the setting."""
    try:
        return parse(text)
    except HakuRiverError as error:
        raise UsageError(f"{setting}: {error.detail}", error.hint) from None
