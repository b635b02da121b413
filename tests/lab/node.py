"""One node of the lab: what a person standing in front of the machine could do to it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.wait import wait_until

CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_NICE", "DAC_READ_SEARCH")
_FREEZER = Path("/sys/fs/cgroup/freezer")
STATE = "/var/lib/hakuriver"
"""A file system of the node's own that survives a reboot and can be filled."""
SHARED = "/shared"
_EXPORT = "/export/shared"
_BOOT_SECONDS = 60.0
_SHARED_MOUNT = f"""[Unit]
Description=The cluster's shared directory
[Mount]
What={_EXPORT}
Where={SHARED}
Type=none
Options=bind
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


def docker(*argv: str, timeout: float = 120, check: bool = True, input: bytes = b"") -> Done:
    """The machine's own engine, which runs the nodes."""
    done = subprocess.run(["docker", *argv], input=input, capture_output=True, timeout=timeout)
    made = Done(done.returncode, done.stdout.decode(errors="replace"),
                done.stderr.decode(errors="replace"))  # fmt: skip
    assert not check or made.code == 0, f"docker {argv[:3]}: {made.code}\n{made.out}{made.err}"
    return made


@dataclass(frozen=True, slots=True)
class Site:
    """What all nodes of a lab have in common; home is a folder of this machine, disk in bytes."""

    unique: str
    home: Path
    image: str
    network: str
    disk: int = 64 << 20


class Node:
    """start() once, then anything in any order, stop() at the end."""

    def __init__(self, name: str, site: Site, address: str, *, mounts: Sequence[str] = ()) -> None:
        self.name = name
        self.address = address
        self.container = f"{site.unique}-{name}"
        self._site = site
        self._mounts = tuple(mounts)
        self._id = ""
        self._disk = site.home / "disks" / name

    # Its life

    def start(self, *, live_restore: bool = True) -> None:
        self._disk.mkdir(parents=True)
        _mount_disk(self._disk, self._site.disk)
        docker("create", *self._options(), self._site.image)
        self._configure_engine(live_restore=live_restore)
        self.put("/etc/systemd/system/shared.mount", _SHARED_MOUNT)
        docker("start", self.container)
        self._wait_booted()
        self.run("systemctl", "enable", "--now", "--quiet", "shared.mount")

    def _options(self) -> list[str]:
        site = self._site
        return [
            "--name", self.container, "--hostname", self.name, "--network", site.network,
            "--ip", self.address,
            "--network-alias", self.name, "--label", f"hakuriver-lab={site.unique}",
            *(word for each in CAPABILITIES for word in ("--cap-add", each)),
            "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
            "--device-cgroup-rule", "a *:* rwm",
            # In a container of its own, /proc/sys is read-only, and an engine sets ip_forward.
            "--sysctl", "net.ipv4.ip_forward=1", "--stop-signal", "SIGRTMIN+3",
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec",
            "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cgroupns", "host",
            "--volume", f"{self.container}:/var/lib/docker",
            "--volume", f"{site.home / 'shared'}:{_EXPORT}",
            "--volume", f"{self._disk}:{STATE}",
            *(word for each in self._mounts for word in ("--volume", each)),
        ]  # fmt: skip

    def _configure_engine(self, *, live_restore: bool) -> None:
        self._id = docker("inspect", "--format", "{{.Id}}", self.container).out.strip()
        settings = {
            "live-restore": live_restore,
            # Below the node's own group, so that what freezes the node freezes its containers.
            "cgroup-parent": f"/docker/{self._id}/containers",
            "storage-driver": "overlay2",
        }
        self.put("/etc/docker/daemon.json", json.dumps(settings))
        # Else systemd gives it up after the third restart in a minute.
        limits = "[Unit]\nStartLimitIntervalSec=0\n"
        self.put("/etc/systemd/system/docker.service.d/lab.conf", limits)

    def _wait_booted(self) -> None:
        def booted() -> bool:
            state = self.run("systemctl", "is-system-running", check=False).out.strip()
            return state in ("running", "degraded")

        wait_until(booted, timeout=_BOOT_SECONDS, message=f"{self.name} has booted")

    def stop(self) -> None:
        with self._thawing():
            docker("rm", "--force", "--volumes", self.container, check=False)
        docker("volume", "rm", "--force", self.container, check=False)
        if self._disk.is_dir():
            subprocess.run(["umount", "--lazy", str(self._disk)], capture_output=True)

    # What runs there

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout: float = 120,
        user: str = "root",
        input: bytes = b"",
        **environ: str,
    ) -> Done:
        """A program of the node's, to its end."""
        given = [word for name, value in environ.items() for word in ("--env", f"{name}={value}")]
        options = ["--interactive", "--user", user, *given]
        done = docker("exec", *options, self.container, *argv,
                      timeout=timeout, check=False, input=input)  # fmt: skip
        if check:
            assert done.code == 0, f"{self.name}: {argv} -> {done.code}\n{done.out}{done.err}"
        return done

    def sh(self, script: str, *, check: bool = True, timeout: float = 120) -> str:
        return self.run("sh", "-c", script, check=check, timeout=timeout).out

    def put(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """A file with its folders; also while the node is off."""
        data = content.encode() if isinstance(content, str) else content
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode, info.size = mode, len(data)
            tar.addfile(info, io.BytesIO(data))
        docker("cp", "-", f"{self.container}:/", input=buffer.getvalue())

    def journal(self, unit: str, lines: int = 60) -> str:
        argv = (
            "journalctl",
            "--no-pager",
            "--output=short-iso-precise",
            f"--lines={lines}",
            f"--unit={unit}",
        )
        return self.run(*argv, check=False).out

    # What happens to it

    def cut(self) -> None:
        """Pull its cable."""
        docker("network", "disconnect", "--force", self._site.network, self.container)

    def join(self) -> None:
        """Plug it in again, at the address that it had."""
        docker("network", "connect", "--ip", self.address, "--alias", self.name,
               self._site.network, self.container)  # fmt: skip

    def freeze(self) -> None:
        """Stop every process, those of its containers included."""

        def frozen() -> bool:
            return docker("pause", self.container, check=False).code == 0

        # The engine gives up ("unable to freeze") if processes are made faster than it looks.
        wait_until(frozen, timeout=60, message=f"{self.name} is frozen")

    def thaw(self) -> None:
        docker("unpause", self.container)

    def reboot(self, *, hard: bool = False) -> None:
        """hard: as by a power cut."""
        with self._thawing():
            self._switch_off(hard)

        def on() -> bool:
            return docker("start", self.container, timeout=60, check=False).code == 0

        wait_until(on, timeout=60, message=f"{self.name} is switched on")
        self._wait_booted()

    def _switch_off(self, hard: bool) -> None:
        if hard:
            docker("kill", self.container)
        else:
            # On a busy machine the engine may lose patience with it; then it is off all the same.
            docker("stop", "--time", "20", self.container, timeout=180, check=False)

    @contextmanager
    def _thawing(self) -> Iterator[None]:
        """What is frozen cannot die, and a paused task would keep its machine from ever being off."""
        over = threading.Event()
        inside = _FREEZER / "docker" / self._id

        def thaw() -> None:
            while not over.wait(0.2):
                for state in inside.glob("containers/**/freezer.state"):
                    with suppress(OSError):
                        state.write_text("THAWED")

        thread = threading.Thread(target=thaw, name="thaw", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def fill_disk(self) -> None:
        """Of STATE, to the last byte."""
        self.sh(f"cat /dev/zero >{STATE}/filler 2>/dev/null", check=False)

    def free_disk(self) -> None:
        self.run("rm", "--force", f"{STATE}/filler")


def _mount_disk(path: Path, size: int) -> None:
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "hakuriver-lab", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
