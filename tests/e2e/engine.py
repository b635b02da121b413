"""A Docker engine of the test's own, to be stopped, killed and started at will."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.wait import wait_until


class PrivateEngine:
    """dockerd on a socket of its own; containers have no network."""

    def __init__(self, home: Path, *, live_restore: bool) -> None:
        self.address = f"unix://{home}/docker.sock"
        self.live_restore = live_restore
        self._home = home
        self._log = home / "dockerd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        # As on most machines, containerd is a program of its own, which outlives dockerd.
        socket = f"{home}/containerd.sock"
        self._containerd_argv = [
            "containerd",
            f"--root={home}/containerd",
            f"--state={home}/containerd-state",
            f"--address={socket}",
        ]
        self._argv = [
            # In a network of its own: with --bridge=none it removes the machine's docker0 otherwise,
            # which is another engine's.
            "unshare",
            "--net",
            "dockerd",
            f"--containerd={socket}",
            f"--data-root={home}/data",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/dockerd.pid",
            f"--host={self.address}",
            "--bridge=none",
            "--iptables=false",
            *(["--live-restore"] if live_restore else []),
        ]

    def start(self) -> None:
        # One that was killed leaves its pid file, and would take its own pid's successor for itself.
        Path(self._home, "dockerd.pid").unlink(missing_ok=True)
        self._containerd = self._containerd or self._spawn(self._containerd_argv)
        self._process = self._spawn(self._argv)
        wait_until(self._answers, timeout=40, message=f"dockerd answers, see {self._log}")

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        argv = ["docker", "--host", self.address, "version"]
        return subprocess.run(argv, capture_output=True, timeout=20).returncode == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(40)
            self._process = None

    def kill9(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def forget_start(self, container: str) -> None:
        """While it is away: take out of its notes that it has started this container."""
        (folder,) = Path(self._home, "data", "containers").glob(f"{container}*")
        notes = folder / "config.v2.json"
        known = json.loads(notes.read_text())
        known["State"] |= {"Running": False, "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}
        notes.write_text(json.dumps(known))

    def clean_up(self) -> None:
        argv = ["docker", "--host", self.address]
        listed = subprocess.run([*argv, "ps", "-aq"], capture_output=True, text=True, timeout=30)
        if listed.stdout.split():
            subprocess.run([*argv, "rm", "-f", *listed.stdout.split()], capture_output=True)
        self.stop()
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(20)
        # With live-restore its mounts outlive it.
        mounts = Path("/proc/mounts").read_text().splitlines()
        for mount in reversed([line.split()[1] for line in mounts if str(self._home) in line]):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)


@contextmanager
def private_engine(*, live_restore: bool) -> Iterator[PrivateEngine]:
    # A short path on a real file system: overlay wants one, and socket names hold 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="hr-engine-", dir="/var/tmp"))
    engine = PrivateEngine(home, live_restore=live_restore)
    try:
        engine.start()
        yield engine
    finally:
        engine.clean_up()
        shutil.rmtree(home, ignore_errors=True)
