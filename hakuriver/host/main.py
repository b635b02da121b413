"""`hakuriver host`: what is wired to what."""

from __future__ import annotations

import argparse
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hakuriver.host.audit import audited
from hakuriver.host.batches import Batches
from hakuriver.host.cluster import Cluster, Defaults
from hakuriver.host.dispatch import Dispatch
from hakuriver.host.environment_containers import EnvironmentContainers
from hakuriver.host.environments import Environments
from hakuriver.host.feed import Feed
from hakuriver.host.fleet import Fleet, Timing
from hakuriver.host.health import Health
from hakuriver.host.history import SAMPLE_SECONDS, History
from hakuriver.host.identity import Ids, open_identity
from hakuriver.host.jobs import Jobs
from hakuriver.host.joining import Joining
from hakuriver.host.outputs import Outputs
from hakuriver.host.pages import Pages
from hakuriver.host.placement import Supply
from hakuriver.host.registry import Registry, Unsent
from hakuriver.host.retention import Keep, Retention
from hakuriver.host.routes import ROUTES, Access, Desk
from hakuriver.host.runner_api import RunnerApi
from hakuriver.host.shells import Shells
from hakuriver.host.store import Store
from hakuriver.host.tarballs import Publisher
from hakuriver.host.terminals import Terminals
from hakuriver.host.watch import Watch
from hakuriver.model.errors import Unavailable, UsageError
from hakuriver.model.submission import NO_CONTAINER, parse_mount
from hakuriver.model.target import check_environment_name
from hakuriver.system import daemon, logs
from hakuriver.system.auth import check_bind, is_loopback, names_this_machine
from hakuriver.system.config import Config, load_config, tls_of, url
from hakuriver.system.docker import Docker
from hakuriver.system.httpc import HttpClient
from hakuriver.system.httpd import HttpServer
from hakuriver.system.lockfile import LockFile
from hakuriver.system.meaning import meant, tarball_dir
from hakuriver.system.router import Router
from hakuriver.system.session import session_key
from hakuriver.system.strangers import Strangers
from hakuriver.system.ticker import Ticker
from hakuriver.system.tokens import open_secrets

log = logging.getLogger(__name__)

_PRUNE_SECONDS = 600.0
_TIDY_SECONDS = 60.0
_GATHER_SECONDS = 0.001
_FEED_SECONDS = 1.0


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    overrides: dict[str, Any] = {}
    if options.bind is not None:
        overrides["network.host_bind_ip"] = options.bind
    if options.port is not None:
        overrides["network.host_port"] = options.port
    if options.token_file is not None:
        overrides |= {"auth.token_file": options.token_file, "auth.token": ""}
    config = load_config(options.config, overrides)
    log_file = config.text("paths.host_log_file")
    logs.setup("host", file=Path(log_file) if log_file else None)
    for path in open_secrets(config):
        log.warning("%s holds a secret and everybody here can read it: chmod o= %s", path, path)
    daemon.allow_many_files()
    stop = daemon.stop_requested(child=options.child)
    host = Host(config)
    try:
        host.start()
        if options.child:
            daemon.tell_parent(host.url)
        daemon.tell_manager("READY=1", f"STATUS=serving on {host.url}")
        stop.wait()
    finally:
        daemon.tell_manager("STOPPING=1")
        host.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hakuriver host",
        description="Keep the cluster's state, place tasks, answer clients and runners.",
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", metavar="PATH", help="configuration file")
    parser.add_argument("--bind", metavar="ADDRESS", help="address to listen on")
    parser.add_argument(
        "--port", metavar="N", type=int, help="port to listen on; 0 takes a free one"
    )
    parser.add_argument("--token-file", metavar="PATH", help="file that holds the token")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


class Host:
    """The running program. Raises UsageError if it cannot run as configured."""

    def __init__(self, config: Config) -> None:
        self._config = config
        bind = config.text("network.host_bind_ip")
        check_bind(
            bind,
            token=config.token,
            open_to_all=config.text("auth.auth") == "none",
            what="the host",
        )
        defaults = _defaults(config)
        image = config.text("docker.initial_base_image")
        self._initial = (defaults.container, image) if defaults.container else None
        db_file = config.path("database.db_file")
        self._lock = LockFile(db_file.with_name(db_file.name + ".lock"), what="a host")
        shared_dir = _shared_dir(config)
        self._watch = Watch()
        self._store = Store(db_file, on_change=self._changed)
        self._ids = ids = _open_ids(self._store, shared_dir)
        with self._store.read() as tx:
            registry = Registry(tx.nodes())
        unsent = Unsent()
        self._fleet = Fleet(
            store=self._store,
            registry=registry,
            unsent=unsent,
            identity=ids.identity,
            timing=_timing(config),
            on_orders=lambda node: self._dispatch.wake(node),
            on_room=lambda: self._placing.wake(),
        )
        containers = EnvironmentContainers(shared_data=str(shared_dir / "shared_data"))
        self._environments = _environments(
            config, shared_dir, containers, registry, ids, lambda: self._placing.wake()
        )
        cluster = Cluster(
            store=self._store,
            registry=registry,
            unsent=unsent,
            ids=ids,
            defaults=defaults,
            supply=lambda: Supply(self._environments.published(), self._environments.making()),
            why_missing=lambda: self._environments.initial_problem,
            on_orders=lambda node: self._dispatch.wake(node),
            on_room=lambda: self._placing.wake(),
        )
        self._dispatch = Dispatch(
            self._fleet,
            registry,
            lambda address: RunnerApi(
                address, token=config.token, ca=config.text("network.tls_ca")
            ),
        )
        health = Health(registry)
        self._feed = feed = Feed(
            cluster=cluster,
            jobs=self._environments.jobs,
            environments=lambda: self._environments.changes,
            shared_dir=shared_dir,
        )
        history = History(registry, cluster.reserved, on_sample=feed.sample)
        retention = Retention(self._store, shared_dir, _keep(config))
        self._placing = Ticker("placing", 5.0, cluster.place, gather=_GATHER_SECONDS)
        self._tickers = (
            self._placing,
            Ticker("scan", config.number("timing.cleanup_check_interval"), self._fleet.scan),
            Ticker("health", config.number("timing.resource_check_interval"), health.step),
            Ticker("history", SAMPLE_SECONDS, history.step),
            Ticker("feed", _FEED_SECONDS, feed.step),
            Ticker("prune", _PRUNE_SECONDS, retention.step),
            Ticker("tarballs", _TIDY_SECONDS, self._environments.tidy),
        )
        self._terminals = Terminals(config.number("timing.terminal_keep"))
        strangers, tls = Strangers(), tls_of(config)
        self._joining = Joining(config, ids.identity.cluster)
        sessions = session_key(config.token, ids.identity.cluster)
        desk = Desk(
            cluster=cluster,
            fleet=self._fleet,
            health=health,
            outputs=Outputs(shared_dir, cluster.task),
            watch=self._watch,
            batches=Batches(
                self._store,
                on_orders=lambda node: self._dispatch.wake(node),
                on_room=lambda: self._placing.wake(),
            ),
            retention=retention,
            environments=self._environments,
            shells=Shells(
                cluster=cluster,
                containers=containers,
                connect=lambda address: HttpClient(
                    address, token=config.token, ca=config.text("network.tls_ca")
                ),
                terminals=self._terminals,
            ),
            shared_dir=shared_dir,
            access=Access(
                config.token, sessions, tls is not None, strangers, lambda: self._server.port
            ),
            joining=self._joining,
            pages=Pages(),
            history=history,
            feed=feed,
        )
        self._server = HttpServer(
            (bind, config.whole("network.host_port")),
            Router(audited(ROUTES)),
            desk,
            token=config.token,
            sessions=sessions,
            names={config.text("network.host_reachable_address"), socket.gethostname()},
            strangers=strangers,
            tls=tls,
            name="host",
        )
        log.info(
            "cluster %s, epoch %d, database %s", ids.identity.cluster, ids.identity.epoch, db_file
        )

    def _changed(self, ids: set[int]) -> None:
        self._watch.changed(ids)
        self._feed.changed(ids)

    def start(self) -> None:
        for ticker in self._tickers:
            ticker.start()
        self._server.start()
        self.url = url(
            self._config.text("network.host_bind_ip"),
            self._server.port,
            secure=bool(self._config.text("network.tls_cert")),
        )
        log.info("host serving on %s", self.url)
        if not is_loopback(self._config.text("network.host_bind_ip")):
            self._tell_how_to_join()
        if self._initial is not None:
            self._environments.make_initial(*self._initial)

    def _tell_how_to_join(self) -> None:
        address = self._config.text("network.host_reachable_address")
        if names_this_machine(address):
            log.warning(
                "no other machine finds this host at %s: set network.host_reachable_address to"
                " its name or address as they see it",
                address,
            )
            return
        log.info("to make a node of another machine, type there:")
        for line in self._joining.commands(self._server.port):
            log.info("  %s", line)

    def stop(self) -> None:
        """Long polls are answered, what is being written is finished. Tasks do not notice."""
        self._watch.close()
        self._feed.close()
        self._environments.jobs.stop()
        self._terminals.stop()
        self._server.stop()
        for ticker in self._tickers:
            ticker.stop()
        self._dispatch.stop()
        self._store.close()
        with contextlib.suppress(Unavailable):
            self._ids.close()
        self._lock.release()
        log.info("host stopped")


def _defaults(config: Config) -> Defaults:
    setting = "docker.default_container_name"
    name = config.text(setting)
    mounts = config.texts("docker.additional_mounts")
    for mount in mounts:
        meant("docker.additional_mounts", parse_mount, mount)
    none = name in ("", NO_CONTAINER)
    return Defaults(
        container=None if none else meant(setting, check_environment_name, name),
        privileged=config.switch("docker.tasks_privileged"),
        mounts=mounts,
    )


def _timing(config: Config) -> Timing:
    interval = config.number("timing.heartbeat_interval")
    return Timing(interval, interval * config.number("timing.heartbeat_timeout_factor"))


def _keep(config: Config) -> Keep:
    days = {name: config.number(f"database.keep_{name}") for name in ("history", "logs")}
    return Keep(**{name: count * 86400 for name, count in days.items()})


def _shared_dir(config: Config) -> Path:
    """Made with its folders if need be. Raises UsageError."""
    shared_dir = config.path("paths.shared_dir")
    try:
        for folder in ("", "shared_data", "task_outputs", "task_errors"):
            (shared_dir / folder).mkdir(parents=True, exist_ok=True)
        tarball_dir(config, shared_dir).mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot use the shared directory {shared_dir}: {error.strerror}",
            "Set paths.shared_dir to a directory that host and runners share.",
        ) from None
    return shared_dir


def _environments(
    config: Config,
    shared_dir: Path,
    containers: EnvironmentContainers,
    registry: Registry,
    ids: Ids,
    on_room: Callable[[], None],
) -> Environments:
    return Environments(
        containers=containers,
        publisher=_publisher(config, shared_dir),
        jobs=Jobs(ids.identity.epoch),
        registry=registry,
        docker=Docker(("sudo", "-n") if config.switch("runner.use_sudo") else ()),
        connect=lambda address: RunnerApi(
            address, token=config.token, ca=config.text("network.tls_ca")
        ),
        on_room=on_room,
    )


def _publisher(config: Config, shared_dir: Path) -> Publisher:
    folder = tarball_dir(config, shared_dir)
    publisher = Publisher(folder, keep=config.whole("docker.keep_versions"))
    try:
        publisher.prepare()
    except OSError as error:
        raise UsageError(f"cannot use {folder}: {error.strerror}") from None
    return publisher


def _open_ids(store: Store, shared_dir: Path) -> Ids:
    with store.read() as tx:
        last_cluster, last_epoch = tx.meta("cluster"), int(tx.meta("epoch") or 0)
        last_id = tx.last_task_id()
    ids = open_identity(
        shared_dir, last_cluster=last_cluster, last_epoch=last_epoch, last_id=last_id
    )

    def remember(tx: Any) -> None:
        tx.set_meta("cluster", ids.identity.cluster)
        tx.set_meta("epoch", str(ids.identity.epoch))

    store.write(remember)
    return ids
