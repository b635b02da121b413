"""Unit files of systemd for host and runner, as text: pure, so that any machine can write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hakuriver.model.errors import UsageError

MARK = "# Written by: hakuriver init service"
"""How each file of ours begins; one that does not is somebody else's."""

_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_SYSTEM = ("/usr", "/boot", "/efi", "/etc")
_OCTAL = re.compile(r"\\([0-7]{3})")


# No sandbox: what is forbidden to a runner is forbidden to its tasks, which inherit it.
_RUNNER = [
    "# Tasks are not the service's: to stop or restart it leaves them alone.",
    "KillMode=process",
    "OOMPolicy=continue",
    "TasksMax=infinity",
]


@dataclass(frozen=True, slots=True)
class Service:
    """What a unit has to know. role is host or runner; command is its argv, the program absolute.

    user: None for root. writes: folders that it writes to. mount: where the file system of the
    shared directory is mounted, "" if it is none of its own; mountpoint: the program of that name.
    """

    role: str
    command: Sequence[str]
    home: str
    user: str | None = None
    writes: Sequence[str] = ()
    mount: str = ""
    mountpoint: str = ""
    sudo: bool = False

    @property
    def name(self) -> str:
        return f"hakuriver-{self.role}.service"


def unit_text(service: Service) -> str:
    """Raises UsageError for a path that no unit file can hold."""
    own = _host(service) if service.role == "host" else _RUNNER
    sections = {
        "Unit": [
            f"Description=HakuRiver {service.role}",
            "Wants=network-online.target",
            "After=network-online.target remote-fs.target docker.service",
            *_after_mount(service),
            *(["After=hakuriver-host.service"] if service.role == "runner" else []),
            "# It may have to wait for a network or a mount, for however long.",
            "StartLimitIntervalSec=0",
        ],
        "Service": [
            "Type=notify",
            "NotifyAccess=main",
            *([f"User={service.user}"] if service.user else []),
            f"Environment={quoted(f'HAKURIVER_HOME={service.home}')}",
            *own,
            f"ExecStart={command_line(service.command)}",
            "Restart=on-failure",
            "RestartSec=3",
            "TimeoutStartSec=5min",
            "TimeoutStopSec=30",
        ],
        "Install": ["WantedBy=multi-user.target"],
    }
    edit = f"# Settings of your own go elsewhere: systemctl edit {service.name.partition('.')[0]}"
    parts = [f"{MARK}\n{edit}\n"]
    parts += [f"[{name}]\n" + "".join(f"{line}\n" for line in sections[name]) for name in sections]
    return "\n".join(parts)


def _after_mount(service: Service) -> list[str]:
    """Wanted, not required: a runner without its mount says so on its row and gets nothing new, and
    both go on by themselves when it is back. RequiresMountsFor= would stop them for good instead."""
    if not service.mount:
        return []
    unit = mount_unit(service.mount)
    return [f"Wants={unit}", f"After={unit}"]


def _host(service: Service) -> list[str]:
    """Nothing of this reaches a task: the host starts none."""
    protected = not any(_inside(path, top) for path in service.writes for top in _SYSTEM)
    waits = service.mount and service.mountpoint
    return [
        *(["# Not into the empty folder below a mount that is missing. It is tried again."] if waits else []),
        *([f"ExecStartPre={command_line([service.mountpoint, '-q', service.mount])}"] if waits else []),
        "UMask=0022",
        "LimitNOFILE=65536",
        *(["ProtectSystem=full"] if protected else []),
        *([] if service.sudo else ["NoNewPrivileges=yes"]),
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
    ]  # fmt: skip


def command_line(argv: Sequence[str]) -> str:
    """For ExecStart=, whose words know variables, unlike the program in front of them."""
    program, *words = argv
    return " ".join([quoted(program), *(quoted(word).replace("$", "$$") for word in words)])


def quoted(text: str) -> str:
    """One word of a unit file; systemd.syntax(7), and % as in systemd.unit(5), Specifiers."""
    if not text.isprintable():
        raise UsageError(
            f"a unit file cannot hold the path {text!r}", "Use a path without such characters."
        )
    word = text.replace("%", "%%")
    if _BARE.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def mount_unit(path: str) -> str:
    """The name of a mount point's unit, as `systemd-escape --path --suffix=mount` makes it."""
    parts = [part for part in path.split("/") if part]
    letters = "".join(map(_escaped, "/".join(parts).encode()))
    if letters.startswith("."):
        letters = f"\\x2e{letters[1:]}"
    return f"{letters or '-'}.mount"


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter == "/":
        return "-"
    plain = letter.isascii() and (letter.isalnum() or letter in ":_.")
    return letter if plain else f"\\x{byte:02x}"


def mount_points(mountinfo: str, fstab: str) -> list[str]:
    """What is mounted now, and what is at the next boot."""
    found = [line.split(" ")[4] for line in mountinfo.splitlines() if line.count(" ") > 4]
    entries = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    found += [words[1] for words in entries if len(words) > 2 and words[1].startswith("/")]
    return [_OCTAL.sub(lambda match: chr(int(match[1], 8)), each) for each in found]


def mount_of(path: str, points: Iterable[str]) -> str:
    """The mount point, other than the root, that a folder lies in; "" if there is none."""
    inside = [point for point in points if point != "/" and _inside(path, point)]
    return max(inside, key=len, default="")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
