"""Settings: where a value comes from, which wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.system.config import (
    BY_NAME,
    SETTINGS,
    Config,
    Setting,
    load_config,
    render_template,
    url,
)

ORIGINAL = """
[network]
host_bind_ip = "0.0.0.0"
host_port = 8000
host_reachable_address = "127.0.0.1"
runner_address = "127.0.1.1"
runner_port = 8001
[paths]
shared_dir = "test/shared"
local_temp_dir = "test/temp"
numactl_path = ""
host_log_file = "host.log"
runner_log_file = "runner.log"
[database]
db_file = "test/cluster_management.db"
[timing]
heartbeat_interval = 5
heartbeat_timeout_factor = 6
cleanup_check_interval = 10
resource_check_interval = 1
[environment]
runner_user = ""
[docker]
container_dir = "hakuriver-containers"
default_container_name = "hakuriver-base"
initial_base_image = "python:3.12.10-alpine3.21"
tasks_privileged = false
additional_mounts = []
"""
"""What the first HakuRiver shipped, without its comments."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def load(home: Path, text: str | None = None, **more: Any) -> Config:
    """The configuration of a machine whose config.toml has this text."""
    if text is not None:
        (home / "config.toml").write_text(text, encoding="utf-8")
    environ = {"HAKURIVER_HOME": str(home), **more.get("environ", {})}
    return load_config(more.get("file"), more.get("overrides"), environ)


def refused(home: Path, text: str | None = None, **more: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(home, text, **more)
    return caught.value


def test_without_anything_every_setting_has_its_default(home: Path) -> None:
    config = load(home)
    assert config.file is None
    assert set(config.values) == set(BY_NAME)
    assert config.host_url == "http://127.0.0.1:8000"
    assert config.whole("network.host_port") == 8000
    assert config.path("paths.shared_dir") == home / "shared"
    assert config.text("paths.host_log_file") == ""


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(home: Path) -> None:
    name = "network.host_port"
    environ = {"HAKURIVER_NETWORK_HOST_PORT": "3"}
    text = "[network]\nhost_port = 2\n"
    assert load(home).whole(name) == 8000
    assert load(home, text).whole(name) == 2
    assert load(home, text, environ=environ).whole(name) == 3
    assert load(home, text, environ=environ, overrides={name: 4}).whole(name) == 4


def test_a_named_file_wins_over_a_variable_over_the_home(home: Path, tmp_path: Path) -> None:
    files = {port: tmp_path / f"{port}.toml" for port in (2, 3)}
    for port, file in files.items():
        file.write_text(f"[network]\nhost_port = {port}\n")
    environ = {"HAKURIVER_CONFIG": str(files[2])}
    text = "[network]\nhost_port = 1\n"
    assert load(home, text).whole("network.host_port") == 1
    assert load(home, text, environ=environ).whole("network.host_port") == 2
    config = load(home, text, environ=environ, file=str(files[3]))
    assert (config.whole("network.host_port"), config.file) == (3, files[3])


@pytest.mark.parametrize(
    ("more", "source"),
    [({"file": "/nowhere.toml"}, "--config"),
     ({"environ": {"HAKURIVER_CONFIG": "/nowhere.toml"}}, "HAKURIVER_CONFIG")],
)  # fmt: skip
def test_a_file_that_was_named_has_to_be_there(
    home: Path, more: dict[str, Any], source: str
) -> None:
    error = refused(home, **more)
    assert error.detail == f"{source}: there is no file /nowhere.toml"
    assert "init config" in error.hint


def test_a_relative_path_is_relative_to_where_it_was_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/users/ann")
    name = "paths.shared_dir"
    text = '[paths]\nshared_dir = "data"\n'
    assert load(home, text).path(name) == home / "data"
    environ = {"HAKURIVER_PATHS_SHARED_DIR": "data"}
    assert load(home, environ=environ).path(name) == tmp_path / "data"
    assert load(home, overrides={name: "x/../y"}).path(name) == tmp_path / "x/../y"
    assert load(home, overrides={name: "~/data"}).path(name) == Path("/users/ann/data")
    assert load(home, overrides={name: "/abs"}).path(name) == Path("/abs")


def test_every_key_of_the_first_hakuriver_is_taken(home: Path) -> None:
    config = load(home, ORIGINAL)
    assert config.text("network.host_bind_ip") == "0.0.0.0"
    assert config.number("timing.heartbeat_interval") == 5
    assert config.path("database.db_file") == home / "test/cluster_management.db"
    keys = [line.split(" = ")[0] for line in ORIGINAL.splitlines() if " = " in line]
    assert set(keys) <= {setting.key for setting in SETTINGS}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_can_be_given_as_a_variable(home: Path, setting: Setting) -> None:
    given: dict[str, tuple[str, Any]] = {
        "text": ("word", "word"),
        "path": ("/somewhere", "/somewhere"),
        "port": ("77", 77),
        "seconds": ("2.5", 2.5),
        "number": ("0.5", 0.5),
        "whole": ("7", 7),
        "switch": ("yes", True),
        "texts": ("/a:/b,/c:/d:ro", ("/a:/b", "/c:/d:ro")),
    }
    text, value = given[setting.kind]
    if setting.name == "auth.auth":
        text = value = "none"
    if setting.name == "auth.token_file":
        (home / "token").write_text("t\n")
        text = value = str(home / "token")
    config = load(home, environ={setting.variable: text})
    assert config.values[setting.name] == value
    assert setting.variable.startswith("HAKURIVER_")


def test_an_empty_variable_says_nothing(home: Path) -> None:
    config = load(home, environ={"HAKURIVER_NETWORK_HOST_PORT": "", "HAKURIVER_TOKEN": ""})
    assert (config.whole("network.host_port"), config.token) == (8000, "")


@pytest.mark.parametrize(
    ("text", "detail", "hint"),
    [
        ("[network]\nhost_prot = 1\n", "unknown setting 'host_prot' in [network]", "'host_port'"),
        ("[netwrok]\nhost_port = 1\n", "unknown section [netwrok]", "'network'"),
        ("[paths]\ndb_file = 'x'\n", "unknown setting 'db_file' in [paths]", "[database]"),
        ("[timing]\nshared_dirs = 'x'\n", "unknown setting 'shared_dirs'", "'shared_dir'"),
        ("host_port = 1\n", "unknown setting 'host_port' outside any section", "[network]"),
        ("[network]\nzzz = 1\n", "unknown setting 'zzz'", ""),
        ("network = 1\n", "'network' is a section: write [network]", ""),
    ],
)
def test_an_unknown_key_is_told_the_nearest_right_one(
    home: Path, text: str, detail: str, hint: str
) -> None:
    error = refused(home, text)
    assert detail in error.detail
    assert str(home / "config.toml") in error.detail
    assert hint in error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[network]\nhost_port = '8000'", "network.host_port must be a port number, not '8000'"),
        ("[network]\nhost_port = 70000", "must be between 0 and 65535, not 70000"),
        ("[network]\nhost_port = true", "must be a port number, not True"),
        ("[network]\nhost_port = 1.5", "must be a port number, not 1.5"),
        ("[network]\nhost_bind_ip = 1", "must be a text, not 1"),
        ("[timing]\nheartbeat_interval = 0", "must be between 0.05 and 86400"),
        ("[timing]\nheartbeat_interval = nan", "must be between 0.05 and 86400"),
        ("[timing]\nheartbeat_interval = inf", "must be between 0.05 and 86400"),
        ("[docker]\ntasks_privileged = 1", "must be true or false, not 1"),
        ("[docker]\nadditional_mounts = '/a:/b'", "must be a list of texts"),
        ("[docker]\nadditional_mounts = [1]", "must be a list of texts"),
        ("[runner]\ncores = -1", "must be between 0 and"),
        ("[auth]\nauth = 'no'", 'must be "token" or "none"'),
        ('[paths]\nshared_dir = "a\\u0000b"', "holds a NUL character"),
        ('[runner]\nallowed_mounts = ["/", "a\\u0000"]', "holds a NUL character"),
        ("[database]\ndb_file = ''", "database.db_file must not be empty"),
        ("[network", "is not valid TOML"),
    ],
)
def test_a_wrong_value_is_told_what_is_wanted(home: Path, line: str, words: str) -> None:
    assert words in refused(home, f"{line}\n").detail


def test_a_wrong_variable_is_named(home: Path) -> None:
    error = refused(home, environ={"HAKURIVER_NETWORK_HOST_PORT": "many"})
    assert error.detail.startswith("HAKURIVER_NETWORK_HOST_PORT: ")
    error = refused(home, environ={"HAKURIVER_DOCKER_TASKS_PRIVILEGED": "maybe"})
    assert "must be true or false, not 'maybe'" in error.detail


def test_a_folder_that_is_not_ours_to_look_into_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", forbidden)
    for more in ({}, {"file": str(home / "config.toml")}):
        assert refused(home, **more).detail == f"cannot read {home}/config.toml: Permission denied"


def test_a_file_that_is_no_text_is_told_so(home: Path) -> None:
    (home / "config.toml").write_bytes(b"\xff\xfe")
    assert "is not valid TOML" in refused(home).detail


def test_without_authentication_may_be_written_in_two_ways(home: Path) -> None:
    assert load(home, 'auth = "none"\n').text("auth.auth") == "none"
    assert load(home, '[auth]\nauth = "none"\n').text("auth.auth") == "none"


def test_the_token_may_lie_in_a_file_of_its_own(home: Path) -> None:
    (home / "token").write_text(" s3cret\n")
    text = '[auth]\ntoken_file = "token"\n'
    assert load(home, text).token == "s3cret"
    assert load(home, text, environ={"HAKURIVER_TOKEN": "other"}).token == "other"
    (home / "token").unlink()
    assert "token_file" in refused(home, text).detail


def test_the_template_loads_and_is_the_defaults(home: Path, tmp_path: Path) -> None:
    text = render_template("0123456789abcdef")
    written, default = load(home, text), load(home, file=str(_empty(home)))
    assert written.token == "0123456789abcdef"
    assert {**written.values, "auth.token": ""} == default.values


def _empty(folder: Path) -> Path:
    (folder / "empty.toml").write_text("")
    return folder / "empty.toml"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_template_explains_every_setting(setting: Setting) -> None:
    section = render_template("t").split(f"[{setting.section}]\n")[1].split("\n[")[0]
    lines = section.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith(f"{setting.key} = "))
    assert lines[place - 1] == f"# {setting.help}"


@pytest.mark.parametrize(
    ("address", "text"),
    [("node1", "http://node1:80"), ("::1", "http://[::1]:80"), ("1.2.3.4", "http://1.2.3.4:80")],
)
def test_a_url_has_brackets_where_it_needs_them(address: str, text: str) -> None:
    assert url(address, 80) == text
