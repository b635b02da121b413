"""Every setting, once: SETTINGS drives the file, the environment, `init config` and the docs.

Precedence: command line, then HAKURIVER_SECTION_KEY (and HAKURIVER_TOKEN), then the file, then
the default. The file is --config, else HAKURIVER_CONFIG, else HAKURIVER_HOME/config.toml if it
exists. Relative paths in a file are relative to the file's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hakuriver.model.errors import UsageError
from hakuriver.system.tokens import check_token, read_token

if TYPE_CHECKING:
    import ssl

Kind = Literal["text", "path", "port", "seconds", "number", "whole", "switch", "texts"]


@dataclass(frozen=True, slots=True)
class Setting:
    section: str
    key: str
    kind: Kind
    default: Any
    help: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides the file."""
        if self.name == "auth.token":
            return "HAKURIVER_TOKEN"
        return f"HAKURIVER_{self.section}_{self.key}".upper()


def _in(section: str, *rows: tuple[str, Kind, Any, str]) -> tuple[Setting, ...]:
    return tuple(Setting(section, *row) for row in rows)


SETTINGS: tuple[Setting, ...] = (
    *_in(
        "network",
        ("host_bind_ip", "text", "127.0.0.1", "Address that the host listens on; 0.0.0.0 for all, which needs a token."),
        ("host_port", "port", 8000, "Port of the host."),
        ("host_reachable_address", "text", "127.0.0.1", "Where runners and clients find the host: name or address."),
        ("runner_address", "text", "", "Where the host finds this runner. Empty: the address of the route to the host."),
        ("runner_bind_ip", "text", "", "Address that the runner listens on. Empty: runner_address."),
        ("runner_port", "port", 8001, "Port of the runner."),
        ("tls_cert", "path", "", "Certificate (PEM) of the host or runner here; it then speaks TLS only."),
        ("tls_key", "path", "", "Key of tls_cert. Empty: it is in the same file."),
        ("tls_ca", "path", "", "Authorities (PEM) that certificates of the others must come from; they are then called by https."),
    ),
    *_in(
        "auth",
        ("token", "text", "", "Shared secret of the cluster. Without one only the loopback interface is served."),
        ("token_file", "path", "", "File that holds the token, instead of writing it here."),
        ("auth", "text", "token", 'Write "none" to serve other machines without a token. Everybody who reaches the ports then is root on every node.'),
    ),
    *_in(
        "paths",
        ("shared_dir", "path", "shared", "Storage that host and runners share; the mount point may differ per node."),
        ("local_temp_dir", "path", "temp", "Node-local scratch space, /local_temp in containers."),
        ("runner_state_dir", "path", "runners", "What a runner has to remember over a restart. Local disk, never shared."),
        ("numactl_path", "text", "", "The numactl program. Empty: numactl from PATH."),
        ("host_log_file", "path", "", "Also write the host's log here."),
        ("runner_log_file", "path", "", "Also write the runner's log here."),
    ),
    *_in(
        "database",
        ("db_file", "path", "host/cluster.db", "The host's state. Local disk, never a network file system."),
        ("keep_history", "number", 0, "Days after which a task that ended is forgotten, together with its output; 0: never."),
        ("keep_logs", "number", 0, "Days after which the output of a task that ended is deleted; 0: not before the task is forgotten."),
    ),
    *_in(
        "timing",
        ("heartbeat_interval", "seconds", 5.0, "Seconds between heartbeats of a runner; the host's value counts."),
        ("heartbeat_timeout_factor", "number", 6.0, "A node is offline after so many intervals without a heartbeat."),
        ("cleanup_check_interval", "seconds", 10.0, "Seconds between checks for nodes that went silent."),
        ("resource_check_interval", "seconds", 1.0, "Seconds between two records of GET /health, of which the host keeps 60."),
        ("terminal_keep", "seconds", 120.0, "Seconds that a terminal in the dashboard waits for its page after the connection broke."),
    ),
    *_in(
        "environment",
        ("runner_user", "text", "", "User that tasks without a container run as; needs a runner that is root. Empty: the runner's own."),
    ),
    *_in(
        "runner",
        ("name", "text", "", "Name of this node. Empty: the machine's name."),
        ("cores", "number", 0, "Cores to offer. 0: all that this machine has."),
        ("memory", "text", "", "Memory to offer, as in 12G. Empty: all that this machine has."),
        ("max_tasks", "whole", 0, "Tasks at once, at most. 0: four per core."),
        ("max_starting", "whole", 4, "Containers started at the same time; engines serialise starts anyway."),
        ("kill_grace", "seconds", 10.0, "Seconds between SIGTERM and SIGKILL."),
        ("use_sudo", "switch", False, "Call docker through `sudo -n`."),
        ("allow_privileged", "switch", True, "Accept privileged containers."),
        ("allow_null_container", "switch", True, "Accept tasks without a container."),
        ("allowed_mounts", "texts", ("/",), "Folders of this node (and below) that tasks may mount."),
    ),
    *_in(
        "docker",
        ("container_dir", "text", "hakuriver-containers", "Folder of the environments' tarballs, inside shared_dir."),
        ("default_container_name", "text", "hakuriver-base", "Environment of tasks that name none; NULL for none."),
        ("initial_base_image", "text", "python:3.12.10-alpine3.21", "Image that the default environment is first made from, if it has no tarball when the host starts."),
        ("keep_versions", "whole", 2, "How many tarballs of each environment stay; older ones are deleted when a new one is packed."),
        ("tasks_privileged", "switch", False, "Run containers privileged unless the task says otherwise."),
        ("additional_mounts", "texts", (), "Mounts of every container that names none, as SRC:DST or SRC:DST:ro."),
        ("shm_size", "text", "", "Size of /dev/shm in containers. Empty: the engine's default of 64M."),
    ),
)  # fmt: skip
BY_NAME = {setting.name: setting for setting in SETTINGS}
_RANGES: dict[Kind, tuple[float, float]] = {
    "port": (0, 65535),
    "seconds": (0.05, 86400),
    "number": (0, 1e9),
    "whole": (0, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked, with their defaults filled in and paths absolute.

    `config["runner.cores"]` is the value; `home` is HAKURIVER_HOME; `file` where it was read
    from, None if there was none.
    """

    values: Mapping[str, Any]
    home: Path
    file: Path | None

    def text(self, name: str) -> str:
        return cast(str, self.values[name])

    def path(self, name: str) -> Path:
        return Path(self.values[name])

    def number(self, name: str) -> float:
        return cast(float, self.values[name])

    def whole(self, name: str) -> int:
        return cast(int, self.values[name])

    def switch(self, name: str) -> bool:
        return cast(bool, self.values[name])

    def texts(self, name: str) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self.values[name])

    @property
    def token(self) -> str:
        return self.text("auth.token")

    @property
    def host_url(self) -> str:
        return self.url_at(self.whole("network.host_port"))

    def url_at(self, port: int) -> str:
        """The host's, if this is its port."""
        address = self.text("network.host_reachable_address")
        return url(address, port, secure=bool(self.text("network.tls_ca")))


def url(address: str, port: int, *, secure: bool = False) -> str:
    """http(s)://address:port, with the brackets that an IPv6 address needs."""
    name = f"[{address}]" if ":" in address else address
    return f"{'https' if secure else 'http'}://{name}:{port}"


def tls_of(config: Config) -> ssl.SSLContext | None:
    """What a server here speaks TLS with, if it is to. Raises UsageError."""
    cert, key = config.text("network.tls_cert"), config.text("network.tls_key")
    if not cert:
        if key:
            raise UsageError("network.tls_key is set and network.tls_cert is not")
        return None
    from hakuriver.system.tls import server_context

    return server_context(cert, key)


def home_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HAKURIVER_HOME") or Path.home() / ".hakuriver").absolute()


def load_config(
    file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Config:
    """Read and check the configuration; overrides are {"section.key": value} of flags given,
    defaults take the place of ours.

    Raises UsageError that names the file, the key and, for an unknown key, the nearest right one.
    """
    environ = os.environ if environ is None else environ
    home = home_dir(environ)
    path = _find_file(file, environ, home)
    values: dict[str, Any] = {s.name: _resolve(s, s.default, home) for s in SETTINGS}
    for name, value in (defaults or {}).items():
        if name in BY_NAME:
            values[name] = _checked(BY_NAME[name], value, "the host", home)
    if path is not None:
        for name, value in _flatten(_read(path), path).items():
            values[name] = _checked(BY_NAME[name], value, str(path), path.parent)
    for setting in SETTINGS:
        if environ.get(setting.variable):
            given = _from_text(setting, environ[setting.variable])
            values[setting.name] = _checked(setting, given, setting.variable, Path.cwd())
    for name, value in (overrides or {}).items():
        values[name] = _checked(BY_NAME[name], value, "command line", Path.cwd())
    return Config(_with_token(values), home, path)


def _find_file(file: str | None, environ: Mapping[str, str], home: Path) -> Path | None:
    named = file or environ.get("HAKURIVER_CONFIG")
    if named:
        path = Path(named).absolute()
        if not is_file(path):
            source = "--config" if file else "HAKURIVER_CONFIG"
            raise UsageError(f"{source}: there is no file {path}", "Make one with: init config")
        return path
    path = home / "config.toml"
    return path if is_file(path) else None


def is_file(path: Path) -> bool:
    """Raises UsageError for a folder that we may not look into, as another user's home."""
    try:
        return path.is_file()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _read(path: Path) -> dict[str, Any]:
    loads = _toml_loads(path)
    try:
        return loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def _toml_loads(path: Path) -> Callable[[str], dict[str, Any]]:
    for name in ("tomllib", "tomli"):
        try:
            return cast("Callable[[str], dict[str, Any]]", import_module(name).loads)
        except ModuleNotFoundError:
            continue
    raise UsageError(
        f"cannot read {path}: this Python has no TOML reader",
        "Use Python 3.11 or newer, or install the package tomli.",
    )


def _flatten(document: dict[str, Any], path: Path) -> dict[str, Any]:
    if document.get("auth") == "none":
        document = {**document, "auth": {"auth": "none"}}
    sections = {setting.section for setting in SETTINGS}
    flat: dict[str, Any] = {}
    for section, table in document.items():
        if section not in sections:
            raise UsageError(
                f"{path}: unknown section [{section}]" if isinstance(table, dict)
                else f"{path}: unknown setting '{section}' outside any section",
                _section_of(section) or _nearest(section, sections),
            )  # fmt: skip
        if not isinstance(table, dict):
            raise UsageError(f"{path}: '{section}' is a section: write [{section}]")
        for key, value in table.items():
            if f"{section}.{key}" not in BY_NAME:
                raise UsageError(
                    f"{path}: unknown setting '{key}' in [{section}]", _hint(section, key)
                )
            flat[f"{section}.{key}"] = value
    return flat


def _section_of(key: str) -> str:
    sections = [setting.section for setting in SETTINGS if setting.key == key]
    return f"It belongs to [{sections[0]}]." if sections else ""


def _hint(section: str, key: str) -> str:
    elsewhere = _section_of(key)
    if elsewhere:
        return elsewhere
    own = {s.key for s in SETTINGS if s.section == section}
    return _nearest(key, own) or _nearest(key, {s.key for s in SETTINGS})


def _nearest(word: str, words: set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, sorted(words), 1, 0.5)
    return f"Did you mean '{close[0]}'?" if close else ""


def _from_text(setting: Setting, text: str) -> Any:
    """What an environment variable means; the check comes after and is the same for all."""
    if setting.kind == "switch":
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(
            text.lower(), text
        )
    if setting.kind == "texts":
        return [part for part in text.split(",") if part]
    if setting.kind in _RANGES:
        try:
            return int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            return text
    return text


_WANTED: dict[Kind, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a text"),
    "path": ((str,), "a path"),
    "port": ((int,), "a port number"),
    "seconds": ((int, float), "a number of seconds"),
    "number": ((int, float), "a number"),
    "whole": ((int,), "a whole number"),
    "switch": ((bool,), "true or false"),
    "texts": ((list, tuple), "a list of texts"),
}


def _checked(setting: Setting, value: Any, source: str, base: Path) -> Any:
    types, wanted = _WANTED[setting.kind]
    fits = isinstance(value, types) and (setting.kind == "switch" or not isinstance(value, bool))
    if fits and setting.kind == "texts":
        fits = all(isinstance(part, str) for part in value)
    if not fits:
        raise UsageError(f"{source}: {setting.name} must be {wanted}, not {value!r}")
    if any("\0" in text for text in (value if setting.kind == "texts" else [str(value)])):
        raise UsageError(f"{source}: {setting.name} holds a NUL character")
    if setting.kind == "path" and setting.default and not value:
        raise UsageError(f"{source}: {setting.name} must not be empty")
    low, high = _RANGES.get(setting.kind, (0, 0))
    if setting.kind in _RANGES and not low <= value <= high:
        raise UsageError(
            f"{source}: {setting.name} must be between {low:g} and {high:g}, not {value}"
        )
    if setting.name == "auth.auth" and value not in ("token", "none"):
        raise UsageError(f'{source}: auth.auth must be "token" or "none", not {value!r}')
    return _resolve(setting, value, base)


def _resolve(setting: Setting, value: Any, base: Path) -> Any:
    if setting.kind == "path" and value:
        return str(base / Path(value).expanduser())
    return tuple(value) if setting.kind == "texts" else value


def _with_token(values: dict[str, Any]) -> dict[str, Any]:
    file = values["auth.token_file"]
    if not values["auth.token"] and file:
        values = {**values, "auth.token": read_token(file)}
    check_token(values["auth.token"])
    return values


def render_template(token: str) -> str:
    """A commented configuration file whose values are the defaults, but for the token."""
    lines = [
        "# HakuRiver. Every value below is the default and runs as it is, on one machine.",
        "# For a cluster, change host_bind_ip, host_reachable_address and shared_dir.",
        "# Relative paths are relative to this file. Keep this file private: it holds the token.",
    ]
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines.append(f"# {setting.help}")
        value = token if setting.name == "auth.token" else setting.default
        lines.append(f"{setting.key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
