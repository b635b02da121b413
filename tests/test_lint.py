"""The text of the code: linter, formatter, types, and rules of the tests themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lint
ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"


@pytest.mark.parametrize(
    "tool",
    [
        ("ruff", "check", "--output-format", "concise", "."),
        ("ruff", "format", "--check", "."),
        ("mypy", "--strict", "hakuriver", "build_zipapp.py", "tests"),
    ],
    ids=lambda tool: " ".join(tool[:2]),
)
def test_is_content(tool: tuple[str, ...]) -> None:
    argv = [sys.executable, "-m", *tool]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, f"{' '.join(tool)}\n{done.stdout}{done.stderr}"


def sleeps(tree: ast.Module) -> set[int]:
    """Lines that call time.sleep or import it by name."""
    return {
        node.lineno
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "sleep"
            and ast.unparse(node.value) == "time"
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "time"
            and "sleep" in ast.unparse(node)
        )
    }


def test_nothing_but_wait_until_sleeps() -> None:
    allowed = {TESTS / "support" / "wait.py", *(TESTS / "bench").rglob("*.py")}
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path not in allowed
        for line in sorted(sleeps(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert not found, f"wait for a condition with wait_until() instead of sleeping: {found}"


def test_the_rule_against_sleeping_sees_sleeps() -> None:
    assert sleeps(
        ast.parse("import time\ntime.sleep(1)\nfrom time import sleep\n'time.sleep(2)'")
    ) == {2, 3}
