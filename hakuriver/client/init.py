"""`hakuriver init config`: write a configuration file whose values run as they are."""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hakuriver.client.arguments import Parser
from hakuriver.client.output import Output
from hakuriver.model.errors import Conflict, HakuRiverError, UsageError
from hakuriver.system.config import home_dir, render_template

PROG = "hakuriver init"


def main(argv: list[str]) -> int:
    parser = Parser(
        PROG,
        "Write a commented configuration file with a new token.\n\n"
        "init service, instead, writes units for systemd; init links DIR makes links to this"
        " program that are\nnamed after its commands.",
    )
    add = parser.add_argument
    add("what", nargs="?", metavar="config", default="config", help="what to write")
    add("--force", action="store_true", help="overwrite a file that is there")
    add("--output", metavar="PATH", help="where (default: config.toml in HAKURIVER_HOME, which is "
        "~/.hakuriver unless set)")  # fmt: skip
    add("--json", action="store_true", help="answers and errors as JSON")
    add("-q", "--quiet", action="store_true", help="only the path")
    given = parser.parse_args(argv, argparse.Namespace())
    out = Output.of_process("json" if given.json else "quiet" if given.quiet else "text")
    try:
        if given.what != "config":
            raise UsageError(
                f"init writes no '{given.what}'",
                "It writes config, service or links; the word is the first, as in: init service --host",
            )
        return config(_path(given.output), out, force=given.force)
    except HakuRiverError as error:
        if not given.json:
            raise
        out.error(error, "init")
        return error.exit_code


def config(path: Path, out: Output, *, force: bool) -> int:
    write_private(path, render_template(secrets.token_hex(24)), force=force)
    if out.mode == "json":
        out.json({"path": str(path)})
    else:
        out.line(str(path))
        out.note("The same file, with the same token, belongs on every machine of the cluster.")
    return 0


def _path(output: str | None) -> Path:
    return Path(output).absolute() if output else home_dir(os.environ) / "config.toml"


def write_private(path: Path, text: str, *, force: bool) -> None:
    """Make the file at once and whole, readable by nobody else from its first moment on.

    Raises Conflict if there is one and force is not given, HakuRiverError if it cannot be made.
    """
    # A link, unlike a rename, never takes the place of a file that has just been made.
    publish = os.replace if force else os.link
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
        with _temporary(path.parent, text) as temporary:
            publish(temporary, path)
    except FileExistsError as error:
        hint = "Nothing was changed. --force replaces it, and its token, by a new one."
        raise Conflict(f"{error.filename2 or error.filename} exists already", hint) from None
    except OSError as error:
        raise HakuRiverError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _temporary(folder: Path, text: str) -> Iterator[str]:
    """The name of a file with this text, safe on disk, mode 0600; whatever happens, it goes."""
    descriptor, name = tempfile.mkstemp(prefix=".config-", dir=folder)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        Path(name).unlink(missing_ok=True)
