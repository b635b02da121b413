"""`hakuriver runner`: what is wired to what."""

from __future__ import annotations

import argparse
import logging
import pwd
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hakuriver import PROTOCOL, __version__
from hakuriver.model.messages import Heartbeat, HeartbeatAnswer, RegisterAnswer
from hakuriver.model.node import Capacity, NodeInfo
from hakuriver.runner.agent import Agent
from hakuriver.runner.drivers import Driver
from hakuriver.runner.drivers.choice import Choice, choose
from hakuriver.runner.drivers.docker import DockerDriver, DockerSettings
from hakuriver.runner.drivers.process import ProcessDriver, ProcessSettings
from hakuriver.runner.drivers.systemd import SystemdDriver
from hakuriver.runner.engine import EngineState
from hakuriver.runner.fingerprint import boot_identity
from hakuriver.runner.heartbeat import Heart
from hakuriver.runner.host_api import HostApi
from hakuriver.runner.images import Images
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.policy import Policy
from hakuriver.runner.pool import Pool, Timers
from hakuriver.runner.program import publish
from hakuriver.runner.recovery import Recovery
from hakuriver.runner.reports import Reporter
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
from hakuriver.runner.shells import Shells
from hakuriver.runner.vitals import Meter
from hakuriver.runner.work import Hands, Place, Worker
from hakuriver.system import daemon, logs
from hakuriver.system.auth import check_bind
from hakuriver.system.config import Config, load_config, tls_of, url
from hakuriver.system.docker import Docker
from hakuriver.system.httpd import HttpServer
from hakuriver.system.lockfile import LockFile
from hakuriver.system.router import Router
from hakuriver.system.tarballs import Tarballs
from hakuriver.system.ticker import Ticker

log = logging.getLogger(__name__)

_ENGINE_SECONDS = 5.0
_IMAGES_SECONDS = 60.0
_RECORDS_SECONDS = 600.0


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    overrides: dict[str, Any] = {
        setting: value
        for setting, value in (
            ("runner.name", options.name),
            ("network.runner_port", options.port),
            ("network.runner_address", options.address),
        )
        if value is not None
    }
    if options.token_file is not None:
        overrides |= {"auth.token_file": options.token_file, "auth.token": ""}
    config = load_config(options.config, overrides)
    log_file = config.text("paths.runner_log_file")
    logs.setup("runner", file=Path(log_file) if log_file else None)
    stop = daemon.stop_requested(child=options.child)
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
        self._parts: _Parts | None = None
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
        self._parts = _Parts(
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


class _Parts:
    """Everything that belongs to one cluster."""

    def __init__(
        self,
        *,
        config: Config,
        name: str,
        cluster: str,
        state: Path,
        capacity: Capacity,
        user: pwd.struct_passwd | None,
        choice: Choice,
        ledger: Ledger,
        docker: Docker,
        engine: EngineState,
        on_loaded: Callable[[], None],
        problem: Callable[[], str],
    ) -> None:
        self._on_loaded = on_loaded
        grace = config.number("runner.kill_grace")
        program = publish(state)
        shared_dir = config.path("paths.shared_dir")
        self._docker_starts = Pool("docker-start", config.whole("runner.max_starting") or 1)
        self._verbs = Pool("verbs", 4)
        self._timers = Timers(self._verbs.do)
        hands = Hands(
            start={"docker": self._docker_starts.do, "node": lambda work: self._node.do(work)},
            verbs=self._verbs.do,
            after=self._timers.after,
        )
        self.jobs = Jobs(ledger, lambda final: self._reporter.wake(final))
        self._reporter = Reporter(
            jobs=self.jobs,
            api=HostApi(config.host_url, token=config.token, ca=config.text("network.tls_ca")),
            node=name,
            incarnation=ledger.incarnation,
        )
        place = Place(cluster, name, shared_dir, state / "records", boot_identity(), grace)
        self._worker = Worker(jobs=self.jobs, place=place, hands=hands, unfit=problem)
        self.agent = Agent(ledger=ledger, jobs=self.jobs, worker=self._worker, hands=hands)
        node_settings = ProcessSettings(
            cluster=cluster,
            node=name,
            shared_data=shared_dir / "shared_data",
            local_temp_dir=config.path("paths.local_temp_dir"),
            grace=grace,
            numactl=find_numactl(config),
            user=user,
            program=program,
        )
        self._node: ProcessDriver | SystemdDriver = (
            SystemdDriver(node_settings, choice.tools, self._worker.ended)
            if choice.tools
            else ProcessDriver(node_settings, self._worker.ended)
        )
        self._docker = DockerDriver(
            docker,
            DockerSettings(
                cluster=cluster,
                node=name,
                shared_data=shared_dir / "shared_data",
                local_temp_dir=config.path("paths.local_temp_dir"),
                numa=capacity.numa,
                shm_size=config.text("docker.shm_size"),
                policy=Policy(
                    config.switch("runner.allow_privileged"), config.texts("runner.allowed_mounts")
                ),
                sudo=config.switch("runner.use_sudo"),
                program=program,
            ),
            self._worker.ended,
        )
        self.images = self._worker.images = Images(
            docker=docker,
            tarballs=Tarballs(shared_dir / config.text("docker.container_dir")),
            state=state,
            node=name,
            named=lambda: engine.environments,
            on_loaded=self._image_loaded,
        )
        self._images_ticker = Ticker("images", _IMAGES_SECONDS, self.images.tidy)
        drivers: dict[str, Driver] = {"docker": self._docker}
        if config.switch("runner.allow_null_container"):
            drivers["node"] = self._node
        self._worker.drivers = drivers
        self.shells = Shells(self.jobs, drivers)
        self._recovery = Recovery(self.jobs, self._worker, hands)
        self._records_ticker = Ticker(
            "records", _RECORDS_SECONDS, self._recovery.remove_old_records
        )

    def begin(self) -> None:
        self._recovery.recover()
        self._docker.begin()
        self._reporter.start(self.agent)
        self._images_ticker.start()
        self._records_ticker.start()

    def _image_loaded(self) -> None:
        self._on_loaded()
        self._images_ticker.wake()

    def stop(self) -> None:
        self._images_ticker.stop()
        self._records_ticker.stop()
        self._docker.stop()
        for pool in (self._docker_starts, self._verbs):
            pool.stop()
        self._timers.stop()
        self._node.stop()
        self._reporter.stop()
