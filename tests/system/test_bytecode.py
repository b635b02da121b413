"""Compiled modules are kept where only we can write, and never matter."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import needs

HELP = ("client", "status", "--help")


def start(pyz: Path, cache: Path, *argv: str, **environ: str) -> str:
    done = subprocess.run(
        [needs.base_python(), str(pyz), *argv],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "XDG_CACHE_HOME": str(cache),
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def folder_of(cache: Path) -> Path:
    (folder,) = (cache / "hakuriver").iterdir()
    return folder


def test_what_was_compiled_once_is_not_compiled_again(pyz: Path, tmp_path: Path) -> None:
    first = start(pyz, tmp_path, *HELP)
    folder = folder_of(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert "hakuriver.client.main" in before
    assert start(pyz, tmp_path, *HELP) == first
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"x", b"\0\0\0\0", b"\0" * 500])
def test_what_is_damaged_is_compiled_again(pyz: Path, tmp_path: Path, content: bytes) -> None:
    first = start(pyz, tmp_path, *HELP)
    for path in folder_of(tmp_path).iterdir():
        path.write_bytes(content)
    assert start(pyz, tmp_path, *HELP) == first
    assert (folder_of(tmp_path) / "hakuriver.client.main").read_bytes() != content


def test_another_build_has_another_folder_and_the_oldest_go(pyz: Path, tmp_path: Path) -> None:
    for age in range(9):
        old = tmp_path / "hakuriver" / f"build{age}-cpython"
        old.mkdir(parents=True)
        (old / "module").touch()
        os.utime(old, (age, age))
    start(pyz, tmp_path, *HELP)
    left = {path.name for path in (tmp_path / "hakuriver").iterdir()}
    assert len(left) == 4
    assert {"build8-cpython", "build7-cpython", "build6-cpython"} < left


def test_nothing_is_written_where_python_may_write_nothing(pyz: Path, tmp_path: Path) -> None:
    start(pyz, tmp_path, *HELP, PYTHONDONTWRITEBYTECODE="1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cache", ["relative", "/proc/nowhere", "/dev/null"])
def test_a_place_that_cannot_be_written_does_not_matter(pyz: Path, cache: str) -> None:
    assert start(pyz, Path(cache), *HELP).startswith("usage: ")


def test_code_of_others_is_not_run(pyz: Path, tmp_path: Path) -> None:
    start(pyz, tmp_path, *HELP)
    folder = folder_of(tmp_path)
    folder.chmod(0o777)
    for path in folder.iterdir():
        path.write_bytes(b"theirs")
    start(pyz, tmp_path, *HELP)
    assert {path.read_bytes() for path in folder.iterdir()} == {b"theirs"}


def test_a_link_in_place_of_the_folder_is_not_followed(pyz: Path, tmp_path: Path) -> None:
    start(pyz, tmp_path, *HELP)
    folder = folder_of(tmp_path)
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    start(pyz, tmp_path, *HELP)
    assert list((tmp_path / "elsewhere").iterdir()) == []
