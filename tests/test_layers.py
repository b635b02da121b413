"""Who may import whom: model <- system <- the four programs <- __main__, up and links."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hakuriver"
PROGRAMS = {"host", "runner", "client", "hakurun"}
MAY_IMPORT = {
    "hakuriver": set[str](),  # hakuriver/__init__.py: the version, for everybody
    "model": {"hakuriver", "model"},
    "system": {"hakuriver", "model", "system"},
    **{program: {"hakuriver", "model", "system", program} for program in PROGRAMS},
    **{
        top: {"hakuriver", "model", "system", *PROGRAMS, "up", "links", "__main__"}
        for top in ("__main__", "up", "links")
    },
}
OPTIONAL = {"docker", "psutil", "tomli"}
PURE = {
    "__future__", "abc", "base64", "bisect", "collections", "copy", "csv", "dataclasses",
    "datetime", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools", "hashlib",
    "heapq", "io", "itertools", "json", "math", "operator", "re", "shlex", "string", "struct",
    "textwrap", "types", "typing", "unicodedata", "urllib.parse",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today"}
LINES_MAX = 400

FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of every import below node, those inside functions included."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from ((alias.name, found.lineno) for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            assert not found.level, f"line {found.lineno}: relative import; write the whole name"
            if found.module in ("hakuriver", "urllib"):
                yield from ((f"{found.module}.{alias.name}", found.lineno) for alias in found.names)
            else:
                yield str(found.module), found.lineno


def layer_of_file(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "hakuriver" if first == "__init__" else first


def layer_of_import(name: str) -> str:
    """The layer that "hakuriver.x.y" reaches; `from hakuriver import __version__` is the root's."""
    first = [*name.split("."), ""][1]
    return first if first in MAY_IMPORT else "hakuriver"


def guarded(tree: ast.Module) -> set[int]:
    """Lines of imports that are inside a try, so that a missing package is an answer."""
    return {
        line for node in ast.walk(tree) if isinstance(node, ast.Try) for _, line in imports(node)
    }


@every_file
def test_imports_point_down(file: Path) -> None:
    layer = layer_of_file(file)
    assert layer in MAY_IMPORT, f"{file}: '{layer}' is no layer; a module belongs into one of them"
    for name, line in imports(parse(file)):
        if name.split(".")[0] != "hakuriver":
            continue
        reached = layer_of_import(name)
        assert reached in MAY_IMPORT[layer], (
            f"{file}:{line}: {layer} imports {name}. Imports point one way, model <- system <- "
            f"{{host, runner, client, hakurun}} <- {{__main__, up}}, and the four programs never import "
            f"each other: what two of them need belongs into model (words and rules) or system (mechanisms)."
        )


@every_file
def test_only_the_standard_library_is_needed(file: Path) -> None:
    tree = parse(file)
    safe = guarded(tree)
    for name, line in imports(tree):
        top = name.split(".")[0]
        if top == "hakuriver" or (top in sys.stdlib_module_names):
            continue
        assert top in OPTIONAL, (
            f"{file}:{line}: {name}: nodes have nothing but Python's own library."
        )
        assert line in safe, f"{file}:{line}: {name} may be missing: import it inside a try."


@pytest.mark.parametrize(
    "file", sorted((PACKAGE / "model").rglob("*.py")), ids=lambda file: file.name
)
def test_the_model_is_pure(file: Path) -> None:
    tree = parse(file)
    for name, line in imports(tree):
        known = name.startswith("hakuriver") or {name, name.split(".")[0]} & PURE
        assert known, (
            f"{file}:{line}: the model imports {name}. It holds words and rules: no I/O, no clock, no "
            "threads; what needs those belongs into system or a program. (Is it pure? Then add it to PURE.)"
        )
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = getattr(call.func, "id", getattr(call.func, "attr", ""))
        assert called not in IMPURE_CALLS, (
            f"{file}:{call.lineno}: the model calls {called}(): times and data are passed in."
        )


@every_file
def test_no_file_is_too_long_to_read(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX, f"{file} has {lines} lines, more than {LINES_MAX}: split it by noun."


def test_the_rules_see_what_they_forbid() -> None:
    tree = ast.parse(
        "def f():\n    from hakuriver.host import main\ntry:\n    import psutil\nexcept E:\n    pass"
    )
    assert sorted(imports(tree)) == [("hakuriver.host", 2), ("psutil", 4)]
    assert guarded(tree) == {4}
    assert layer_of_import("hakuriver.host.main") == "host"
    assert layer_of_import("hakuriver.__version__") == layer_of_import("hakuriver") == "hakuriver"
