"""The node's Docker engine as seen from time to time: whether it answers, and what images it has."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping

from hakuriver.model.node import Engine
from hakuriver.system.docker import Docker, NoEngine
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)


class EngineState:
    """step() looks; engine is None while none can be used."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self._told = ""
        self.engine: Engine | None = None
        self.environments: Mapping[str, str] = {}

    def step(self) -> None:
        if shutil.which(self._docker.argv[0]) is None:
            self._none(f"there is no program {self._docker.argv[0]}")
            return
        try:
            facts = self._docker.facts()
            environments = self._docker.environments()
        except NoEngine as error:
            self._none(f"{error.detail}. {error.hint}")
            return
        if not facts.init:
            self._none("the engine has no docker-init; install tini or docker-init")
            return
        if self.engine is None:
            log.info("Docker engine %s", plain(facts.version))
            if not facts.live_restore:
                log.warning(
                    "the Docker engine ends all containers when it restarts;"
                    ' to keep them, write {"live-restore": true} to /etc/docker/daemon.json'
                )
        self._told = ""
        self.engine = Engine(facts.version, facts.live_restore)
        self.environments = environments

    def _none(self, why: str) -> None:
        if why != self._told:
            log.warning("no tasks in containers here: %s", plain(why))
        self._told = why
        self.engine = None
        self.environments = {}
