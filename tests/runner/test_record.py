"""Records are written by strangers: whatever lies there, the answer is a fact or "nothing known"."""

from __future__ import annotations

import os
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest

import hakuriver.runner.record as module
from hakuriver.runner.record import (
    ExitRecord,
    Started,
    claim,
    keeper_argv,
    load_keeper,
    parse_exit,
    read_exit,
    read_started,
)
from tests.support.needs import base_python

LINE = b"exit 0 oom=- peak=- cpu_us=-\n"


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (LINE, ExitRecord(0, "", None, None, None)),
        (b"exit 255 oom=0 peak=0 cpu_us=0\n", ExitRecord(255, "", 0, 0, 0.0)),
        (b"exit 137 oom=2 peak=33554432 cpu_us=1500000\n", ExitRecord(137, "", 2, 33554432, 1.5)),
        (
            b"exit 0 oom=- peak=9223372036854775807 cpu_us=-\n",
            ExitRecord(0, "", None, 2**63 - 1, None),
        ),
        (b"unable workdir\n", ExitRecord(None, "workdir", None, None, None)),
        (b"unable stdout\n", ExitRecord(None, "stdout", None, None, None)),
        (b"unable stderr\n", ExitRecord(None, "stderr", None, None, None)),
        (b"unable env\n", ExitRecord(None, "env", None, None, None)),
        (LINE + b" " * 99, ExitRecord(0, "", None, None, None)),
    ],
)
def test_complete_line_is_a_record(text: bytes, record: ExitRecord) -> None:
    assert parse_exit(text) == record


@pytest.mark.parametrize("length", range(len(LINE)))
def test_part_of_a_line_is_no_record(length: int) -> None:
    assert parse_exit(LINE[:length]) is None


@pytest.mark.parametrize(
    "text",
    [
        b"exit 256 oom=- peak=- cpu_us=-\n",
        b"exit -1 oom=- peak=- cpu_us=-\n",
        b"exit 0\n",
        b"exit 0 oom= peak= cpu_us=\n",
        b"exit 0 oom=1e3 peak=- cpu_us=-\n",
        b"exit 0 oom=- peak=99999999999999999999 cpu_us=-\n",
        "exit ٣ oom=- peak=- cpu_us=-\n".encode(),
        LINE + LINE,
        b" " + LINE,
        b"unable\n",
        b"unable memory\n",
        b"unable stdoutstderr\n",
        b"\0" * 100,
        b" " * 128,
        LINE + b"  x",
        LINE + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_garbage_is_no_record(text: bytes) -> None:
    assert parse_exit(text) is None


def test_exit_is_read_with_its_time(tmp_path: Path) -> None:
    assert read_exit(tmp_path) is None
    (tmp_path / "exit").write_bytes(LINE)
    os.utime(tmp_path / "exit", (1000, 1234.5))
    assert read_exit(tmp_path) == (ExitRecord(0, "", None, None, None), 1234.5)


@pytest.mark.parametrize(
    "kind", ["symlink", "fifo", "folder", "huge", "socket", "device link", "empty"]
)
def test_strange_file_is_no_record(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "record"
    folder.mkdir()
    (tmp_path / "elsewhere").write_bytes(LINE)
    for name in ("exit", "started"):
        path = folder / name
        if kind == "symlink":
            path.symlink_to(tmp_path / "elsewhere")
        elif kind == "device link":
            path.symlink_to("/dev/zero")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            bind(path)
        else:
            path.write_bytes(LINE * 1000 if kind == "huge" else b"")
    assert read_exit(folder) is None
    started = read_started(folder)
    assert started is not None
    assert (started.pid, started.by_runner) == (None, False)
    assert claim(folder) is False


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        descriptor = os.open(path.parent, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")  # within 108 bytes
        finally:
            os.close(descriptor)


def test_errors_of_our_own_are_not_taken_for_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(24, "Too many open files")

    (tmp_path / "exit").write_bytes(LINE)
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="Too many"):
        read_exit(tmp_path)


@pytest.mark.parametrize(
    ("text", "pid"), [(b"17\n", 17), (b"", None), (b"17", None), (b"x\n", None), (b"1\n2\n", None)]
)
def test_started_by_a_keeper(tmp_path: Path, text: bytes, pid: int | None) -> None:
    assert read_started(tmp_path) is None
    (tmp_path / "started").write_bytes(text)
    os.utime(tmp_path / "started", (1000, 1234.5))
    assert read_started(tmp_path) == Started(pid, by_runner=False, at=1234.5)


def test_first_claim_wins(tmp_path: Path) -> None:
    assert claim(tmp_path) is True
    assert claim(tmp_path) is False
    started = read_started(tmp_path)
    assert started is not None
    assert (started.pid, started.by_runner) == (None, True)


def test_claim_of_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "gone")


def test_argv_of_the_keeper() -> None:
    argv = keeper_argv(
        record="/r",
        out="/o",
        err="/e",
        workdir="/w",
        counters=True,
        env_names=["A", "B"],
        argv=["c", ""],
    )
    assert argv == [
        load_keeper(),
        "hakuriver",
        "/r",
        "/o",
        "/e",
        "/w",
        "cgroup",
        "2",
        "A",
        "B",
        "c",
        "",
    ]


def test_keeper_is_found_inside_an_archive(tmp_path: Path) -> None:
    package = Path(module.__file__).parent.parent
    archive = tmp_path / "x.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("__init__.py", "runner/__init__.py", "runner/record.py", "runner/keeper.sh"):
            packed.write(package / name, f"hakuriver/{name}")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from hakuriver.runner import record\n"
        "print(record.__file__); print(record.load_keeper(), end='')"
    )
    argv = [base_python(), "-I", "-c", code, str(archive)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    where, _, text = done.stdout.partition("\n")
    assert where.startswith(str(archive))
    assert text == load_keeper()
