"""`python3 tests [lab] [pytest arguments]`: make .venv/pyX.Y if need be, then run pytest in it.

`lab` stands for the tests that need real nodes. Needs nothing but Python 3.10 or newer and a package registry that its pip is set up for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
VERSION = ".".join(map(str, sys.version_info[:3]))
FOLDER = ROOT / ".venv" / "py{}.{}".format(*sys.version_info)
PYTHON = FOLDER / "bin" / "python"
STAMP = FOLDER / ".made-from"


def main(arguments: list[str]) -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 - a sentence instead of a traceback
        sys.stderr.write(f"The tests need Python 3.10 or newer, this is {VERSION}.\n")
        sys.exit(2)
    FOLDER.parent.mkdir(exist_ok=True)
    with open(f"{FOLDER}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready():
            make()
    os.chdir(ROOT)
    # In the background, or under nohup, they may be ignored, and so they would be in all that we start.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if arguments[:1] == ["chaos"]:
        os.execv(PYTHON, [str(PYTHON), "-m", "tests.lab.chaos", *arguments[1:]])
    if arguments[:1] == ["screenshots"]:
        os.execv(PYTHON, [str(PYTHON), "-m", "tests.dashboard.screenshots", *arguments[1:]])
    if arguments[:1] == ["lab"]:
        arguments = ["tests/lab", *arguments[1:]]
    os.execv(PYTHON, [str(PYTHON), "-m", "pytest", *arguments])


def wanted() -> str:
    """Names everything that the environment is made from."""
    return f"{VERSION} {hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()}"


def is_ready() -> bool:
    try:
        made_from = STAMP.read_text(encoding="utf-8")
        return made_from == wanted() and call(PYTHON, "-c", "import pytest") == 0
    except OSError:
        return False


def make() -> None:
    """Build the environment anew; the stamp comes last, so that a half-made one is made again."""
    sys.stderr.write(f"Setting up {FOLDER} ...\n")
    shutil.rmtree(FOLDER, ignore_errors=True)
    must(sys.executable, "-m", "venv", FOLDER)
    pip = (PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check")
    must(*pip, "install", "--requirement", REQUIREMENTS)
    STAMP.write_text(wanted(), encoding="utf-8")


def call(*argv: object) -> int:
    return subprocess.call([str(part) for part in argv])


def must(*argv: object) -> None:
    if call(*argv):
        hint = "On Debian and Ubuntu the package python3-venv may be missing."
        raise SystemExit(f"failed: {' '.join(map(str, argv))}\n{hint}")


if __name__ == "__main__":
    main(sys.argv[1:])
