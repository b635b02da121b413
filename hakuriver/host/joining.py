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
    "import os, sys, urllib.request as r; "
    "sys.excepthook = lambda kind, error, trace:"
    ' print("cannot fetch hakuriver.pyz:", error, file=sys.stderr); '
    'h = {{"Authorization": "Bearer " + os.environ.get("HAKURIVER_TOKEN", "")}}; '
    "{tls}"
    "f = r.build_opener(r.ProxyHandler({{}}){handler})"
    '.open(r.Request("{url}/hakuriver.pyz", headers=h)).read(); '
    'open("hakuriver.pyz", "wb").write(f)'
)
"""Nothing is written before all is there, and no proxy gets to see the token."""

# As in system/tls.py: what is believed must not depend on the Python of a node.
_TLS = (
    "import ssl; "
    'c = ssl.create_default_context(cafile=os.environ.get("HAKURIVER_NETWORK_TLS_CA")); '
    "c.verify_flags &= ~ssl.VERIFY_X509_STRICT; "
)
_HANDLER = ", r.HTTPSHandler(context=c)"


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
        authority = self._config.text("network.tls_ca")
        tls, handler = (_TLS, _HANDLER) if authority else ("", "")
        fetch = _FETCH.format(url=url, tls=tls, handler=handler)
        lines = [
            f"python3 -c {shlex.quote(fetch)}",
            f"python3 hakuriver.pyz runner --join {url}",
        ]
        if authority:
            lines.insert(0, f"export HAKURIVER_NETWORK_TLS_CA={shlex.quote(authority)}")
        if self._config.token:
            lines.insert(0, "read -rs HAKURIVER_TOKEN && export HAKURIVER_TOKEN")
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
