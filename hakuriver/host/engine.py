"""The host's own Docker engine through the docker SDK; everything that can go wrong in plain words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hakuriver.model.errors import HakuRiverError, Unavailable

ANSWER_SECONDS = 60
WORK_SECONDS = 3600
"""How long the engine may think about a commit or a start: it says nothing before the end."""


@contextlib.contextmanager
def engine(seconds: float = ANSWER_SECONDS) -> Iterator[Any]:
    """A client of the SDK; what goes wrong with the engine is Unavailable, in plain words."""
    docker, errors = import_sdk(), sdk_errors()
    client = None
    try:
        client = docker.from_env(timeout=seconds, version="auto")
        yield client
    except HakuRiverError:
        raise
    except errors.APIError as error:
        raise HakuRiverError(f"the Docker engine says: {words(error)}") from None
    except (errors.DockerException, OSError) as error:
        raise _no_engine(error) from None
    finally:
        if client is not None:
            client.close()


def import_sdk() -> Any:
    try:
        import docker
    except ModuleNotFoundError:
        raise Unavailable(
            "environments need the Python package docker, which this checkout has not got",
            "Run the host from the built file: python3 build_zipapp.py, then"
            " dist/hakuriver.pyz host",
        ) from None
    return docker


def sdk_errors() -> Any:
    """Its exceptions. Those of the connection below it are OSErrors (requests.RequestException)."""
    return import_sdk().errors


def _no_engine(error: Exception) -> Unavailable:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return Unavailable(
            "the user that runs the host may not use its Docker engine",
            "Add that user to the group docker (usermod -aG docker USER), and start the host anew.",
        )
    if "No such file" in text or "FileNotFoundError" in text or "Connection refused" in text:
        return Unavailable(
            "there is no Docker engine on the host, or it does not run",
            "Install Docker on the host (on Debian: apt install docker.io), or start it:"
            " systemctl start docker",
        )
    return Unavailable(
        f"the host's Docker engine does not answer: {text[:300]}",
        "Look after it: systemctl status docker",
    )


def words(error: Any) -> str:
    return str(getattr(error, "explanation", None) or error)
