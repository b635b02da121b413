"""What a machine needs to become a node: our file, our settings, and the lines to type there."""

from __future__ import annotations

import shlex
from pathlib import Path

from hakuriver import PROTOCOL, __version__
from hakuriver.model.errors import NotFound
from hakuriver.model.node_messages import JOIN_SETTINGS, JoinAnswer
from hakuriver.system import program
from hakuriver.system.config import Config

_FETCH = (
    "import os, urllib.request as r; "
    'h = {{"Authorization": "Bearer " + os.environ.get("HAKURIVER_TOKEN", "")}}; '
    'open("hakuriver.pyz", "wb").write(r.urlopen(r.Request("{url}/hakuriver.pyz", headers=h)).read())'
)


class Joining:
    def __init__(self, config: Config, cluster: str) -> None:
        self._config = config
        self._cluster = cluster

    def answer(self) -> JoinAnswer:
        values = {name: self._config.values[name] for name in JOIN_SETTINGS}
        return JoinAnswer(__version__, PROTOCOL, program.build(), self._cluster, values)

    def commands(self, port: int) -> list[str]:
        """For a shell on the new machine. The token comes from a variable: no command line has it."""
        url = self._config.url_at(port)
        fetch = f"python3 -c {shlex.quote(_FETCH.format(url=url))}"
        lines = [fetch, f"python3 hakuriver.pyz runner --join {url}"]
        if self._config.token:
            return ["read -rs HAKURIVER_TOKEN && export HAKURIVER_TOKEN", *lines]
        return lines

    def file(self) -> bytes:
        """The bytes that we run from, whatever lies there by now. Raises NotFound."""
        place = program.place()
        if not place:
            raise NotFound(
                "this host runs from a checkout and has no file to give away",
                "Build it: python3 build_zipapp.py, and start the host from dist/hakuriver.pyz.",
            )
        return Path(place).read_bytes()
