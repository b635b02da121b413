"""What the client asks of the host: one method per route, named as the verb.

Every method raises HakuRiverError: what the host answered, or Unreachable. Rows are the JSON
objects of the API, untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hakuriver.model.errors import (
    HakuRiverError,
    Internal,
    Unreachable,
    UsageError,
    error_from_json,
)
from hakuriver.system.httpc import HttpClient, Reply

if TYPE_CHECKING:  # Other commands do not pay for what a shell needs.
    from hakuriver.system.frames import Size
    from hakuriver.system.remote_session import RemoteSession

Row = dict[str, Any]

TIMEOUT = 30.0
CHUNK = 1 << 20
HOST_HINT = (
    "Is it running? Start it with: hakuriver.pyz host (or `up`). "
    "Another address: --host, or network.host_reachable_address in the config."
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, newest first. next: the id to continue below, None if these were the last."""

    rows: list[Row]
    revision: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a task's output: `data` begins at byte `offset` of `size` bytes so far.

    final: the task is over, so that `size` will not grow any more.
    """

    data: bytes
    offset: int
    size: int
    status: str
    final: bool

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class HostApi:
    def __init__(self, http: HttpClient, url: str) -> None:
        """url is only for people: where the host was looked for."""
        self._http = http
        self._url = url

    def join_commands(self) -> list[str]:
        """What to type on a machine that is to become a node."""
        return [str(line) for line in self._row("GET", "/join-snippet")["commands"]]

    def submit(self, body: Mapping[str, Any], key: str) -> Row:
        """Send it again with the same key as often as need be: the host accepts it once."""
        return self._row("POST", "/submit", body=body, headers={"Idempotency-Key": key})

    def status(self, task_id: str, *, wait: float | None = None, since: int | None = None) -> Row:
        path = f"/status/{_part(task_id)}{_query(wait=wait, since=since)}"
        return self._row("GET", path, timeout=_patience(wait))

    def tasks(
        self,
        filters: Mapping[str, object],
        *,
        wait: float | None = None,
        since: int | None = None,
    ) -> Page:
        """filters: status, node, batch, user, text, ids, limit, after."""
        path = f"/tasks{_query(**filters, wait=wait, since=since)}"
        reply = self._ask("GET", path, timeout=_patience(wait))
        revision = int(reply.headers.get("x-hakuriver-revision", "0"))
        return Page(_rows(reply.json()), revision, reply.headers.get("x-hakuriver-next"))

    def output(
        self,
        task_id: str,
        stream: str,
        *,
        offset: int | None = None,
        tail: int | None = None,
        wait: float | None = None,
    ) -> Chunk:
        """stream is stdout or stderr; tail counts lines from the end and replaces offset."""
        query = _query(offset=offset, tail=tail, wait=wait, limit=CHUNK)
        path = f"/task/{_part(task_id)}/{stream}{query}"
        reply = self._ask("GET", path, timeout=_patience(wait))
        try:
            return Chunk(
                data=reply.body,
                offset=int(reply.headers["x-hakuriver-offset"]),
                size=int(reply.headers["x-hakuriver-size"]),
                status=reply.headers["x-hakuriver-status"],
                final=reply.headers["x-hakuriver-final"] == "1",
            )
        except (KeyError, ValueError) as error:
            raise Internal(f"the answer to GET {path} lacks a header: {error}") from None

    def kill(self, task_id: str) -> Row:
        return self._row("POST", f"/kill/{_part(task_id)}")

    def command(self, task_id: str, verb: str) -> Row:
        """verb is pause or resume."""
        return self._row("POST", f"/command/{_part(task_id)}/{verb}")

    def batch(self, batch_id: str) -> Row:
        """{"batch_id", "total", "by_status": {STATUS: N}, "first_failed": task or null}"""
        return self._row("GET", f"/batch/{_part(batch_id)}")

    def kill_batch(self, batch_id: str) -> Row:
        return self._row("POST", f"/batch/{_part(batch_id)}/kill")

    def retry_batch(self, batch_id: str) -> Row:
        return self._row("POST", f"/batch/{_part(batch_id)}/retry")

    def requeue(self, task_id: str) -> Row:
        return self._row("POST", f"/requeue/{_part(task_id)}")

    def forget(self, task_id: str, user: str) -> Row:
        """user: who has decided so."""
        return self._row("POST", f"/forget/{_part(task_id)}", body={"user": user})

    def nodes(self) -> list[Row]:
        return _rows(self._ask("GET", "/nodes").json())

    def health(self, hostname: str | None = None) -> Any:
        """{"nodes": …, "aggregate": …}, or with a hostname the list of its records."""
        return self._ask("GET", f"/health{_query(hostname=hostname)}").json()

    def drain(self, node: str, reason: str = "") -> Row:
        return self._row("POST", f"/nodes/{_part(node)}/drain", body={"reason": reason})

    def undrain(self, node: str) -> Row:
        return self._row("POST", f"/nodes/{_part(node)}/undrain")

    def remove(self, node: str, *, force: bool, user: str) -> Row:
        """user: who has decided so."""
        body = {"force": force, "user": user}
        return self._row("POST", f"/nodes/{_part(node)}/remove", body=body)

    def prune(self, older_than: float, *, logs_only: bool, dry_run: bool, after: str) -> Row:
        """One block: {"tasks", "bytes", "next"}; next goes into `after`, null at the end."""
        body = {
            "older_than": older_than, "logs_only": logs_only, "dry_run": dry_run, "after": after,
        }  # fmt: skip
        return self._row("POST", "/prune", body=body, timeout=_patience(60))

    def shell(
        self, kind: str, name: str, command: Sequence[str], *, size: Size | None, term: str
    ) -> RemoteSession:
        """kind is environment or task; size None: without a terminal."""
        from hakuriver.system.remote_session import open_session

        place = "/docker/host/containers" if kind == "environment" else "/task"
        fields: dict[str, str | list[str]] = {
            f"arg{number}": word for number, word in enumerate(command)
        }
        if term and size is not None:
            fields["term"] = term
        try:
            return open_session(
                self._http, f"{place}/{_part(name)}/shell", size=size, fields=fields
            )
        except Unreachable as error:
            raise self._unreachable(error) from None

    # Environments

    def environment_containers(self) -> list[Row]:
        return _rows(self._ask("GET", "/docker/host/containers").json())

    def create_container(self, image: str, name: str, user: str) -> Row:
        """Starts a job, as create_tar() and sync_environment() do: the answer has its job_id."""
        body = {"image_name": image, "container_name": name, "user": user, "wait": False}
        return self._row("POST", "/docker/host/create", body=body)

    def create_tar(self, name: str, user: str) -> Row:
        body = {"user": user, "wait": False}
        return self._row("POST", f"/docker/create_tar/{_part(name)}", body=body)

    def sync_environment(self, name: str, nodes: Sequence[str], user: str) -> Row:
        body = {"nodes": list(nodes), "user": user, "wait": False}
        return self._row("POST", f"/docker/sync/{_part(name)}", body=body)

    def container_verb(self, verb: str, name: str) -> Row:
        """verb is start, stop or delete."""
        path = f"/docker/host/{verb}/{_part(name)}"
        return self._row("POST", path, timeout=_patience(60))

    def tarballs(self) -> Row:
        """{"environments": …, "problems": […]}"""
        return self._row("GET", "/docker/list?problems=1")

    def delete_tar(self, name: str, version: int | None) -> Row:
        return self._row("POST", f"/docker/delete_tar/{_part(name)}", body={"version": version})

    def jobs(self) -> list[Row]:
        return _rows(self._ask("GET", "/jobs").json())

    def job(self, job_id: str, *, wait: float | None = None, since: int | None = None) -> Row:
        path = f"/jobs/{_part(job_id)}{_query(wait=wait, since=since)}"
        return self._row("GET", path, timeout=_patience(wait))

    def _row(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Row:
        answer = self._ask(method, path, body=body, headers=headers, timeout=timeout).json()
        if not isinstance(answer, dict):
            raise Internal(f"the answer to {method} {path} is no JSON object")
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Reply:
        try:
            reply = self._http.request(
                method, path, body=body, headers=headers or {}, timeout=timeout
            )
        except Unreachable as error:
            raise self._unreachable(error) from None
        if reply.status >= 400:
            raise _error(reply)
        return reply

    def _unreachable(self, error: Unreachable) -> Unreachable:
        cause = error.detail.rpartition(": ")[2]
        detail = f"cannot reach the host at {self._url}: {cause}"
        return Unreachable(detail, error.hint, refused=error.refused)


def _error(reply: Reply) -> HakuRiverError:
    try:
        return error_from_json(reply.status, reply.json())
    except HakuRiverError as error:  # no JSON: something else listens there
        return error


def _rows(answer: object) -> list[Row]:
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise Internal("the host's answer is no list of JSON objects")
    return answer


def _patience(wait: float | None) -> float:
    """How long to listen: the host may hold the answer back for `wait` seconds."""
    return TIMEOUT + (wait or 0)


def _part(name: str) -> str:
    """One part of a path, whatever was typed: a `/` in it does not lead elsewhere."""
    if not name:
        raise UsageError("a number or a name is empty", "Is the variable set that it comes from?")
    return quote(name, safe="", errors="surrogateescape")


def _query(**values: object) -> str:
    """?a=1&b=x,y without what is None or empty; sequences are joined by commas."""
    pairs = [
        (name, ",".join(value) if isinstance(value, (list, tuple)) else _text(value))
        for name, value in values.items()
        if value is not None and value != "" and value != ()
    ]
    return f"?{urlencode(pairs, errors='surrogateescape')}" if pairs else ""


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def ids_in_order(ids: Sequence[str]) -> list[str]:
    """Without repetitions, by number: ids are counting numbers written as text."""
    return sorted(set(ids), key=lambda task_id: (len(task_id), task_id))
