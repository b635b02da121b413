"""What the first word of a run means: a program, a path, or a Python module; and becoming it.

On the way of every start, so it imports little.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from typing import NamedTuple, NoReturn

from hakuriver.model.errors import HakuRiverError

CALL = (
    "import sys, importlib; app = sys.argv[1]; name, _, attributes = app.partition(':'); "
    "sys.argv = sys.argv[1:]; found = importlib.import_module(name); "
    "[found := getattr(found, each) for each in attributes.split('.')]; found(*sys.argv[1:])"
)
"""How a function is called: with texts, always, as a program would get them."""


UNIGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores for itself, and a program that it starts must not inherit ignored."""


class NoTarget(HakuRiverError):
    """As a shell has it: 127 for what is not there, 126 for what cannot be run."""

    kind, exit_code = "no_target", 127


class NotExecutable(NoTarget):
    exit_code = 126


class Target(NamedTuple):
    """The program to start, and its first arguments; what follows APP follows them."""

    path: str
    argv: tuple[str, ...]


class Targets:
    """Finds what words mean, each word once. modules: only modules are looked for."""

    def __init__(self, *, modules: bool) -> None:
        self._find = _module if modules else _anything
        self._known: dict[str, Target] = {}

    def find(self, app: str) -> Target:
        """Raises NoTarget."""
        if app not in self._known:
            self._known[app] = self._find(app)
        return self._known[app]


def become(target: Target, words: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """A run with nothing to watch takes our place: terminal, signals, exit code and all."""
    for number in UNIGNORED:
        signal.signal(number, signal.SIG_DFL)
    argv = argv_of(target, words)
    try:
        try:
            os.execve(target.path, argv, environ)
        except OSError as error:
            if error.errno != errno.ENOEXEC:  # a script without #!, which a shell runs itself
                raise
            os.execve("/bin/sh", ["sh", target.path, *argv[1:]], environ)
    except OSError as error:
        raise NotExecutable(f"cannot start {words[0]}: {error.strerror}") from None


def _anything(app: str) -> Target:
    if "/" in app:
        return Target(_executable(app), (app,))
    program = on_path(app)
    if program:
        return Target(program, (app,))
    here = os.path.isfile(app)
    if not here and _is_module(app):
        return _module(app)
    if here:
        hint = f"There is a file of that name here: {_how_to_run(app)}"
    else:
        hint = "It is looked for on PATH, then among the modules of Python, from this folder on."
    raise NoTarget(f"there is no program and no module '{app}'", hint)


def _how_to_run(name: str) -> str:
    return f"python {name}" if name.endswith(".py") else f"./{name}"


def on_path(name: str) -> str:
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def _executable(path: str) -> str:
    if not os.path.exists(path):
        raise NoTarget(f"there is no file {path}")
    if os.path.isdir(path):
        raise NotExecutable(f"{path} is a folder")
    if not os.access(path, os.X_OK):
        hint = f"Make it so with chmod +x {path}"
        raise NotExecutable(
            f"{path} is not executable",
            f"{hint}, or write python {path}." if path.endswith(".py") else f"{hint}.",
        )
    return path


def _module(app: str) -> Target:
    if not _is_module(app):
        raise NoTarget(
            f"there is no module '{app}' for {sys.executable}",
            "It is looked for in this folder, and then where Python looks.",
        )
    if ":" in app:
        return Target(sys.executable, (sys.executable, "-c", CALL, app))
    return Target(sys.executable, (sys.executable, "-m", app))


def _is_module(app: str) -> bool:
    """Whether it can be one: nothing of the user's is imported into this process."""
    name, colon, attributes = app.partition(":")
    parts = [*name.split("."), *(attributes.split(".") if colon else ())]
    if not all(part.isidentifier() for part in parts):
        return False
    top = parts[0]
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return True
    return PathFinder.find_spec(top, [os.getcwd(), *sys.path[1:]]) is not None


def argv_of(target: Target, words: Sequence[str]) -> list[str]:
    return [*target.argv, *words[1:]]
