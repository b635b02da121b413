"""One host or runner as a real process, with its log in a file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.wait import wait_until

SERVING = re.compile(rb"serving on https?://[^\s:]+:(\d+)")
STOP_TIMEOUT = 10  # seconds between SIGTERM and SIGKILL
CLEAN_ENDS = (0, 143, -signal.SIGTERM)
TAIL_LINES = 40


class Program:
    """Started by start(); every end that no method here asked for is a problem."""

    def __init__(self, name: str, argv: Sequence[str], environ: dict[str, str], log: Path) -> None:
        self.name = name
        self.argv = list(argv)
        self.environ = environ
        self.log = log
        self.port = 0
        self.problems: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # where the log of the present process begins

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout: float = 20) -> None:
        """Run it and wait until it serves."""
        self.spawn()
        self.port = wait_until(
            self._served_port, timeout=timeout, message=f"{self.name} serves{self.tail()}"
        )

    def spawn(self) -> None:
        """Run it without waiting for anything."""
        assert not self.running, f"{self.name} runs already"
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.argv,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL if that is not heard; returns the exit code."""
        self._note_unexpected_end()
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            code = process.wait(STOP_TIMEOUT)
            if code not in CLEAN_ENDS:
                self.problems.append(f"{self.name} ended with {code} when it was asked to stop")
            return code
        except subprocess.TimeoutExpired:
            self.problems.append(f"{self.name} did not end within {STOP_TIMEOUT} s of a SIGTERM")
            process.kill()
            return process.wait()

    def kill9(self) -> None:
        """SIGKILL to this one process, as a crash would be; its tasks are other processes."""
        self._note_unexpected_end()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the port that it had."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait_end(self, *, timeout: float = 15) -> int:
        """Wait for an end that the test expects; returns the exit code."""
        assert self._process is not None, f"{self.name} is not running"
        code = self._process.wait(timeout)
        self._process = None
        return code

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        lines = self.log_text().splitlines()[-TAIL_LINES:]
        return "\n".join([f"\n--- {self.log.name}", *lines, "---"])

    def _served_port(self) -> int:
        assert self.running, f"{self.name} ended at its start{self.tail()}"
        written = self.log.read_bytes()[self._log_start :]
        found = SERVING.search(written)
        return int(found[1]) if found else 0

    def _note_unexpected_end(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.problems.append(f"{self.name} ended by itself with {self._process.returncode}")
            self._process = None
