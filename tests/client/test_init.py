"""init config: a private file, whole or not at all, and never over another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hakuriver.system.config import load_config
from tests.client.conftest import Client


@pytest.fixture
def _open_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("argv", [["init"], ["init", "config"]])
@pytest.mark.usefixtures("_open_umask")
def test_a_private_file_is_written_and_named(
    hakuriver: Client, home: Path, argv: list[str]
) -> None:
    ended = hakuriver(*argv)
    file = home / "config.toml"
    assert (ended.code, ended.out) == (0, f"{file}\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert len(load_config().token) == 48
    assert [path.name for path in home.iterdir()] == ["config.toml"]


def test_every_file_has_a_token_of_its_own(hakuriver: Client, tmp_path: Path) -> None:
    hakuriver("init", "--output", str(tmp_path / "a"))
    hakuriver("init", "--output", str(tmp_path / "b"))
    assert load_config(str(tmp_path / "a")).token != load_config(str(tmp_path / "b")).token


def test_a_file_that_is_there_stays(hakuriver: Client, home: Path) -> None:
    home.mkdir()
    file = home / "config.toml"
    file.write_text("broken [[[")
    ended = hakuriver("init")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.startswith(f"hakuriver init: error: {file} exists already\n  hint: ")
    assert file.read_text() == "broken [[["
    assert [path.name for path in home.iterdir()] == ["config.toml"]


def test_force_replaces_it_without_reading_it(hakuriver: Client, home: Path) -> None:
    home.mkdir(mode=0o755)
    file = home / "config.toml"
    file.write_text("broken [[[")
    file.chmod(0o644)
    assert hakuriver("init", "config", "--force").code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_config().token


def test_json_and_quiet(hakuriver: Client, home: Path, tmp_path: Path) -> None:
    assert hakuriver("init", "--json").json == {"path": str(home / "config.toml")}
    ended = hakuriver("init", "--json")
    assert (ended.code, ended.out) == (5, "")
    assert '"error": "conflict"' in ended.err
    ended = hakuriver("init", "-q", "--output", str(tmp_path / "x" / "c.toml"))
    assert (ended.out, ended.err) == (f"{tmp_path / 'x' / 'c.toml'}\n", "")


@pytest.mark.parametrize("argv", [["init", "service"], ["init", "--bogus"]])
def test_what_it_cannot_do_is_a_usage_error(hakuriver: Client, argv: list[str]) -> None:
    assert hakuriver(*argv).code == 2


@pytest.mark.parametrize("argv", [["servic"], ["--force", "service"]])
def test_a_word_that_is_none_of_its_own_is_told_all_of_them(
    hakuriver: Client, home: Path, argv: list[str]
) -> None:
    ended = hakuriver("init", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert f"init writes no '{argv[-1]}'" in ended.err
    assert "config, service or links" in ended.err
    assert not (home / "config.toml").exists()


def test_a_folder_that_cannot_be_made_is_named(hakuriver: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = hakuriver("init", "--output", str(tmp_path / "file" / "c.toml"))
    assert ended.code != 0
    assert str(tmp_path / "file") in ended.err
    assert "internal" not in ended.err
