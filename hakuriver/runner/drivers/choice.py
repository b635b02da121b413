"""Which driver runs tasks without a container on this node: decided once, when the runner starts."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hakuriver.runner.drivers.scopes import Tools
from hakuriver.system.command import CommandFailed, run

_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_PROBE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Choice:
    """tools of systemd, or None for plain processes; then why says what systemd lacks."""

    tools: Tools | None
    why: str = ""

    @property
    def name(self) -> str:
        return "systemd" if self.tools else "process"


def choose(*, sudo: bool) -> Choice:
    """Ask the machine; a scope is made as a trial."""
    if not _BOOTED.is_dir():
        return Choice(None, "systemd does not run here")
    systemd_run, systemctl = shutil.which("systemd-run"), shutil.which("systemctl")
    if systemd_run is None or systemctl is None:
        return Choice(None, "systemd-run and systemctl are not both on PATH")
    if sudo and shutil.which("sudo") is None:
        return Choice(None, "runner.use_sudo is set and there is no sudo on PATH")
    prefix = ("sudo", "-n") if sudo else ()
    if not prefix and os.getuid() != 0:
        return Choice(None, "systemd-run needs a runner that is root, or runner.use_sudo = true")
    if prefix and shutil.which("setpriv") is None:
        return Choice(None, "runner.use_sudo needs the program setpriv (package util-linux)")
    return _tried(Tools(systemd_run, systemctl, tuple(_absolute(prefix))))


def _absolute(prefix: tuple[str, ...]) -> list[str]:
    """posix_spawn searches no PATH."""
    return [shutil.which(prefix[0]) or prefix[0], *prefix[1:]] if prefix else []


def _tried(tools: Tools) -> Choice:
    """With what this version of systemd knows. OOMPolicy: newer ones end a whole scope of which one
    process ran out of memory, though the task may well cope."""
    options = ("--expand-environment=no",) if _knows_expansion(tools) else ()
    why = ""
    for properties in (("OOMPolicy=continue",), ()):
        made = Tools(tools.systemd_run, tools.systemctl, tools.prefix, options, properties)
        flags = [*options, *(f"--property={each}" for each in properties)]
        unit = f"--unit=hakuriver-trial-{os.getpid()}.scope"
        argv = [*tools.prefix, tools.systemd_run, "--scope", "--collect", "--quiet", unit, *flags]
        try:
            done = run([*argv, "--", "/bin/sh", "-c", ":"], timeout=_PROBE_SECONDS)
        except CommandFailed as error:
            return Choice(None, error.detail)
        if done.code == 0:
            return Choice(made)
        why = f"systemd-run: {done.error}"
    return Choice(None, why)


def _knows_expansion(tools: Tools) -> bool:
    try:
        return "--expand-environment" in run([tools.systemd_run, "--help"], timeout=10).text
    except CommandFailed:
        return False
