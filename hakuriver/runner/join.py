"""Joining a cluster: a machine that knows only the host's address asks it for all the rest."""

from __future__ import annotations

import json
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

from hakuriver import PROTOCOL
from hakuriver.model.errors import NotFound, Unreachable, UsageError
from hakuriver.model.node_messages import JoinAnswer
from hakuriver.system import daemon
from hakuriver.system.addresses import check_scheme, host_address
from hakuriver.system.config import Config, load_config
from hakuriver.system.httpc import HttpClient
from hakuriver.system.plain import plain

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_TIMEOUT = 20.0
_FILE = "joined.json"


def join(
    address: str, file: str | None, overrides: dict[str, Any], stop: daemon.Stop
) -> Config | None:
    """The configuration: flags, variables and a file of this machine's own, else what the host says.

    Waits for a host that cannot be reached, unless it was joined before: then what it said counts.
    None if stop was set meanwhile. Raises HakuRiverError.
    """
    given = {**host_address(address, "--join"), **overrides}
    own = load_config(file, given)
    check_scheme(address, has_ca=bool(own.text("network.tls_ca")), flag="--join")
    answer = _ask(own, stop)
    if answer is None:
        return None
    if answer.protocol != PROTOCOL:
        raise UsageError(
            f"the host runs HakuRiver {plain(answer.version)} and speaks protocol {answer.protocol},"
            f" this file speaks {PROTOCOL}",
            "Fetch the host's file; `client join` shows how.",
        )
    return load_config(file, given, defaults=answer.settings)


def _ask(config: Config, stop: daemon.Stop) -> JoinAnswer | None:
    url, told = config.host_url, False
    kept = config.home / _FILE
    http = HttpClient(url, token=config.token, ca=config.text("network.tls_ca"), timeout=_TIMEOUT)
    with closing(http):
        while not stop.within(0):
            try:
                document = http.call("GET", "/v1/join")
            except NotFound:
                raise UsageError(
                    f"what answers at {plain(url)} is not the host", "Is its port the host's?"
                ) from None
            except Unreachable as error:
                earlier = _read(kept).get(url)
                if earlier is not None:
                    log.warning(
                        "%s; it is what the host said earlier that counts", plain(error.detail)
                    )
                    return JoinAnswer.from_json(earlier)
                if not told:
                    log.warning("cannot join yet, still trying: %s", plain(error.detail))
                told = True
                daemon.tell_manager("STATUS=waiting for the host", "EXTEND_TIMEOUT_USEC=60000000")
                stop.within(_RETRY_SECONDS)
                continue
            answer = JoinAnswer.from_json(document)
            _keep(kept, url, document)
            return answer
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(path: Path, url: str, document: object) -> None:
    """For a start while the host is away; without it this machine would wait."""
    half = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps({**_read(path), url: document}), encoding="utf-8")
        half.replace(path)
    except OSError as error:
        log.warning("cannot write %s: %s", path, error.strerror)
