"""What works for one cluster on a node: made when the runner learns whose it is, one wired to the next."""

from __future__ import annotations

import logging
import math
import os
import pwd
from collections.abc import Callable
from pathlib import Path

from hakuriver.model.node import Capacity
from hakuriver.model.units import parse_size
from hakuriver.runner.agent import Agent
from hakuriver.runner.drivers import Driver
from hakuriver.runner.drivers.choice import Choice
from hakuriver.runner.drivers.docker import DockerDriver, DockerSettings
from hakuriver.runner.drivers.process import ProcessDriver, ProcessSettings
from hakuriver.runner.drivers.systemd import SystemdDriver
from hakuriver.runner.engine import EngineState
from hakuriver.runner.fingerprint import boot_identity
from hakuriver.runner.host_api import HostApi
from hakuriver.runner.images import Images
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.policy import Policy
from hakuriver.runner.pool import Pool, Timers
from hakuriver.runner.program import publish
from hakuriver.runner.recovery import Recovery
from hakuriver.runner.reports import Reporter
from hakuriver.runner.settings import (
    find_numactl,
)
from hakuriver.runner.shells import Shells
from hakuriver.runner.work import Hands, Place, Worker
from hakuriver.system.config import Config
from hakuriver.system.docker import Docker
from hakuriver.system.meaning import meant, tarball_dir
from hakuriver.system.tarballs import Tarballs
from hakuriver.system.ticker import Ticker

log = logging.getLogger(__name__)

_IMAGES_SECONDS = 60.0
_RECORDS_SECONDS = 600.0


class Parts:
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
                shm_size=meant(
                    "docker.shm_size", parse_size, config.text("docker.shm_size") or "0"
                ),
                policy=Policy(
                    config.switch("runner.allow_privileged"), config.texts("runner.allowed_mounts")
                ),
                sudo=config.switch("runner.use_sudo"),
                program=program,
                machine_cores=os.cpu_count() or math.inf,
            ),
            self._worker.ended,
        )
        self.images = self._worker.images = Images(
            docker=docker,
            tarballs=Tarballs(tarball_dir(config, shared_dir)),
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
