"""`init service` on a machine without systemd: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from hakuriver.client import service, unit_files
from hakuriver.client.unit_files import write_unit
from tests.client.conftest import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="home")
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hakuriver: Client) -> Path:
    """With a configuration; the program is the one of this checkout."""
    home = tmp_path / "home of haku"
    for name in [name for name in os.environ if name.startswith("HAKURIVER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HAKURIVER_HOME", str(home))
    monkeypatch.setattr("sys.argv", [str(ROOT / "hakuriver.py")])
    monkeypatch.chdir(tmp_path)
    assert hakuriver("init", "config").code == 0
    return home


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which units can be installed: systemd is a program that notes its calls."""
    system, programs = tmp_path / "system", tmp_path / "bin"
    system.mkdir()
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(unit_files, "SYSTEM", system)
    monkeypatch.setattr(unit_files, "BOOTED", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return system


def calls(tmp_path: Path) -> str:
    path = tmp_path / "calls"
    return path.read_text() if path.exists() else ""


def test_units_are_written_where_it_was_told_and_nothing_else_happens(
    hakuriver: Client, home: Path, machine: Path, tmp_path: Path
) -> None:
    done = hakuriver("init", "service", "--all", "--output-dir", "units")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"written: {tmp_path}/units/hakuriver-host.service",
        f"written: {tmp_path}/units/hakuriver-runner.service",
    ]
    assert "sudo systemctl enable --now hakuriver-host hakuriver-runner" in done.err
    text = Path("units/hakuriver-runner.service").read_text()
    assert f'"{ROOT}/hakuriver.py" runner' in text or f"{ROOT}/hakuriver.py runner" in text
    assert f'--config "{home}/config.toml"' in text
    assert f'Environment="HAKURIVER_HOME={home}"' in text
    assert calls(tmp_path) == ""
    assert list(machine.iterdir()) == []


def test_without_install_they_are_in_the_current_folder(hakuriver: Client, home: Path) -> None:
    assert hakuriver("init", "service", "--host", "--no-install").code == 0
    assert [path.name for path in Path().glob("*.service")] == ["hakuriver-host.service"]


def test_installing_again_changes_nothing_and_says_so(
    hakuriver: Client, home: Path, machine: Path, tmp_path: Path
) -> None:
    first = hakuriver("init", "service", "--runner")
    assert first.out.splitlines() == [
        f"written: {machine}/hakuriver-runner.service",
        "done: systemctl daemon-reload",
    ]
    assert "systemctl enable --now hakuriver-runner" in first.err
    unit = machine / "hakuriver-runner.service"
    assert unit.stat().st_mode & 0o777 == 0o644
    again = hakuriver("init", "service", "--runner")
    assert again.out == f"unchanged: {unit}\n"
    assert calls(tmp_path) == "daemon-reload\n"
    unit.write_text(f"{unit.read_text()}# older\n")
    third = hakuriver("init", "service", "--runner", "--json")
    assert third.json["units"] == [{"path": str(unit), "state": "changed"}]
    assert third.json["reloaded"] is True
    assert any("restart hakuriver-runner" in step for step in third.json["next"])
    assert calls(tmp_path) == "daemon-reload\ndaemon-reload\n"


def test_a_unit_of_somebody_else_is_not_overwritten(
    hakuriver: Client, home: Path, machine: Path
) -> None:
    own = machine / "hakuriver-host.service"
    own.write_text("[Service]\nExecStart=/bin/true\n")
    done = hakuriver("init", "service", "--all")
    assert (done.code, own.read_text()) == (5, "[Service]\nExecStart=/bin/true\n")
    assert not (machine / "hakuriver-runner.service").exists(), "half of it was done"
    own.unlink()
    own.symlink_to("/dev/null")
    assert "unmask" in hakuriver("init", "service", "--host").err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--host, --runner or --all"),
        (["--runner", "--token-file", "/x"], "--join"),
        (["--host", "--join", "http://h:8000"], "--join is for a runner"),
        (["--runner", "--join", "http://h:many"], "'http://h:many' is no address"),
        (["--runner", "--join", "a host"], "'a host' is no address"),
        (["--runner", "--join", "https://h:8000"], "https needs network.tls_ca"),
        (["--runner", "--user", "no-such-user"], "no user no-such-user"),
        (["--runner", "--config", "/no/such.toml"], "no configuration file /no/such.toml"),
        (["--runner", "--join", "http://h", "--token-file", "/no/file"], "no file /no/file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused(
    hakuriver: Client, home: Path, words: list[str], says: str
) -> None:
    done = hakuriver("init", "service", "--no-install", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_missing_configuration_is_no_unit_that_cannot_start(
    hakuriver: Client, home: Path
) -> None:
    (home / "config.toml").unlink()
    done = hakuriver("init", "service", "--host", "--no-install")
    assert done.code == 2
    assert "init config" in done.err


def test_a_runner_that_joins_needs_no_configuration_and_its_token_is_in_no_unit(
    hakuriver: Client, home: Path, tmp_path: Path
) -> None:
    (home / "config.toml").unlink()
    (tmp_path / "token").write_text("s3cr3t")
    done = hakuriver(
        "init", "service", "--runner", "--no-install", "--join", "http://h:8000",
        "--token-file", "token",
    )  # fmt: skip
    assert done.code == 0, done.err
    text = Path("hakuriver-runner.service").read_text()
    assert f"runner --join http://h:8000 --token-file {tmp_path}/token" in text
    assert "s3cr3t" not in text
    assert "--config" not in text


def test_a_file_that_the_user_cannot_read_is_refused(
    hakuriver: Client, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = pwd.getpwnam("nobody")
    if os.getuid() == nobody.pw_uid:
        pytest.skip("the tests run as nobody")
    done = hakuriver("init", "service", "--runner", "--no-install", "--user", "nobody")
    assert done.code == 2
    assert "nobody cannot read" in done.err


def test_a_secret_in_a_file_of_its_own_has_to_be_readable_too(
    hakuriver: Client, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(service, "_check_readable", lambda path, account: seen.append(path.name))
    (tmp_path / "token").write_text("s3cr3t")
    text = (home / "config.toml").read_text()
    old = next(line for line in text.splitlines() if line.startswith("token_file"))
    (home / "config.toml").write_text(text.replace(old, f'token_file = "{tmp_path}/token"'))
    assert hakuriver("init", "service", "--runner", "--no-install").code == 0
    assert seen == ["hakuriver.py", "config.toml", "token"]


def test_where_it_cannot_install_it_says_how_else(
    hakuriver: Client, home: Path, machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = hakuriver("init", "service", "--runner")
    assert done.code == 6
    assert "sudo" in done.err
    assert "--output-dir" in done.err
    monkeypatch.setattr(unit_files, "BOOTED", tmp_path / "no such folder")
    done = hakuriver("init", "service", "--runner")
    assert done.code == 2
    assert "systemd does not run" in done.err
    assert list(machine.iterdir()) == []


def test_settings_of_the_environment_are_not_silently_lost(
    hakuriver: Client, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAKURIVER_TOKEN", "s3cr3t")
    done = hakuriver("init", "service", "--host", "--no-install")
    assert "HAKURIVER_TOKEN" in done.err
    assert "s3cr3t" not in done.err + done.out + Path("hakuriver-host.service").read_text()


def test_a_unit_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "units" / "x.service"
    assert write_unit(path, "one").state == "new"
    assert write_unit(path, "one").state == "unchanged"
    assert write_unit(path, "two").state == "changed"
    assert [path.name for path in path.parent.iterdir()] == ["x.service"]


def test_the_answer_is_json_for_programs(hakuriver: Client, home: Path) -> None:
    done = hakuriver("init", "service", "--json", "--host", "--config", "/no/such")
    assert done.code == 2
    assert json.loads(done.err)["error"] == "usage"
