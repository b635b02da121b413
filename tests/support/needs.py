"""What this machine can do for the tests; conftest prints it at the end as "What was real"."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Capability:
    """`detail` is the version of what is there, or the reason why it is not."""

    name: str
    real: bool
    detail: str


@functools.cache
def docker() -> Capability:
    """A Docker engine that answers this user."""
    if not shutil.which("docker"):
        return Capability("docker", False, "there is no docker program")
    argv = ["docker", "info", "--format", "{{json .}}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        info = json.loads(done.stdout or "{}")
    except (subprocess.TimeoutExpired, ValueError) as error:
        return Capability("docker", False, f"`docker info`: {error}")
    if not info.get("ServerVersion"):
        reason = [*info.get("ServerErrors", []), done.stderr.strip(), "no engine answers"]
        return Capability("docker", False, next(filter(None, reason)).splitlines()[0])
    restore = "with" if info.get("LiveRestoreEnabled") else "without"
    detail = f"engine {info['ServerVersion']}, cgroup v{info.get('CgroupVersion')}, {restore} live-restore"
    return Capability("docker", True, detail)


@functools.cache
def static_busybox() -> Capability:
    """A busybox that runs in an image holding nothing else; detail is its path."""
    for name in ("busybox", "busybox.static", "busybox-static"):
        path = shutil.which(name)
        if path and is_static(Path(path).read_bytes()):
            return Capability("static busybox", True, path)
    return Capability("static busybox", False, "install the package busybox-static")


def is_static(program: bytes) -> bool:
    """Whether an ELF file asks for no dynamic loader (has no program header of type 3)."""
    if program[:4] != b"\x7fELF" or program[4] != 2 or program[5] != 1:
        return False
    table, size, count = (
        int.from_bytes(program[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58))
    )
    starts = range(table, table + size * count, size)
    return all(int.from_bytes(program[start : start + 4], "little") != 3 for start in starts)


@functools.cache
def shell(name: str) -> Capability:
    path = shutil.which(name)
    return Capability(name, bool(path), path or f"there is no {name} program")


@functools.cache
def root() -> Capability:
    return Capability("root", os.geteuid() == 0, f"user id {os.geteuid()}")


@functools.cache
def pidfd() -> Capability:
    """Both Python and the kernel must know it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return Capability("pidfd", False, f"{error}")
    return Capability("pidfd", True, f"Linux {platform.release()}")


@functools.cache
def cgroup() -> Capability:
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    mounted = unified or Path("/sys/fs/cgroup/memory").exists()
    return Capability("cgroup", mounted, f"v{2 if unified else 1}" if mounted else "not mounted")


@functools.cache
def lab() -> Capability:
    """What tests/lab builds its nodes with."""
    if not docker().real:
        return Capability("lab", False, docker().detail)
    if not root().real:
        return Capability("lab", False, "only root can build and mount what nodes are made of")
    missing = [name for name in ("debootstrap", "apt-get", "mount") if not shutil.which(name)]
    if missing:
        return Capability("lab", False, f"there is no {' and no '.join(missing)}")
    return Capability("lab", True, "nodes with systemd and an engine of their own")


@functools.cache
def npm() -> Capability:
    """What the dashboard's parts are fetched with."""
    path = shutil.which("npm")
    return Capability("npm", bool(path), path or "there is no npm program")


@functools.cache
def browser() -> Capability:
    """What the dashboard is built with and looked at with; detail is the browser's version."""
    missing = [name for name in ("npm", "chromium", "chromedriver") if not shutil.which(name)]
    if missing:
        return Capability("browser", False, f"there is no {' and no '.join(missing)}")
    done = subprocess.run(["chromium", "--version"], capture_output=True, text=True, timeout=30)
    return Capability("browser", done.returncode == 0, done.stdout.strip() or done.stderr.strip())


def python() -> Capability:
    ours = f"{platform.python_implementation()} {platform.python_version()}"
    return Capability("python", True, f"{ours}; programs under test run with {base_python()}")


def artefact() -> Capability:
    built = not os.environ.get("HAKURIVER_TESTS_CHECKOUT")
    detail = "the built .pyz" if built else "the checkout (HAKURIVER_TESTS_CHECKOUT)"
    return Capability("zipapp", built, detail)


def all_capabilities() -> list[Capability]:
    shells = [shell(name) for name in ("dash", "busybox", "bash")]
    return [
        python(),
        artefact(),
        docker(),
        static_busybox(),
        *shells,
        root(),
        pidfd(),
        cgroup(),
        lab(),
        browser(),
    ]


def base_python() -> str:
    """The interpreter that the test environment was made from: no packages of ours in it."""
    base = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))
    return str(base) if base.exists() else sys.executable


def needs(*capabilities: Capability) -> None:
    """Skip the test, with the reason, unless all of them are real."""
    for capability in capabilities:
        if not capability.real:
            pytest.skip(f"{capability.name}: {capability.detail}")


def needs_docker() -> None:
    needs(docker())
