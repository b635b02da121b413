"""A shell that is typed into: one line after the other, with jobs in the background."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from pathlib import Path

TIMEOUT = 90
STOP_TIMEOUT = 30


class Terminal:
    """bash with job control. What is written to it lands in files: one for jobs, one for the rest."""

    def __init__(self, folder: Path, logs: Path, environ: dict[str, str]) -> None:
        self._log = logs / "terminal.log"
        self._jobs_log = logs / "jobs.log"
        for log in (self._log, self._jobs_log):
            log.touch()
        self._codes, write_end = os.pipe()
        self._code_fd = write_end
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[write_end],
            start_new_session=True,
        )
        os.close(write_end)
        self._jobs: list[int] = []
        # Job control, as a terminal has it: jobs are groups, and Ctrl-C is not ignored in them.
        self._type("set -m")

    def run(self, command: str, *, background: bool = False) -> tuple[int, str]:
        """(exit code, what it printed); a job in the background is left to itself."""
        log = self._jobs_log if background else self._log
        start = self._log.stat().st_size
        code = self._ask(f"{{ {command}\n}} </dev/null >>'{log}' 2>&1")
        if background:
            self._jobs.append(int(self._value('"$!"')))
        with open(self._log, "rb") as file:
            file.seek(start)
            return code, file.read().decode(errors="replace")

    def jobs_text(self) -> str:
        return self._jobs_log.read_text(encoding="utf-8", errors="replace")

    def text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End all jobs and the shell, the hard way if need be."""
        assert self._bash.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._type('for job in $(jobs -p); do kill -TERM "$job"; done; wait; exit')
        with contextlib.suppress(BrokenPipeError):
            self._bash.stdin.close()
        try:
            self._bash.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            for job in self._jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job, signal.SIGKILL)
            self._bash.kill()
            self._bash.wait()
        os.close(self._codes)

    def _ask(self, command: str) -> int:
        return int(self._value("$?", command))

    def _value(self, expression: str, command: str = ":") -> str:
        """An expression of the shell's after a command."""
        self._type(f"{command}\necho {expression} >&{self._code_fd}")
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._codes, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(TIMEOUT):
                    raise AssertionError(f"not over within {TIMEOUT} s: {command}\n{self.text()}")
                part = os.read(self._codes, 100)
                assert part, f"the shell has ended: {command}\n{self.text()}"
                answer += part
        return answer.decode().strip()

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{text}\n".encode())
        self._bash.stdin.flush()
