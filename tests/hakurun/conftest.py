"""hakurun as users start it: a link of that name to the one file, on PATH."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.processes import files_of_all

MARK = "HAKURUN_TEST"


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


class Shell:
    """A folder to stand in, and an environment in which `hakurun` and `python` are found."""

    def __init__(self, folder: Path, pyz: Path) -> None:
        self.folder = folder
        programs = folder / ".bin"
        programs.mkdir()
        (programs / "hakurun").symlink_to(pyz)
        for name in ("python", "python3"):
            (programs / name).symlink_to(needs.base_python())
        self.environ = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            MARK: str(folder),
        }

    def write(self, name: str, text: str, *, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def __call__(self, *argv: str, **more: str) -> Ended:
        return self.run(["hakurun", *argv], **more)

    def bash(self, line: str) -> Ended:
        needs.needs(needs.shell("bash"))
        return self.run(["bash", "--norc", "-c", line])

    def run(self, argv: Sequence[str], **more: str) -> Ended:
        done = subprocess.run(
            self._found(argv),
            cwd=self.folder,
            env={**self.environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        out, err = (each.decode(errors="backslashreplace") for each in (done.stdout, done.stderr))
        return Ended(done.returncode, out, err)

    def start(self, *argv: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """In the background, with what it says in the file "said"."""
        with open(self.folder / "said", "wb") as said:
            return subprocess.Popen(
                self._found(["hakurun", *argv]),
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=said,
            )

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def left(self) -> list[int]:
        """Processes that were started from here and are not over yet."""
        mark = f"{MARK}={self.folder}".encode()
        return [pid for pid, data in files_of_all("environ") if mark in data.split(b"\0")]

    def _found(self, argv: Sequence[str]) -> list[str]:
        """subprocess looks on the PATH of the tests."""
        own = self.folder / ".bin" / argv[0]
        return [str(own) if own.exists() else argv[0], *argv[1:]]


@pytest.fixture
def shell(tmp_path: Path, pyz: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, pyz)
    yield shell
    for pid in shell.left():
        os.kill(pid, signal.SIGKILL)
