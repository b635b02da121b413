"""The one file that users copy around: same bytes each time, right exit codes, runs anywhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build_zipapp
import hakuriver
from tests.support import needs

LOCKS = ("vendor.lock", "dashboard.lock")
SENTENCE = "hakuriver: error: Python 3.10 or newer is needed, "
ROOT = Path(__file__).resolve().parent.parent
STUB = """
import sys

def main(argv):
    print(argv)
    return int(argv[0])
"""
PRETEND = "import runpy, sys; sys.version_info = (3, 6, 15); runpy.run_path(sys.argv[1], run_name='__main__')"


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A .pyz of a package whose main() returns its first argument."""
    package = tmp_path / "source" / "hakuriver"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").touch()
    package.joinpath("__main__.py").write_text(STUB)
    package.joinpath("keeper.sh").write_text("exit 0\n")
    package.joinpath("system").mkdir()
    for name in ("__init__.py", "bytecode.py", "bytecode_writing.py"):
        shutil.copy(ROOT / "hakuriver" / "system" / name, package / "system")
    package.joinpath("__pycache__").mkdir()
    package.joinpath("__pycache__", "left.pyc").touch()
    package.joinpath(".hidden").touch()
    package.parent.joinpath("LICENSE").touch()
    for lock in LOCKS:
        package.parent.joinpath(lock).write_text("# nothing\n")
    package.parent.joinpath("secret.txt").touch()
    build_zipapp.build(package.parent, tmp_path / "stub.pyz")
    return tmp_path / "stub.pyz"


def run(*argv: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    needs.needs(needs.npm())
    build_zipapp.fetch(ROOT)
    build_zipapp.fetch_from_npm(ROOT)
    for copy in ("one", "two"):
        shutil.copytree(ROOT / "hakuriver", tmp_path / copy / "hakuriver")
        shutil.copy(ROOT / "LICENSE", tmp_path / copy)
        for lock in LOCKS:
            shutil.copy(ROOT / lock, tmp_path / copy)
        shutil.copytree(ROOT / ".build", tmp_path / copy / ".build")
    os.utime(tmp_path / "two" / "LICENSE", (1, 1))
    (tmp_path / "two" / "LICENSE").chmod(0o600)
    for copy in ("one", "two"):
        build_zipapp.build(tmp_path / copy, tmp_path / f"{copy}.pyz")
    assert (tmp_path / "one.pyz").read_bytes() == (tmp_path / "two.pyz").read_bytes()


def test_holds_the_package_and_nothing_else(stub: Path) -> None:
    names = zipfile.ZipFile(stub).namelist()
    assert names == sorted(names)
    assert names == [
        "LICENSE",
        "__main__.py",
        "hakuriver/__init__.py",
        "hakuriver/__main__.py",
        "hakuriver/keeper.sh",
        "hakuriver/system/__init__.py",
        "hakuriver/system/bytecode.py",
        "hakuriver/system/bytecode_writing.py",
    ]


def test_entries_carry_nothing_of_the_machine_that_built_them(stub: Path) -> None:
    for info in zipfile.ZipFile(stub).infolist():
        assert (info.date_time, info.create_system, info.external_attr, info.extra) == (
            (1980, 1, 1, 0, 0, 0),
            3,
            0o100644 << 16,
            b"",
        )


def test_is_executable_by_everybody_and_leaves_nothing_beside_it(stub: Path) -> None:
    assert stat.S_IMODE(stub.stat().st_mode) == 0o755
    assert stub.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert sorted(path.name for path in stub.parent.iterdir()) == ["source", "stub.pyz"]


def test_a_failed_build_leaves_the_old_file_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.pyz"
    output.write_text("old")
    with pytest.raises(FileNotFoundError):
        build_zipapp.build(tmp_path / "nowhere", output)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_packages_are_inside_with_their_licences(pyz: Path) -> None:
    names = zipfile.ZipFile(pyz).namelist()
    for line in (ROOT / "vendor.lock").read_text().splitlines():
        if not line.startswith("#"):
            package = line.partition("==")[0].replace("-", "_")
            assert f"{package}/__init__.py" in names
            assert any(name.startswith(f"licenses/{package}/LICEN") for name in names), package
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import docker, tomli; print(docker.__file__)"
    )
    done = run(needs.base_python(), "-I", "-c", script, pyz)
    assert done.stdout == f"{pyz}/docker/__init__.py\n", done.stderr


def test_what_was_fetched_once_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_zipapp.fetch(ROOT)
    shutil.copy(ROOT / "vendor.lock", tmp_path)
    shutil.copytree(ROOT / ".build", tmp_path / ".build")
    monkeypatch.setattr(build_zipapp, "_download", None)
    assert len(build_zipapp.fetch(tmp_path)) == len(build_zipapp.fetch(ROOT))


def test_a_package_with_other_bytes_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vendor.lock").write_text("evil==1 --hash=sha256:" + "0" * 64 + "\n")
    (tmp_path / ".build" / "wheels").mkdir(parents=True)
    (tmp_path / ".build" / "wheels" / "evil-1-py3-none-any.whl").write_bytes(b"evil")
    monkeypatch.setattr(build_zipapp, "_download", lambda root, folder: None)
    with pytest.raises(build_zipapp.CannotBuild, match="evil==1"):
        build_zipapp.fetch(tmp_path)


def test_without_a_registry_the_error_says_what_to_do(tmp_path: Path) -> None:
    for lock in LOCKS:
        shutil.copy(ROOT / lock, tmp_path)
    shutil.copy(ROOT / "build_zipapp.py", tmp_path)
    environ = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    done = subprocess.run(
        [sys.executable, tmp_path / "build_zipapp.py"], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "It needs a package registry" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_npm_the_error_names_the_ways_that_are_left(tmp_path: Path) -> None:
    for lock in LOCKS:
        shutil.copy(ROOT / lock, tmp_path)
    shutil.copytree(ROOT / "hakuriver", tmp_path / "hakuriver")
    shutil.copytree(ROOT / ".build" / "wheels", tmp_path / ".build" / "wheels")
    for name in ("build_zipapp.py", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    argv = [sys.executable, str(tmp_path / "build_zipapp.py")]
    environ = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "npm could not fetch" in done.stderr
    assert "--without-dashboard" in done.stderr
    assert "Traceback" not in done.stderr
    argv += ["--without-dashboard"]
    assert subprocess.run(argv, env=environ, capture_output=True).returncode == 0
    names = zipfile.ZipFile(tmp_path / "dist" / "hakuriver.pyz").namelist()
    assert not any("/vendor/" in name for name in names)


def test_what_the_dashboard_uses_of_others_is_inside_with_its_licences(pyz: Path) -> None:
    needs.needs(needs.npm())
    archive = zipfile.ZipFile(pyz)
    listed = json.loads(archive.read("licenses/packages.json"))
    for package in build_zipapp.fetch_from_npm(ROOT):
        assert listed[package.name]["licence"] == "MIT"
        assert archive.read(f"licenses/{package.name}/LICENSE")
        for name in package.wanted.values():
            assert archive.read(f"{build_zipapp.VENDOR}/{name}")
    assert pyz.stat().st_size < 3_000_000


def test_files_of_npm_with_other_bytes_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dashboard.lock").write_text("evil@1.0.0 sha256:" + "0" * 64 + " a=b\n")
    (tmp_path / ".build" / "npm").mkdir(parents=True)
    (tmp_path / ".build" / "npm" / "evil-1.0.0.tgz").write_bytes(b"evil")
    monkeypatch.setattr(build_zipapp, "_npm_pack", lambda root, lock, requirements: None)
    with pytest.raises(build_zipapp.CannotBuild, match=r"evil@1\.0\.0"):
        build_zipapp.fetch_from_npm(tmp_path)


@pytest.mark.parametrize("code", [0, 2, 7, 125])
def test_returns_the_exit_code(stub: Path, code: int) -> None:
    done = run(sys.executable, stub, code, "a b", "")
    assert (done.returncode, done.stdout) == (code, f"['{code}', 'a b', '']\n")


def test_ctrl_c_while_it_is_being_imported_is_no_traceback(tmp_path: Path, stub: Path) -> None:
    package = tmp_path / "source" / "hakuriver"
    package.joinpath("__main__.py").write_text("raise KeyboardInterrupt\n")
    build_zipapp.build(package.parent, stub)
    from_checkout = shutil.copy(ROOT / "hakuriver.py", package.parent)
    for program in (stub, from_checkout):
        done = run(sys.executable, program)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), program


def test_runs_by_its_shebang_from_a_read_only_folder_with_spaces(
    stub: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    moved = stub.rename(folder / "my haku.pyz")
    folder.chmod(0o555)
    try:
        assert run(moved, 7, cwd=Path("/")).returncode == 7
        assert run(sys.executable, moved.name, 7, cwd=folder).returncode == 7
        assert [path.name for path in folder.iterdir()] == ["my haku.pyz"]
    finally:
        folder.chmod(0o755)


def test_the_real_one_tells_its_version(pyz: Path) -> None:
    done = run(sys.executable, "-I", pyz, "--version", cwd=Path("/"))
    assert (done.returncode, done.stderr) == (0, "")
    assert hakuriver.__version__ in done.stdout


def test_the_real_one_returns_exit_codes(pyz: Path) -> None:
    done = run(sys.executable, "-I", pyz, "no-such-command", cwd=Path("/"))
    assert done.returncode == 2
    assert "no-such-command" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_gets_one_sentence(stub: Path) -> None:
    done = run(sys.executable, "-c", PRETEND, stub)
    assert done.returncode == 2
    assert done.stderr == f"{SENTENCE}{sys.executable} is Python 3.6\n"


def old_pythons() -> list[Path]:
    """Interpreters before 3.10 that happen to be here; a machine without any is a usual one."""
    versions = (Path.home() / ".pyenv" / "versions").glob("[23].[0-9].*/bin/python")
    return sorted(versions)


def test_real_old_pythons_get_one_sentence(stub: Path) -> None:
    for python in old_pythons():
        done = run(python, stub)
        assert (done.returncode, done.stdout) == (2, ""), python
        assert done.stderr.startswith(SENTENCE), python
        assert done.stderr.count("\n") == 1, python


def test_the_build_names_the_content(tmp_path: Path) -> None:
    said = []
    for keeper in ("exit 0\n", "exit 0\n", "exit 1\n"):
        package = tmp_path / "hakuriver"
        package.mkdir(exist_ok=True)
        (package / "keeper.sh").write_text(keeper)
        (tmp_path / "LICENSE").touch()
        for lock in LOCKS:
            (tmp_path / lock).write_text("# nothing\n")
        build_zipapp.build(tmp_path, tmp_path / "file.pyz")
        main = zipfile.ZipFile(tmp_path / "file.pyz").read("__main__.py").decode()
        said.append(main.partition('BUILD = "')[2].partition('"')[0])
    assert said[0] == said[1] != said[2]
    assert {len(build) for build in said} == {64}
