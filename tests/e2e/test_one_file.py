"""The one file while it is in use: what is inside loads, and replacing it breaks nothing that runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.cluster import Cluster

INSIDE = "import sys; sys.path.insert(0, sys.argv[1]); "


@pytest.fixture
def file(pyz: Path, tmp_path: Path) -> Path:
    """A copy of the artefact, to be replaced."""
    return Path(shutil.copy(pyz, tmp_path / "haku river.pyz"))


@pytest.fixture
def copied(file: Path) -> Iterator[Cluster]:
    with Cluster([needs.base_python(), str(file)]) as cluster:
        yield cluster


def python(code: str, *args: object, **environ: str) -> str:
    done = subprocess.run(
        [needs.base_python(), "-I", "-W", "error", "-c", code, *map(str, args)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def replace_in_place(file: Path) -> None:
    file.write_bytes(b"#!/bin/false\n" + os.urandom(file.stat().st_size))


def replace_by_rename(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_bytes(b"something else\n")
    other.rename(file)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("replace", [replace_in_place, replace_by_rename, remove])
def test_host_and_runner_outlive_their_file(
    copied: Cluster, file: Path, pyz: Path, replace: Callable[[Path], None]
) -> None:
    copied.start_host()
    copied.start_runner()
    replace(file)
    copied.program = [needs.base_python(), str(pyz)]
    done = copied.client(
        "--wait", "--", "sh", "-c", "hakurun echo span:{1..2}; exit 3", check=False
    )
    assert done.returncode == 3, done.err
    assert copied.output("1").split() == [b"1", b"2"]
    # Everything that is imported only when asked for: environments, shells, an error's own words.
    for argv in (["docker", "list-tars"], ["client", "shell", "99"], ["client", "nodes"]):
        assert "internal" not in copied.run(*argv, check=False).err
    for program in copied.programs:
        assert "ImportError" not in program.log_text()


def test_ps_shows_the_file_that_was_started(copied: Cluster, file: Path) -> None:
    copied.start_host()
    words = Path(f"/proc/{copied.host.pid}/cmdline").read_bytes().split(b"\0")
    assert words[1:3] == [str(file).encode(), b"host"]


def test_up_outlives_its_file(file: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    waiting = f"echo begun; until [ -e '{release}' ]; do sleep 0.05; done; echo ended; exit 4"
    environ = {**os.environ, "HAKURIVER_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [needs.base_python(), str(file), "up", "--once", "--port", "0", "--", "sh", "-c", waiting],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"begun\n"
        replace_in_place(file)
        release.touch()
        out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"ended\n", 4), err


def test_psutil_is_loaded_from_memory(pyz: Path) -> None:
    code = INSIDE + (
        "from hakuriver.runner import vitals; from hakuriver.system.native import import_psutil;"
        "print(import_psutil().__file__); print(import_psutil()._pslinux.cext.__file__);"
        "print(vitals.from_psutil()().memory_total == vitals.from_proc().memory_total)"
    )
    package, library, same = python(code, pyz).splitlines()
    assert package == f"{pyz}/psutil/__init__.py"
    assert library.startswith("/proc/self/fd/")
    assert same == "True"


@pytest.mark.parametrize(
    "broken",
    [
        "import platform; platform.machine = lambda: 'riscv64'",
        "import os; del os.memfd_create",
        "import os; os.memfd_create = lambda *a: open('/nonexistent')",
    ],
)
def test_where_psutil_does_not_load_proc_is_read(pyz: Path, broken: str) -> None:
    code = (
        f"{INSIDE}{broken}; from hakuriver.runner import vitals; "
        "print(vitals.from_psutil()); print(vitals.Meter().read().memory_total > 0)"
    )
    assert python(code, pyz).split() == ["None", "True"]


def test_both_machines_libraries_are_inside(pyz: Path) -> None:
    code = INSIDE + (
        "import zipimport; z = zipimport.zipimporter(sys.argv[1]);"
        "print(*(int.from_bytes(z.get_data(f'{sys.argv[1]}/psutil/_psutil_linux.{m}.so')[18:20],"
        " 'little') for m in ('x86_64', 'aarch64')))"
    )
    assert python(code, pyz).split() == ["62", "183"]  # e_machine of elf(5)


@pytest.mark.docker
def test_the_docker_sdk_reaches_the_engine_and_unpacks_nothing(pyz: Path, tmp_path: Path) -> None:
    code = INSIDE + (
        "import docker; c = docker.from_env(); print(c.version()['ApiVersion']); c.close();"
        "print(docker.__file__)"
    )
    version, place = python(code, pyz, TMPDIR=str(tmp_path / "none")).split()
    assert version
    assert place == f"{pyz}/docker/__init__.py"


def test_licences_are_listed_and_printed(cluster: Cluster) -> None:
    needs.needs(needs.artefact())
    listed = cluster.run("licenses").out
    for name, licence in (("docker", "Apache-2.0"), ("psutil", "BSD-3-Clause"), ("tomli", "MIT")):
        (line,) = (line for line in listed.splitlines() if line.startswith(name))
        assert line.endswith(licence)
    names = [package["name"] for package in json.loads(cluster.run("licenses", "--json").out)]
    for name in names:
        assert len(cluster.run("licenses", name).out) > 500, name
    assert "charset_normalizer" in cluster.run("licenses", "nothing", check=False).err


def test_the_build_is_told(cluster: Cluster) -> None:
    needs.needs(needs.artefact())
    facts = json.loads(cluster.run("--version", "--json").out)
    assert set(facts) == {"name", "version", "build", "protocol", "python"}
    assert len(facts["build"]) == 64


def test_a_file_that_is_replaced_while_it_starts_is_told(pyz: Path, tmp_path: Path) -> None:
    code = INSIDE + (
        "import __main__; __main__.BUILD = 'of the file before';"
        "from hakuriver.system import program\n"
        "try: program.hold()\n"
        "except Exception as error: print(error.detail)"
    )
    assert "was replaced at the very moment of this start" in python(code, pyz)


def test_without_memfd_a_file_without_a_name_is_held(pyz: Path) -> None:
    code = INSIDE + (
        "import os; del os.memfd_create; from hakuriver.system import program; program.hold();"
        "import hakuriver.host.main; print(hakuriver.host.main.__file__)"
    )
    assert python(code, pyz).startswith("/proc/self/fd/")


def test_a_start_of_many_at_once_shares_compiled_modules(pyz: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    argv = [needs.base_python(), str(pyz), "client", "--help"]
    starts = [subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE) for _ in range(6)]
    assert len({start.communicate(timeout=60)[0] for start in starts}) == 1
    (folder,) = (tmp_path / "hakuriver").iterdir()
    assert not [path for path in folder.iterdir() if path.suffix[1:].isdigit()]  # half-written
