"""`hakuriver init links DIR`: this program under the names of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from hakuriver.__main__ import LINKS
from hakuriver.client.arguments import Parser
from hakuriver.client.output import Output
from hakuriver.model.errors import Conflict, HakuRiverError, UsageError


def main(argv: list[str]) -> int:
    names = ", ".join(LINKS.values())
    parser = Parser("hakuriver init links", f"Make links to this program: {names}.")
    parser.add_argument("folder", metavar="DIR", help="where; best a folder on PATH")
    parser.add_argument("--json", action="store_true", help="answers and errors as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the paths")
    given = parser.parse_args(argv, argparse.Namespace())
    out = Output.of_process("json" if given.json else "quiet" if given.quiet else "text")
    folder = Path(given.folder).absolute()
    paths = make(folder, _program())
    if given.json:
        out.json({"links": [str(path) for path in paths]})
    else:
        out.lines(map(str, paths))
        if str(folder) not in os.get_exec_path():
            out.note(f'To find them: export PATH="{folder}:$PATH"')
    return 0


def make(folder: Path, program: Path) -> list[Path]:
    """The links, those included that were there and right already. Raises HakuRiverError."""
    paths = [folder / name for name in LINKS.values()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [path for path in paths if os.path.lexists(path) and not path.is_symlink()]
        if taken:
            raise Conflict(f"{taken[0]} is there already, and no link", "Nothing was changed.")
        for path in paths:
            _link(path, program)
    except OSError as error:
        raise HakuRiverError(f"cannot make links in {folder}: {error.strerror}") from None
    return paths


def _link(path: Path, program: Path) -> None:
    """At no moment without a link of that name: somebody may be starting it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.symlink_to(program)
    os.replace(temporary, path)


def _program() -> Path:
    """The one file that is running."""
    program = Path(sys.argv[0]).resolve()
    if program.suffix == ".py" or not os.access(program, os.X_OK):
        raise UsageError(
            f"a link to {program} could not be started",
            "Build the one file first and use that: python3 build_zipapp.py",
        )
    return program
