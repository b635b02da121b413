"""Units of systemd: what they say, whatever the paths look like."""

from __future__ import annotations

import configparser
import re

import pytest

from hakuriver.client.units import (
    Service,
    command_line,
    mount_of,
    mount_points,
    mount_unit,
    quoted,
    unit_text,
)
from hakuriver.model.errors import UsageError

PROGRAM = ("/usr/bin/python3", "/opt/hakuriver.pyz")


def service(role: str, **changes: object) -> Service:
    given: dict[str, object] = {"command": (*PROGRAM, role), "home": "/root/.hakuriver", **changes}
    return Service(role=role, **given)  # type: ignore[arg-type]


def settings(text: str) -> dict[str, list[str]]:
    """Every assignment of a unit, by name."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("role", ["host", "runner"])
def test_a_unit_is_started_late_told_when_it_is_ready_and_started_again(role: str) -> None:
    said = settings(unit_text(service(role)))
    assert said["Type"] == ["notify"]
    assert said["NotifyAccess"] == ["main"]
    assert said["Restart"] == ["on-failure"]
    assert said["WantedBy"] == ["multi-user.target"]
    after = " ".join(said["After"]).split()
    assert {"network-online.target", "docker.service", "remote-fs.target"} <= set(after)
    assert said["Wants"] == ["network-online.target"]


def test_what_a_task_would_inherit_is_not_taken_away_from_a_runner() -> None:
    """Namespaces, filters and limits of the service would be those of its tasks."""
    said = settings(unit_text(service("runner")))
    assert said["KillMode"] == ["process"]
    assert said["OOMPolicy"] == ["continue"]
    words = "Protect|Private|RestrictR|NoNew|Lock|Limit|SystemCall|ReadOnly|Inaccessible|OOMScore"
    assert [name for name in said if re.match(words, name)] == []


def test_a_host_is_protected_as_far_as_its_own_folders_allow() -> None:
    assert "ProtectSystem" in settings(unit_text(service("host", writes=["/srv/hakuriver"])))
    assert "ProtectSystem" not in settings(unit_text(service("host", writes=["/etc/hakuriver"])))
    assert "NoNewPrivileges" not in settings(unit_text(service("host", sudo=True)))


def test_a_shared_mount_is_waited_for_and_never_required() -> None:
    """A unit that requires a mount is stopped with it, and nobody starts it again."""
    for role in ("host", "runner"):
        text = unit_text(service(role, mount="/mnt/a b", mountpoint="/usr/bin/mountpoint"))
        said = settings(text)
        assert r"mnt-a\x20b.mount" in said["After"]
        assert r"mnt-a\x20b.mount" in said["Wants"]
        assert not {"Requires", "RequiresMountsFor", "BindsTo"} & said.keys()
        before = said.get("ExecStartPre")
        assert before == (['/usr/bin/mountpoint -q "/mnt/a b"'] if role == "host" else None)


def test_a_unit_has_a_user_unless_that_is_root() -> None:
    assert settings(unit_text(service("host", user="alice")))["User"] == ["alice"]
    assert "User" not in settings(unit_text(service("host")))


def test_a_unit_is_an_ini_file_with_three_sections() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(unit_text(service("runner", mount="/mnt")))
    assert parser.sections() == ["Unit", "Service", "Install"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("/opt/hakuriver.pyz", "/opt/hakuriver.pyz"),
        ("/a b", '"/a b"'),
        ("/50%", "/50%%"),
        ('/a"b', '"/a\\"b"'),
        ("/a\\x", '"/a\\\\x"'),
        ("/a;b", '"/a;b"'),
        ("/河", '"/河"'),
        ("", '""'),
    ],
)
def test_a_word_is_one_word_to_systemd(text: str, word: str) -> None:
    assert quoted(text) == word


def test_a_dollar_is_no_variable_in_a_command_line() -> None:
    assert command_line(["/bin/x", "/a$HOME b"]) == '/bin/x "/a$$HOME b"'


@pytest.mark.parametrize("path", ["/a\nExecStart=/bin/evil", "/a\x1b", "/a\udcff"])
def test_what_no_unit_can_hold_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="unit file"):
        quoted(path)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/shared", "shared.mount"),
        ("/mnt/haku river/", r"mnt-haku\x20river.mount"),
        ("/a-b/c", r"a\x2db-c.mount"),
        ("/.hidden/a.b", r"\x2ehidden-a.b.mount"),
        ("//mnt//x", "mnt-x.mount"),
        ("/河", r"\xe6\xb2\xb3.mount"),
        ("/", "-.mount"),
    ],
)
def test_mounts_are_named_as_systemd_names_them(path: str, unit: str) -> None:
    """Expected values are those of systemd-escape --path --suffix=mount, version 252."""
    assert mount_unit(path) == unit


def test_mounts_of_now_and_of_the_next_boot_are_known() -> None:
    mountinfo = (
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:35 / /mnt/haku\\040river rw shared:9 - nfs4 nas:/x rw\n"
    )
    fstab = (
        "# /dev/x /no ext4\nnas:/x /mnt/lab\\040nfs nfs defaults 0 0\n/dev/sdb none swap sw 0 0\n\n"
    )
    points = mount_points(mountinfo, fstab)
    assert points == ["/", "/mnt/haku river", "/mnt/lab nfs"]
    assert mount_of("/mnt/haku river/shared", points) == "/mnt/haku river"
    assert mount_of("/mnt/haku", points) == ""
    assert mount_of("/mnt/a/b/c", ["/", "/mnt/a", "/mnt/a/b", "/mnt"]) == "/mnt/a/b"
