"""Putting unit files in place: never over somebody else's, never half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hakuriver.client.units import MARK
from hakuriver.model.errors import Conflict, HakuRiverError
from hakuriver.system.command import run

SYSTEM = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""There if systemd runs here; sd_booted(3)."""
_RELOAD_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Written:
    """state: new, changed or unchanged."""

    path: Path
    state: str


def systemd_runs() -> bool:
    return BOOTED.is_dir() and shutil.which("systemctl") is not None


def check_ours(path: Path) -> None:
    """Raises Conflict if somebody else made the file."""
    if path.is_symlink():
        target = os.readlink(path)
        if target == "/dev/null":
            raise Conflict(
                f"{path.name} is masked", f"To allow it again: systemctl unmask {path.name}"
            )
        raise Conflict(f"{path} is a link to {target}", "Nothing was changed. Remove it first.")
    try:
        begin = path.read_text(encoding="utf-8", errors="replace")[: len(MARK)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise HakuRiverError(f"cannot read {path}: {error.strerror}") from None
    if begin != MARK:
        raise Conflict(
            f"{path} was not written by this command", "Nothing was changed. Move it away first."
        )


def write_unit(path: Path, text: str) -> Written:
    """Whole or not at all, readable by everybody. Raises HakuRiverError."""
    data = text.encode()
    try:
        before = path.read_bytes() if path.exists() else None
        if before == data:
            return Written(path, "unchanged")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise HakuRiverError(f"cannot write {path}: {error.strerror}") from None
    return Written(path, "new" if before is None else "changed")


def reload() -> None:
    done = run(["systemctl", "daemon-reload"], timeout=_RELOAD_SECONDS)
    if done.code:
        raise HakuRiverError(
            f"systemctl daemon-reload: {done.error}",
            "The files are written; systemd has not read them yet.",
        )
