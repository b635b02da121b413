"""Environments as text for people: containers, tarballs and jobs as rows and as a bar."""

from __future__ import annotations

from hakuriver.client.render import NONE, Row, size, word
from hakuriver.model.units import format_duration, format_size

CONTAINER_TITLES = ("ENV", "STATUS", "IMAGE")
TARBALL_TITLES = ("ENV", "VERSION", "SIZE", "IMAGE", "BY", "NODES")
JOB_TITLES = ("JOB", "STATUS", "KIND", "ENV", "BY", "MESSAGE")

_BAR = 24


def container_cells(row: Row) -> tuple[str, ...]:
    return word(row, "name"), word(row, "status"), word(row, "image")


def tarball_cells(row: Row) -> tuple[str, ...]:
    return (
        word(row, "environment"),
        word(row, "timestamp"),
        size(row.get("size_bytes")),
        word(row, "image_id").removeprefix("sha256:")[:12],
        word(row, "created_by") or NONE,
        " ".join(row.get("nodes") or ()) or NONE,
    )


def job_cells(row: Row) -> tuple[str, ...]:
    return (
        word(row, "job_id"),
        word(row, "state"),
        word(row, "kind"),
        word(row, "environment"),
        word(row, "user") or NONE,
        word(row, "message") or word(row, "stage") or NONE,
    )


def job_progress(job: Row, seconds: float) -> str:
    """One line: what it does, a bar if the end is known, bytes, and for how long already."""
    done, total = int(job.get("bytes_done") or 0), int(job.get("bytes_total") or 0)
    parts = [f"{word(job, 'environment')}: {word(job, 'stage') or word(job, 'state')}"]
    if total:
        filled = min(_BAR * done // total, _BAR)
        parts.append(f"[{'#' * filled}{'.' * (_BAR - filled)}] {min(100 * done // total, 100)} %")
        parts.append(f"{format_size(done)}/{format_size(total)}")
    elif done:
        parts.append(format_size(done))
    parts.append(format_duration(seconds))
    return "  ".join(parts)
