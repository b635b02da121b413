"""The documentation as the tests read it: pages, their fenced blocks, the commands in those.

What the language of a block means here:
  sh          typed line by line, in order, one terminal for a page; "sh docker" needs an engine
  text        right behind a sh block: lines that it prints, "…" stands for anything
  toml        goes into config.toml
  anything else is for people: other machines, what an editor shows, what a program sends
In a sh block a line that ends with "&" goes on in the background, and "# exit code N" at the end
of a line says how it ends if not with 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CHINESE = ROOT / "README.zh.md"
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
PAGES = (README, *DOCS)

_FENCE = re.compile(r"^```(.*)$")
_EXIT_CODE = re.compile(r"\s*# exit code (\d+)$")


@dataclass(frozen=True, slots=True)
class Block:
    """language is all that stands behind the opening fence; line counts from 1."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    text: str
    exit_code: int = 0

    @property
    def in_background(self) -> bool:
        return self.text.endswith("&")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def everything() -> str:
    return "\n".join(map(read, PAGES))


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    language: str | None = None
    lines: list[str] = []
    start = 0
    for number, line in enumerate(read(page).splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif language is None:
            language, lines, start = fence[1].strip(), [], number + 1
        else:
            found.append(Block(language, "\n".join(lines), start))
            language = None
    assert language is None, f"{page.name}: the block from line {start} is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """A line that ends with a backslash goes on in the next one."""
    found = []
    for line in block.text.replace("\\\n", "").splitlines():
        code = _EXIT_CODE.search(line)
        text = _EXIT_CODE.sub("", line).strip()
        if text and not text.startswith("#"):
            found.append(Command(text, int(code[1]) if code else 0))
    return found


def table_rows(page: Path, heading: str) -> list[tuple[str, ...]]:
    """The cells of the first table below a heading, without its head."""
    section = read(page).partition(f"\n{heading}\n")[2]
    assert section, f"{page.name} has no heading {heading!r}"
    lines = section[section.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def differences(wanted: list[str], text: str) -> list[str]:
    """Those of the lines that are not in the text."""
    present = set(text.splitlines())
    return [line for line in wanted if line not in present]
