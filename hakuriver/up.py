"""`hakuriver up`: a whole cluster on this machine, for as long as this program runs.

Host and runner are processes of their own, exactly as in a real cluster; they end with this one,
however it ends: each has a pipe from it as its standard input.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import hakuriver
from hakuriver.client import submit
from hakuriver.client.arguments import Parser
from hakuriver.client.host_api import HostApi, Row
from hakuriver.client.logs import LogsOptions, Reader
from hakuriver.client.output import Output
from hakuriver.client.wait import exit_code
from hakuriver.model.errors import HakuRiverError, Unreachable, UsageError
from hakuriver.system.config import Config, home_dir, load_config
from hakuriver.system.httpc import HttpClient

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_FAILED = 125


def main(argv: list[str]) -> int:
    given, command = _parse(argv)
    config = _config(given)
    # A service manager's SIGTERM and a closed terminal end us as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with _cluster(config, given.config) as url:
            return _use(url, config, given, command)
    except HakuRiverError as error:
        if given.once and not isinstance(error, UsageError):
            raise UpFailed(error) from None
        raise


class UpFailed(HakuRiverError):
    """With --once the exit code is the task's: a failure of ours has a code of its own."""

    kind, exit_code = "up_failed", _FAILED

    def __init__(self, cause: HakuRiverError) -> None:
        super().__init__(cause.detail, cause.hint)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str] | None]:
    parser = Parser(
        "hakuriver up",
        "Start a host and a runner on this machine, and run a command there if one is given.",
        usage="hakuriver up [--once] [--port N] [SUBMIT OPTIONS] [--] [COMMAND [ARGUMENTS …]]",
    )
    add = parser.add_argument
    add("--once", action="store_true", help="stop when the command has ended, with its exit code")
    add(
        "--port",
        metavar="N",
        type=int,
        help="port of the host, N+1 is the runner's; 0: any free ones",
    )
    add("--config", metavar="PATH", help="configuration file")
    submit.add_arguments(parser)
    own, command = parser.split_command(argv)
    given = parser.parse_args(own)
    if given.once and not command:
        raise UsageError("--once needs a command", "As in: up --once -- echo hello")
    return given, command or None


def _config(given: argparse.Namespace) -> Config:
    """The user's, but for the addresses: this cluster is on the loopback interface only."""
    overrides: dict[str, Any] = {
        "network.host_bind_ip": _LOOPBACK,
        "network.host_reachable_address": _LOOPBACK,
        "network.runner_address": _LOOPBACK,
        "network.runner_bind_ip": _LOOPBACK,
        "docker.default_container_name": "NULL",
    }
    if given.port is not None:
        overrides["network.host_port"] = given.port
        overrides["network.runner_port"] = given.port + 1 if given.port else 0
    config = load_config(given.config, overrides)
    for name in ("network.host_port", "network.runner_port"):
        _check_free(config.whole(name))
    return config


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}",
                "Is a host or another `up` running? Choose other ports with --port N (N and N+1),"
                " or any free ones with --port 0.",
            ) from None


# Host and runner


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def failure(self) -> HakuRiverError:
        """What it said last."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if ": error: " in line]
        hints = [
            line.strip().removeprefix("hint: ") for line in lines if line.startswith("  hint: ")
        ]
        why = errors[-1].partition(": error: ")[2] if errors else f"see {self.log}"
        return HakuRiverError(f"the {self.name} did not start: {why}", hints[-1] if hints else "")


@contextlib.contextmanager
def _cluster(config: Config, file: str | None) -> Iterator[str]:
    """The URL of a host that has a node; both are gone afterwards."""
    children: list[_Child] = []
    try:
        host, url = _spawn("host", config, file, {})
        children.append(host)
        port = url.rpartition(":")[2]
        runner, _ = _spawn("runner", config, file, {"HAKURIVER_NETWORK_HOST_PORT": port})
        children.append(runner)
        _await_node(url, config, children)
        yield url
    finally:
        # The runner first: what it still has to say, the host hears.
        for child in reversed(children):
            with contextlib.suppress(KeyboardInterrupt):
                child.stop()


def _spawn(name: str, config: Config, file: str | None, more: dict[str, str]) -> tuple[_Child, str]:
    """Started, and the URL on which it serves. Raises HakuRiverError."""
    log = config.home / f"{name}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        stderr = open(log, "wb")  # noqa: SIM115  closed below, the child has its own
    except OSError as error:
        raise UsageError(f"cannot write {log}: {error.strerror}", "Set HAKURIVER_HOME.") from None
    with stderr:
        process = subprocess.Popen(
            [
                sys.executable,
                str(_program()),
                name,
                *(["--config", file] if file else []),
                "--child",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **_variables(config), **more},
            start_new_session=True,
        )
    child = _Child(name, process, log)
    try:
        return child, _first_line(child)
    except BaseException:
        child.stop()
        raise


def _first_line(child: _Child) -> str:
    assert child.process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.process.stdout, selectors.EVENT_READ)
        if not selector.select(_START_SECONDS):
            raise HakuRiverError(f"the {child.name} did not start in time", f"See {child.log}")
    line = child.process.stdout.readline().decode().strip()
    if not line:
        child.process.wait()
        raise child.failure()
    return line


def _program() -> Path:
    """The file that we were started from: the archive, or hakuriver.py of a checkout.

    Not a link to it: named hakuriver.up, it would be `up` again, whatever the words behind it.
    """
    place = Path(hakuriver.__file__).resolve().parent.parent
    return place if place.is_file() else place / "hakuriver.py"


def _variables(config: Config) -> dict[str, str]:
    names = (
        "network.host_bind_ip", "network.host_reachable_address", "network.host_port",
        "network.runner_address", "network.runner_bind_ip", "network.runner_port",
        "docker.default_container_name",
    )  # fmt: skip
    return {
        f"HAKURIVER_{name.replace('.', '_').upper()}": str(config.values[name]) for name in names
    }


def _await_node(url: str, config: Config, children: list[_Child]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with _api(url, config) as api:
        while not any(node["status"] == "online" for node in api.nodes()):
            for child in children:
                if child.process.poll() is not None:
                    raise child.failure()
            if time.monotonic() > deadline:
                raise HakuRiverError("the runner does not register", f"See {children[-1].log}")
            time.sleep(0.02)


@contextlib.contextmanager
def _api(url: str, config: Config) -> Iterator[HostApi]:
    ca = config.text("network.tls_ca")
    with contextlib.closing(HttpClient(url, token=config.token, ca=ca)) as http:
        yield HostApi(http, url)


# What it is used for


def _use(url: str, config: Config, given: argparse.Namespace, command: list[str] | None) -> int:
    with _api(url, config) as api:
        try:
            code = 0
            if not given.once:
                _welcome(url, api, config)
            if command:
                given.command = command
                code = _run(submit.options(given), api, url, config)
            if given.once:
                return code
            while True:
                signal.pause()
        except KeyboardInterrupt:
            _kill_all(api, config)
            if given.once:
                raise
            _say("Stopped.")
            return 0


def _welcome(url: str, api: HostApi, config: Config) -> None:
    node = api.nodes()[0]
    _say(
        f"HakuRiver is up at {url}: node {node['hostname']}, {node['total_cores']:g} cores;"
        f" data and logs in {config.home}."
    )
    _say("Submit from another terminal:")
    words = [_shown(sys.executable), str(_program()), "client", *_elsewhere(url, config)]
    _say(f"  {shlex.join(words)} --wait -- echo hello")
    _say("Ctrl-C stops it.")


def _elsewhere(url: str, config: Config) -> list[str]:
    """What a client in another terminal has to be told to find us and our token."""
    if config.file is None and config.whole("network.host_port") == 8000:
        return []
    words = ["--host", url.partition("//")[2]]
    if config.file is not None and config.file.absolute() != home_dir({}) / "config.toml":
        words += ["--config", str(config.file.absolute())]
    return words


def _shown(executable: str) -> str:
    """By its name, where that leads to this one; a version manager's stand-in may not."""
    name = Path(executable).name
    found = shutil.which(name)
    return name if found and os.path.samefile(found, executable) else executable


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _run(options: submit.SubmitOptions, api: HostApi, url: str, config: Config) -> int:
    """One task (or a batch): its output to ours, its exit code."""
    answer = submit.submit(options.body, api)
    for failed in answer.get("failed_targets") or ():
        _say(f"Not submitted to {failed['target']}: {failed['reason']}")
    rows: list[Row] = []
    ids = [str(task_id) for task_id in answer["task_ids"]]
    try:
        for task_id in ids:
            with _streaming(task_id, url, config):
                rows.append(_until_over(task_id, api))
    except KeyboardInterrupt:
        # What this command line has submitted goes with it, also what waits.
        for task_id in ids:
            with contextlib.suppress(HakuRiverError):
                api.kill(task_id)
        raise
    for task_id, row in zip(ids, rows, strict=True):
        if row["status"] != "completed" and row["error_message"]:
            _say(f"Task {task_id} {row['status']}: {row['error_message']}")
    return exit_code(rows)


def _until_over(task_id: str, api: HostApi) -> Row:
    """Its last row; why it waits is said when it waits."""
    told = ""
    row = api.status(task_id)
    while row["status"] not in ("completed", "failed", "killed", "killed_oom"):
        row = api.status(
            task_id, wait=2 if row["status"] == "pending" else 30, since=row["revision"]
        )
        why = row["error_message"] if row["status"] == "pending" else ""
        if why and why != told:
            _say(f"Task {task_id} waits: {why}")
            told = why
    return row


@contextlib.contextmanager
def _streaming(task_id: str, url: str, config: Config) -> Iterator[None]:
    """Both outputs of a task are copied to ours, to the last byte before this ends."""
    threads = []
    for stream, target in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        output = Output(target, sys.stderr)
        options = LogsOptions(task_id, stream, True, None)
        copy = _copier(options, output, url, config)
        threads.append(threading.Thread(target=copy, name=stream, daemon=True))
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def _copier(options: LogsOptions, output: Output, url: str, config: Config) -> Callable[[], None]:
    def copy() -> None:
        # A reader that is gone (`up … | head`) stops this stream, not the task.
        with contextlib.suppress(Unreachable, BrokenPipeError), _api(url, config) as api:
            Reader(options, api, output).follow()

    return copy


def _kill_all(api: HostApi, config: Config) -> None:
    """Nothing is left behind: what runs is killed. What waits stays, for the next time."""
    with contextlib.suppress(HakuRiverError, KeyboardInterrupt):
        statuses = ("assigning", "running", "paused")
        page = api.tasks({"status": ",".join(statuses), "limit": 1000})
        live = [str(row["task_id"]) for row in page.rows]
        if not live:
            return
        _say(f"Stopping, and killing task{'s' if len(live) > 1 else ''} {', '.join(live)} …")
        for task_id in live:
            with contextlib.suppress(HakuRiverError):
                api.kill(task_id)
        deadline = time.monotonic() + config.number("runner.kill_grace") + 5
        for task_id in live:
            row = api.status(task_id)
            while row["status"] in statuses and time.monotonic() < deadline:
                row = api.status(task_id, wait=1, since=row["revision"])
