"""The files of the dashboard: those and no others."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

import hakuriver.host
from hakuriver.host.pages import Pages
from hakuriver.model.errors import NotFound

FOLDER = Path(hakuriver.host.__file__).parent / "dashboard"
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file())


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_can_be_had(file: Path) -> None:
    folder = "" if str(file.parent) == "." else str(file.parent)
    page = Pages().get(folder, file.name)
    assert page.body == (FOLDER / file).read_bytes() == gzip.decompress(page.zipped)
    assert page.tag.startswith('"')


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("", "nothing.js"), ("", "../main.py"), ("..", "main.py"), ("", "..%2fmain.py"), ("", ".hidden.js"), ("", "app.py"), ("pages/..", "app.js"),
        ("", ""), ("vendor", "vue.js\n"), ("", "APP.JS"), ("", "app.js/"), ("pages", "app.js"),
    ],
)  # fmt: skip
def test_nothing_else_can(folder: str, name: str) -> None:
    with pytest.raises(NotFound):
        Pages().get(folder, name)


def test_the_page_names_only_files_that_are_there() -> None:
    for file in FILES:
        if file.suffix == ".js":
            for name in re.findall(r'from "(\.[^"]+)"', (FOLDER / file).read_text()):
                target = (FOLDER / file.parent / name).resolve()
                assert target.is_file() or target.parent == FOLDER / "vendor", f"{file}: {name}"
