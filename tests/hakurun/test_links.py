"""Names: a link to the one file is the command that it is named after."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.__main__ import COMMANDS, LINKS, role
from tests.hakurun.conftest import Shell

README_NAMES = {
    "hakurun", "hakuriver.client", "hakuriver.docker", "hakuriver.docker-shell", "hakuriver.host",
    "hakuriver.runner", "hakuriver.init",
}  # fmt: skip


def test_every_command_has_a_name_and_the_old_ones_are_among_them() -> None:
    assert set(LINKS) == set(COMMANDS)
    assert set(LINKS.values()) >= README_NAMES


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_is_its_command(command: str) -> None:
    assert role(f"/somewhere/{LINKS[command]}") == [command]


@pytest.mark.parametrize("name", ["hakuriver.pyz", "hakuriver.py", "hakuriver", "python", ""])
def test_any_other_name_is_the_whole_program(name: str) -> None:
    assert role(f"/somewhere/{name}") == []


@pytest.mark.parametrize("name", sorted(README_NAMES))
def test_a_link_shows_the_help_of_its_command(shell: Shell, pyz: Path, name: str) -> None:
    assert shell.run([str(pyz), "init", "links", "names"]).code == 0
    ended = shell.run([str(shell.folder / "names" / name), "--help"])
    assert ended.code == 0
    assert ended.out.startswith(f"usage: {name.replace('.', ' ')} ")


def test_links_are_made_again_without_harm(shell: Shell, pyz: Path) -> None:
    first = shell.run([str(pyz), "init", "links", "names"])
    assert sorted(first.out.split()) == sorted(
        str(shell.folder / "names" / name) for name in LINKS.values()
    )
    assert f'export PATH="{shell.folder}/names:$PATH"' in first.err
    again = shell.run([str(pyz), "init", "links", "names", "--quiet"])
    assert (again.code, again.out, again.err) == (0, first.out, "")
    assert {path.name for path in (shell.folder / "names").iterdir()} == set(LINKS.values())


def test_a_link_can_make_links_to_the_file_itself(shell: Shell, pyz: Path) -> None:
    shell.run([str(pyz), "init", "links", "one"])
    shell.run([str(shell.folder / "one" / "hakuriver.init"), "links", "two"])
    assert (shell.folder / "two" / "hakurun").readlink() == pyz


def test_what_is_no_link_stays(shell: Shell, pyz: Path) -> None:
    (shell.folder / "names").mkdir()
    shell.write("names/hakurun", "mine")
    ended = shell.run([str(pyz), "init", "links", "names"])
    assert ended.code == 5
    assert "is there already, and no link" in ended.err
    assert [path.name for path in (shell.folder / "names").iterdir()] == ["hakurun"]


def test_a_folder_that_cannot_be_written_is_an_error(shell: Shell, pyz: Path) -> None:
    ended = shell.run([str(pyz), "init", "links", "/proc/nowhere"])
    assert ended.code == 1
    assert "cannot make links in /proc/nowhere" in ended.err


def test_a_checkout_says_that_it_has_to_be_built_first(shell: Shell) -> None:
    script = Path(__file__).resolve().parents[2] / "hakuriver.py"
    ended = shell.run(["python3", "-B", str(script), "init", "links", "names"])
    assert ended.code == 2
    assert "python3 build_zipapp.py" in ended.err
