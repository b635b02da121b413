"""`hakuriver runner`: what is wired to what."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hakuriver import PROTOCOL, __version__
from hakuriver.model.messages import Heartbeat, HeartbeatAnswer, RegisterAnswer
from hakuriver.model.node import NodeInfo
from hakuriver.runner.agent import Agent
from hakuriver.runner.drivers.choice import choose
from hakuriver.runner.engine import EngineState
from hakuriver.runner.fingerprint import boot_identity
from hakuriver.runner.heartbeat import Heart
from hakuriver.runner.host_api import HostApi
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.parts import Parts
from hakuriver.runner.routes import ROUTES, Desk
from hakuriver.runner.settings import (
    capacity_of,
    find_numactl,
    make_dir,
    node_name,
    route_to_host,
    task_user,
)
from hakuriver.runner.shared import SharedDir
from hakuriver.runner.vitals import Meter
from hakuriver.system import daemon, logs
from hakuriver.system.auth import check_bind, is_loopback
from hakuriver.system.config import Config, load_config, tls_of, url
from hakuriver.system.docker import Docker
from hakuriver.system.httpd import HttpServer
from hakuriver.system.lockfile import LockFile
from hakuriver.system.router import Router
from hakuriver.system.ticker import Ticker
from hakuriver.system.tokens import open_secrets

log = logging.getLogger(__name__)

_ENGINE_SECONDS = 5.0


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    _hide_token(options)
    overrides: dict[str, Any] = {
        setting: value
        for setting, value in (
            ("runner.name", options.name),
            ("network.runner_port", options.port),
            ("network.runner_address", options.address),
            ("paths.shared_dir", options.shared_dir),
        )
        if value is not None
    }
    if options.token_file is not None:
        overrides |= {"auth.token_file": options.token_file, "auth.token": ""}
    stop = daemon.stop_requested(child=options.child)
    config = _config(options, overrides, stop)
    if config is None:
        return 0
    log_file = config.text("paths.runner_log_file")
    logs.setup("runner", file=Path(log_file) if log_file else None)
    for path in open_secrets(config):
        log.warning("%s holds a secret and everybody here can read it: chmod o= %s", path, path)
    runner = Runner(config)
    try:
        runner.start()
        if options.child:
            daemon.tell_parent(runner.url)
        daemon.tell_manager("READY=1")
        stop.wait()
    finally:
        daemon.tell_manager("STOPPING=1")
        runner.stop()
    return 0


def _config(
    options: argparse.Namespace, overrides: dict[str, Any], stop: daemon.Stop
) -> Config | None:
    """None if we are asked to stop before the host has said what it is."""
    if options.join is None:
        return load_config(options.config, overrides)
    from hakuriver.runner.join import join

    logs.setup("runner", file=None)
    return join(options.join, options.config, overrides, stop)


def _hide_token(options: argparse.Namespace) -> None:
    """Start again without the token on the command line, where everybody on this machine reads it."""
    if options.token is None:
        return
    shown = [word for word in sys.orig_argv if word != f"--token={options.token}"]
    if "--token" in shown:
        place = shown.index("--token")
        del shown[place : place + 2]
    environ = {**os.environ, "HAKURIVER_TOKEN": options.token}
    os.execve(sys.executable, [sys.executable, *shown[1:]], environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hakuriver runner",
        description="Run the tasks that the host gives to this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", metavar="PATH", help="configuration file")
    parser.add_argument("--name", metavar="NAME", help="name of this node")
    parser.add_argument(
        "--port", metavar="N", type=int, help="port to listen on; 0 takes a free one"
    )
    parser.add_argument("--address", metavar="ADDRESS", help="where the host finds this runner")
    parser.add_argument("--token-file", metavar="PATH", help="file that holds the token")
    parser.add_argument(
        "--join", metavar="URL", help="the host; what is not configured here is taken from it"
    )
    parser.add_argument(
        "--shared-dir", metavar="PATH", help="where the shared directory is on this machine"
    )
    parser.add_argument(
        "--token", metavar="TOKEN", help="the token; better in a file or HAKURIVER_TOKEN"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


class Runner:
    """The running program. Raises UsageError if it cannot run as configured."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._name = node_name(config)
        self._state = make_dir(config.path("paths.runner_state_dir") / self._name)
        self._lock = LockFile(self._state / "lock", what="a runner")
        self._local_temp_dir = make_dir(config.path("paths.local_temp_dir"))
        self._capacity = capacity_of(config)
        self._user = task_user(config)
        self._choice = choose(sudo=config.switch("runner.use_sudo"))
        if not self._choice.tools:
            log.warning("tasks without a container have no limits here: %s", self._choice.why)
        self._ledger = Ledger(self._state)
        self._shared = SharedDir(config.path("paths.shared_dir"))
        self._meter = Meter()
        self._docker = Docker(("sudo", "-n") if config.switch("runner.use_sudo") else ())
        self._engine = EngineState(self._docker)
        self._agent: Agent | None = None
        self._parts: Parts | None = None
        address = config.text("network.runner_address") or route_to_host(config)
        bind = config.text("network.runner_bind_ip") or address
        check_bind(
            bind,
            token=config.token,
            open_to_all=config.text("auth.auth") == "none",
            what="the runner",
        )
        self._server = HttpServer(
            (bind, config.whole("network.runner_port")),
            Router(ROUTES),
            Desk(
                self._name,
                lambda: self._agent,
                lambda: self._parts.images if self._parts else None,
                lambda: self._parts.shells if self._parts else None,
            ),
            token=config.token,
            names={address, socket.gethostname()},
            tls=tls_of(config),
            name="runner",
        )
        secure = bool(config.text("network.tls_cert"))
        if config.text("network.tls_ca") and not secure and not is_loopback(bind):
            log.warning("the host speaks to this runner without TLS: set network.tls_cert")
        self.url = url(address, self._server.port, secure=secure)
        self._heart = Heart(
            api=HostApi(config.host_url, token=config.token, ca=config.text("network.tls_ca")),
            describe=self._describe,
            beat=self._beat,
            registered=self._registered,
            answered=self._answered,
        )
        self._engine_ticker = Ticker("engine", _ENGINE_SECONDS, self._engine.step)

    def start(self) -> None:
        self._engine.step()
        if self._ledger.cluster is not None:
            # What an earlier incarnation left is taken care of, whether the host is there or not.
            self._begin(self._ledger.cluster)
        self._engine_ticker.start()
        self._server.start()
        log.info("runner %s serving on %s", self._name, self.url)
        daemon.tell_manager(f"STATUS=serving on {self.url}, not in contact with the host yet")
        self._heart.start()

    def stop(self) -> None:
        """Tasks go on; the next start finds them again."""
        self._heart.stop()
        self._server.stop()
        self._engine_ticker.stop()
        if self._parts is not None:
            self._parts.stop()
        self._ledger.close()
        self._lock.release()
        log.info("runner stopped")

    def _begin(self, cluster: str) -> None:
        self._shared.cluster = cluster
        self._parts = Parts(
            config=self._config,
            name=self._name,
            cluster=cluster,
            state=self._state,
            capacity=self._capacity,
            user=self._user,
            choice=self._choice,
            ledger=self._ledger,
            docker=self._docker,
            engine=self._engine,
            on_loaded=lambda: self._engine_ticker.wake(),
            problem=self._shared.problem,
        )
        self._agent = self._parts.agent
        self._parts.begin()

    # Contact with the host

    def _registered(self, answer: RegisterAnswer) -> None:
        if self._ledger.cluster == answer.cluster:
            return
        self._ledger.bind(answer.cluster)
        if self._parts is not None:
            self._agent = None
            self._parts.stop()
        self._begin(answer.cluster)

    def _describe(self) -> NodeInfo:
        return NodeInfo(
            name=self._name,
            url=self.url,
            instance=self._ledger.instance,
            incarnation=self._ledger.incarnation,
            boot=boot_identity(),
            version=__version__,
            protocol=PROTOCOL,
            capacity=self._capacity,
            driver=self._choice.name if self._config.switch("runner.allow_null_container") else "",
            engine=self._engine.engine,
            environments=self._environments(),
            problems=self._problems(),
            numactl=find_numactl(self._config) is not None,
        )

    def _environments(self) -> Mapping[str, str]:
        here = self._engine.environments
        return self._parts.images.published(here) if self._parts else here

    def _problems(self) -> tuple[str, ...]:
        problem = self._shared.glance()
        return (problem,) if problem else ()

    def _beat(self, n: int) -> Heartbeat:
        # The list first: an order that is taken on meanwhile is then in the next one.
        seen = self._ledger.orders_seen
        held = self._parts.jobs.held() if self._parts else []
        return Heartbeat(
            node=self._name,
            incarnation=self._ledger.incarnation,
            n=n,
            orders_seen=seen,
            held=tuple(held),
            vitals=self._meter.read(),
            engine=self._engine.engine,
            environments=self._environments(),
            problems=self._problems(),
        )

    def _answered(self, answer: HeartbeatAnswer) -> None:
        self._ledger.close_below(answer.orders_closed_below)
        if self._agent is not None:
            self._agent.kill_stale(answer.kill)
