"""`hakuriver init service`: units that let systemd start host and runner, and keep them running."""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hakuriver.client import unit_files
from hakuriver.client.arguments import Parser
from hakuriver.client.output import Output
from hakuriver.client.units import Service, mount_of, mount_points, unit_text
from hakuriver.model.errors import Forbidden, HakuRiverError, UsageError
from hakuriver.system.addresses import check_scheme, host_address
from hakuriver.system.config import SETTINGS, Config, home_dir, is_file, load_config

PROG = "hakuriver init service"
_FLEETING = ("/tmp/", "/run/", "/dev/shm/")


def main(argv: list[str]) -> int:
    given = _parser().parse_args(argv, argparse.Namespace())
    out = Output.of_process("json" if given.json else "quiet" if given.quiet else "text")
    try:
        return service(given, out)
    except HakuRiverError as error:
        if not given.json:
            raise
        out.error(error, "init")
        return error.exit_code


def _parser() -> Parser:
    parser = Parser(
        PROG,
        "Write units with which systemd starts host and runner at every boot and keeps them"
        " running.\nInto /etc/systemd/system, as root, unless it is told otherwise. Nothing is"
        " started.",
    )
    add = parser.add_argument
    add("--host", action="store_true", help="a unit for the host")
    add("--runner", action="store_true", help="a unit for the runner")
    add("--all", action="store_true", help="both")
    add("--config", metavar="PATH", help="their configuration file")
    add("--host-config", metavar="PATH", help="the host's own")
    add("--runner-config", metavar="PATH", help="the runner's own")
    add("--user", metavar="NAME", help="whom they run as (default: you)")
    add("--join", metavar="URL", help="the runner gets what it needs from the host there")
    add("--token-file", metavar="PATH", help="with --join: the file that holds the token")
    add("--output-dir", metavar="DIR", help="write the files there and do nothing else")
    add("--no-install", action="store_true", help="the same with the current folder as DIR")
    add("--json", action="store_true", help="answers and errors as JSON")
    add("-q", "--quiet", action="store_true", help="only the paths")
    return parser


def service(given: argparse.Namespace, out: Output) -> int:
    roles = [role for role in ("host", "runner") if given.all or getattr(given, role)]
    if not roles:
        raise UsageError("which service?", "Say --host, --runner or --all.")
    if given.join is None and given.token_file is not None:
        raise UsageError("--token-file goes with --join", "The configuration has auth.token_file.")
    if given.join is not None and "runner" not in roles:
        raise UsageError("--join is for a runner", "Say --runner or --all.")
    account = _account(given.user)
    services = [_planned(role, given, account, os.environ) for role in roles]
    elsewhere = given.output_dir is not None or given.no_install
    folder = Path(given.output_dir or ".").absolute() if elsewhere else unit_files.SYSTEM
    installing = folder.resolve() == unit_files.SYSTEM
    if installing:
        _check_can_install(given, account, services)
    texts = [(folder / each.name, unit_text(each)) for each in services]
    for path, _ in texts:
        unit_files.check_ours(path)
    written = [unit_files.write_unit(path, text) for path, text in texts]
    changed = any(each.state != "unchanged" for each in written)
    if installing and changed:
        unit_files.reload()
    _say(out, written, installing=installing, changed=changed)
    _remark(out, services, account)
    return 0


# What the units are to say


def _account(name: str | None) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.getuid()) if name is None else pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"there is no user {name or os.getuid()} on this machine") from None


def _planned(
    role: str, given: argparse.Namespace, account: pwd.struct_passwd, environ: Mapping[str, str]
) -> Service:
    home = _home(account, environ)
    joining = role == "runner" and given.join is not None
    file = _config_file(role, given, home, environ, needed=not joining)
    # As the service will see it: without what is set in our own environment.
    config = load_config(None if file is None else str(file), environ={"HAKURIVER_HOME": str(home)})
    program = _program()
    command = [sys.executable, str(program), role]
    for path in filter(None, (program, file, *_secrets(config))):
        _check_readable(path, account)
    if file is not None:
        command += ["--config", str(file)]
    if joining:
        host_address(given.join, "--join")
        check_scheme(given.join, has_ca=bool(config.text("network.tls_ca")), flag="--join")
        command += ["--join", given.join]
        if given.token_file is not None:
            command += ["--token-file", str(_token_file(given.token_file, account))]
    return Service(
        role=role,
        command=command,
        home=str(home),
        user=None if account.pw_uid == 0 else account.pw_name,
        writes=_writes(config, home),
        mount="" if file is None else _mount(config.path("paths.shared_dir")),
        mountpoint=shutil.which("mountpoint") or "",
        sudo=config.switch("runner.use_sudo"),
    )


def _home(account: pwd.struct_passwd, environ: Mapping[str, str]) -> Path:
    """Where `init config` of that user writes to."""
    if account.pw_uid == os.getuid() or environ.get("HAKURIVER_HOME"):
        return home_dir(environ)
    return Path(account.pw_dir, ".hakuriver")


def _config_file(
    role: str, given: argparse.Namespace, home: Path, environ: Mapping[str, str], *, needed: bool
) -> Path | None:
    own = given.host_config if role == "host" else given.runner_config
    named = own or given.config or environ.get("HAKURIVER_CONFIG")
    path = Path(named).absolute() if named else home / "config.toml"
    if is_file(path):
        return path
    if named or needed:
        raise UsageError(f"there is no configuration file {path}", _where(environ))
    return None


def _where(environ: Mapping[str, str]) -> str:
    """sudo changes the home folder: whoever uses it has the file elsewhere."""
    try:
        theirs = Path(pwd.getpwnam(environ["SUDO_USER"]).pw_dir, ".hakuriver", "config.toml")
        if theirs.is_file():
            return f"Name it: --config {shlex.quote(str(theirs))}"
    except (KeyError, OSError):
        pass
    return "Make one with: init config. One that lies elsewhere is named with --config PATH."


def _program() -> Path:
    """The file that is running, as another process can start it."""
    program = Path(sys.argv[0]).resolve()
    if program.name == "__main__.py" or not program.is_file():
        raise UsageError(
            f"a service cannot start {program}", "Call hakuriver.pyz or hakuriver.py by its path."
        )
    return program


def _token_file(name: str, account: pwd.struct_passwd) -> Path:
    path = Path(name).absolute()
    if not is_file(path):
        raise UsageError(f"--token-file: there is no file {path}")
    _check_readable(path, account)
    return path


def _check_readable(path: Path, account: pwd.struct_passwd) -> None:
    """By the user that the service runs as, whoever we are. Raises UsageError."""
    if account.pw_uid == 0:
        return
    groups = set(os.getgrouplist(account.pw_name, account.pw_gid))
    for place in (*reversed(path.parents), path):
        try:
            found = place.stat()
        except OSError as error:
            raise UsageError(f"cannot look at {place}: {error.strerror}") from None
        bit = 0o4 if place == path else 0o1
        if found.st_uid == account.pw_uid:
            bit <<= 6
        elif found.st_gid in groups:
            bit <<= 3
        if not found.st_mode & bit:
            raise UsageError(
                f"{account.pw_name} cannot read {path}: {place} is closed to that user",
                "Move the file, or change its owner or its mode.",
            )


def _secrets(config: Config) -> list[Path]:
    """Token, certificates and keys that lie in files of their own."""
    named = [s.name for s in SETTINGS if s.section in ("auth", "network") and s.kind == "path"]
    return [config.path(name) for name in named if config.text(name)]


def _writes(config: Config, home: Path) -> list[str]:
    files = [config.path("database.db_file"), config.text("paths.host_log_file") or home]
    folders = [home, config.path("paths.shared_dir"), *(Path(file).parent for file in files)]
    return [os.path.realpath(folder) for folder in folders]


def _mount(shared_dir: Path) -> str:
    texts = []
    for source in ("/proc/self/mountinfo", "/etc/fstab"):
        try:
            texts.append(Path(source).read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError:
            texts.append("")
    return mount_of(os.path.realpath(shared_dir), mount_points(*texts))


# Putting them in place


def _check_can_install(
    given: argparse.Namespace, account: pwd.struct_passwd, services: Sequence[Service]
) -> None:
    """Raises UsageError or Forbidden, before anything is written."""
    elsewhere = "To write the files only: --output-dir DIR, or --no-install for this folder."
    if not unit_files.systemd_runs():
        raise UsageError("systemd does not run on this machine", elsewhere)
    if os.geteuid() != 0:
        words = ["sudo", sys.executable, str(_program()), "init", "service"]
        words += [f"--{each.role}" for each in services]
        words += [word for each in services for word in _config_words(each)]
        words += ["--user", account.pw_name]
        if given.join is not None:
            words += ["--join", given.join]
        if given.token_file is not None:
            words += ["--token-file", str(Path(given.token_file).absolute())]
        raise Forbidden(
            f"only root can write to {unit_files.SYSTEM}",
            f"As root: {shlex.join(words)} . {elsewhere}",
        )


def _config_words(service: Service) -> list[str]:
    if "--config" not in service.command:
        return []
    return [f"--{service.role}-config", service.command[service.command.index("--config") + 1]]


# What is said about it


def _say(
    out: Output, written: Sequence[unit_files.Written], *, installing: bool, changed: bool
) -> None:
    steps = next_steps(written, installing=installing)
    if out.mode == "json":
        units: list[Any] = [{"path": str(each.path), "state": each.state} for each in written]
        out.json({"units": units, "reloaded": installing and changed, "next": steps})
        return
    if out.mode == "quiet":
        out.lines(str(each.path) for each in written)
        return
    words = {"new": "written", "changed": "rewritten", "unchanged": "unchanged"}
    out.lines(f"{words[each.state]}: {each.path}" for each in written)
    if installing and changed:
        out.line("done: systemctl daemon-reload")
    out.note("Next:")
    for step in steps:
        out.note(f"  {step}")


def next_steps(written: Sequence[unit_files.Written], *, installing: bool) -> list[str]:
    """What to type now."""
    names = " ".join(each.path.name.partition(".")[0] for each in written)
    again = [each.path.name.partition(".")[0] for each in written if each.state == "changed"]
    files = " ".join(shlex.quote(str(each.path)) for each in written)
    copy = [f"sudo cp {files} {unit_files.SYSTEM}/", "sudo systemctl daemon-reload"]
    sudo = "" if installing else "sudo "
    return [
        *([] if installing else copy),
        f"{sudo}systemctl enable --now {names}",
        *([f"systemctl restart {' '.join(again)}  # tasks go on"] if installing and again else []),
        f"systemctl status {names}",
    ]


def _remark(out: Output, services: Sequence[Service], account: pwd.struct_passwd) -> None:
    ignored = [
        name
        for name in sorted(os.environ)
        if name.startswith("HAKURIVER_") and name not in ("HAKURIVER_HOME", "HAKURIVER_CONFIG")
    ]
    if ignored:
        out.warn(f"Set here, not for the services: {', '.join(ignored)}. Use the file.")
    program = services[0].command[1]
    if program.startswith(_FLEETING):
        out.warn(f"{program} may be gone after a reboot: put it elsewhere, and call that one.")
    if any(each.role == "runner" for each in services) and account.pw_uid != 0:
        names = ("systemd-run", "systemctl", "docker")
        programs = [shutil.which(name) or f"/usr/bin/{name}" for name in names]
        out.note(
            "A runner that is not root limits no tasks without a container, unless runner.use_sudo"
            " is set and /etc/sudoers.d/hakuriver says:"
        )
        out.note(f"  {account.pw_name} ALL=(root) NOPASSWD: {', '.join(programs)}")
