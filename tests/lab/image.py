"""The image of a lab node: a small Debian with systemd as PID 1 and a Docker engine of its own.

Built once by debootstrap, from the same mirror that this machine's apt uses, and named after what
it is built from: another recipe is another image.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "numactl", "iproute2", "procps", "sudo",
    "docker.io", "iptables", "libfaketime",
)  # fmt: skip
PYTHON = "3.11"
"""That SUITE has."""
USER = "labu"
# What a machine does at its start that a container cannot or need not do.
_MASKED = (
    "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-logind.service",
    "getty.target", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer",
    "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer", "systemd-journal-flush.service",
)  # fmt: skip
_BUILD_SECONDS = 900.0


class CannotBuild(Exception):
    """Says what failed and ends with what the tool itself said."""


def image_name() -> str:
    recipe = Path(__file__).read_bytes()
    return f"hakuriver-lab/node:{hashlib.sha256(recipe).hexdigest()[:12]}"


def node_image() -> str:
    """Its name; built if it is not there yet. Raises CannotBuild."""
    name = image_name()
    lock = Path(tempfile.gettempdir(), f"{name.replace('/', '-').replace(':', '-')}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _is_there(name):
            with tempfile.TemporaryDirectory(prefix="hakuriver-lab-image-") as scratch:
                _build(name, Path(scratch, "root"))
    return name


def _is_there(name: str) -> bool:
    # A list that is empty, and not an error: an engine that is down has not lost the image.
    return bool(_run("docker", "images", "--quiet", name).strip())


def _build(name: str, root: Path) -> None:
    _run(
        "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        SUITE, str(root), _mirror(),
    )  # fmt: skip
    _furnish(root)
    # A failing tar must not leave half an image under the name: its end is looked at first.
    archive = root.parent / "root.tar"
    _run("tar", "--directory", str(root), "--create", "--file", str(archive), ".")
    shutil.rmtree(root)
    _run("docker", "import", "--change", 'CMD ["/sbin/init"]', "--change", "ENV container=docker",
         str(archive), name)  # fmt: skip


def _furnish(root: Path) -> None:
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # A folder of users' own, in a group besides their first: what runner_user must give a task.
    _run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "--groups",
         "video", USER)  # fmt: skip
    (root / "etc/sudoers.d").mkdir(exist_ok=True)
    sudoers = root / "etc/sudoers.d" / USER
    sudoers.write_text(f"{USER} ALL=(root) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    (root / "etc/machine-id").write_text("")
    for place in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(root / place, ignore_errors=True)
    (root / "shared").mkdir()


@dataclass(frozen=True, slots=True)
class _Source:
    uri: str
    codename: str
    component: str


def _mirror() -> str:
    """Where this machine's apt gets the suite from. Raises CannotBuild."""
    done = _run(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Created-By: Packages",
    )  # fmt: skip
    sources = [_Source(*words) for line in done.splitlines() if len(words := line.split()) == 3]
    for source in sources:
        if (source.codename, source.component) == (SUITE, "main"):
            return source.uri
    raise CannotBuild(f"apt on this machine knows no source of {SUITE} main")


def _run(*argv: str) -> str:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=_BUILD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{argv[0]}: {error}") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise CannotBuild(f"{argv[0]} ended with {done.returncode}:\n{said}")
    return done.stdout
