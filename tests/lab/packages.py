"""The packages that tests inside a node need, for its Python and not for ours."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.image import PYTHON

ROOT = Path(__file__).resolve().parents[2]
_NOT_THERE = ("ruff", "mypy")


def node_packages() -> Path:
    """A folder for PYTHONPATH, made once from tests/requirements.txt."""
    lines = (ROOT / "tests" / "requirements.txt").read_text().split()
    wanted = [line for line in lines if not line.startswith(_NOT_THERE)]
    digest = hashlib.sha256("\n".join([PYTHON, *wanted]).encode()).hexdigest()[:12]
    folder = ROOT / ".build" / f"node-packages-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _install(wanted, folder)
    return folder


def _install(wanted: list[str], folder: Path) -> None:
    half = folder.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install",
            "--target", str(half), "--python-version", PYTHON, "--only-binary=:all:", *wanted]  # fmt: skip
    subprocess.run(argv, check=True, timeout=300)
    half.rename(folder)
