"""hakurun for tasks: a private copy of the file that we run from, and a way to call it on PATH.

A copy, named after its content: replacing the file, or updating the runner, does nothing to tasks.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from hakuriver.system import program

log = logging.getLogger(__name__)

FILE = "hakuriver.pyz"
HAKURUN = """\
#!/bin/sh
for python in python3 python; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec "$python" "${0%/*}/hakuriver.pyz" hakurun "$@"
  fi
done
echo "hakurun: error: there is no Python 3.10 or newer here, which hakurun needs" >&2
exit 127
"""


def publish(state: Path, source: str | None = None) -> Path | None:
    """The folder for PATH; None if we run from a checkout, or cannot write it, which is logged.

    source: the file, if it is not the one that we run from.
    """
    source = program.place() if source is None else source
    if not source:
        return None
    try:
        content = Path(source).read_bytes()
        folder = state / "bin" / hashlib.sha256(content).hexdigest()[:16]
        if not folder.is_dir():
            _write(folder, content)
        return folder
    except OSError as error:
        log.warning("tasks have no hakurun: cannot write below %s: %s", state, error.strerror)
        return None


def _write(folder: Path, content: bytes) -> None:
    """The folder appears with all that is in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    for name, data, mode in ((FILE, content, 0o644), ("hakurun", HAKURUN.encode(), 0o755)):
        path = made / name
        path.write_bytes(data)
        path.chmod(mode)
    made.chmod(0o755)
    try:
        os.rename(made, folder)
    except OSError:
        if not folder.is_dir():  # somebody else was quicker otherwise
            raise
