"""What can be asked of the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hakuriver import PROTOCOL
from hakuriver.host import (
    environment_routes,
    join_routes,
    live_routes,
    page_routes,
    preview_routes,
    session_routes,
    task_list_routes,
)
from hakuriver.host.batches import Batches
from hakuriver.host.cluster import Cluster
from hakuriver.host.environments import Environments
from hakuriver.host.feed import Feed
from hakuriver.host.fleet import Fleet
from hakuriver.host.health import Health
from hakuriver.host.history import History
from hakuriver.host.joining import Joining
from hakuriver.host.outputs import CHUNK, Outputs, Piece
from hakuriver.host.pages import Pages
from hakuriver.host.placement import Reserved
from hakuriver.host.retention import Retention
from hakuriver.host.shells import Shells
from hakuriver.host.task_list_routes import read_id
from hakuriver.host.views import batch_view, node_view, task_view
from hakuriver.host.watch import Watch
from hakuriver.model.errors import BadRequest, NotFound
from hakuriver.model.fields import WHOLE_MAX, Fields
from hakuriver.model.messages import Heartbeat, Reports
from hakuriver.model.node_messages import node_from_json
from hakuriver.model.submission import read_submission
from hakuriver.model.task import Task
from hakuriver.model.units import counted
from hakuriver.system.router import Request, Response, Route
from hakuriver.system.shell_request import check_upgrade, read_shell_request, switch_to
from hakuriver.system.strangers import Strangers

WAIT_MAX = 60.0
KEY_MAX = 200


@dataclass(frozen=True, slots=True)
class Access:
    """What stands between us and callers. sessions: the key of their cookies."""

    token: str
    sessions: str
    tls: bool
    strangers: Strangers
    port: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that the routes answer from."""

    cluster: Cluster
    fleet: Fleet
    health: Health
    outputs: Outputs
    watch: Watch
    batches: Batches
    retention: Retention
    environments: Environments
    shells: Shells
    shared_dir: Path
    access: Access
    joining: Joining
    pages: Pages
    history: History
    feed: Feed

    def view(self, task: Task) -> dict[str, object]:
        return task_view(task, self.shared_dir)


def submit(request: Request, desk: Desk) -> Response:
    body = request.json()
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_MAX:
        raise BadRequest(f"Idempotency-Key has {len(key)} characters, at most {KEY_MAX} are taken")
    answer = desk.cluster.submit(read_submission(body), key=key, body=body)
    return Response.json(answer, status=202)


def status(request: Request, desk: Desk) -> Response:
    task_id = _task_id(request)
    seconds = request.number("wait", 0, 0, WAIT_MAX)
    task = desk.cluster.task(task_id)
    since = request.whole("since", task.revision, 0, WHOLE_MAX)

    def look() -> tuple[bool, Task]:
        task = desk.cluster.task(task_id)
        return task.status.final or task.revision != since, task

    if seconds:
        task = desk.watch.until([task_id], seconds, look)
    return Response.json(desk.view(task))


def output(request: Request, desk: Desk) -> Response:
    task_id, stream = _task_id(request), request.params["stream"]
    if stream not in ("stdout", "stderr"):
        raise NotFound(f"a task has stdout and stderr, no {stream!r}")
    if not request.query:
        size, chunks = desk.outputs.whole(task_id, stream)
        return Response(200, chunks, content_type="text/plain; charset=utf-8", length=size)
    limit = request.whole("limit", CHUNK, 1, 16 * CHUNK)
    seconds = request.number("wait", 0, 0, WAIT_MAX)
    if "tail" in request.query and "offset" not in request.query:
        tail = request.whole("tail", 0, 0, WHOLE_MAX)
        return _piece(desk.outputs.piece(task_id, stream, offset=None, tail=tail, limit=limit))
    offset = request.whole("offset", 0, 0, WHOLE_MAX)
    return _piece(
        desk.outputs.wait_piece(
            task_id, stream, offset=offset, limit=limit, seconds=seconds, going=desk.watch.open
        )
    )


def _piece(piece: Piece) -> Response:
    return Response.text(
        piece.body,
        headers=(
            ("X-Hakuriver-Offset", str(piece.offset)),
            ("X-Hakuriver-Size", str(piece.size)),
            ("X-Hakuriver-Status", piece.status.value),
            ("X-Hakuriver-Final", str(int(piece.final))),
        ),
    )


def kill(request: Request, desk: Desk) -> Response:
    task = desk.cluster.kill(_task_id(request))
    return _done(desk, task, f"Kill of task {task.id} requested.", status=202)


def command(request: Request, desk: Desk) -> Response:
    verbs = {"pause": desk.cluster.pause, "resume": desk.cluster.resume}
    verb = request.params["verb"]
    if verb not in verbs:
        raise NotFound(f"a task can be paused and resumed; there is no command {verb!r}")
    task = verbs[verb](_task_id(request))
    return _done(desk, task, f"{verb.capitalize()} of task {task.id} requested.")


def batch(request: Request, desk: Desk) -> Response:
    return Response.json(batch_view(desk.batches.get(_task_id(request)), desk.shared_dir))


def kill_batch(request: Request, desk: Desk) -> Response:
    batch_id = _task_id(request)
    count = desk.batches.kill(batch_id)
    message = f"Kill of {counted(count, 'task')} of batch {batch_id} requested."
    return Response.json({"message": message, "count": count}, status=202)


def retry_batch(request: Request, desk: Desk) -> Response:
    batch_id = _task_id(request)
    ids = desk.batches.retry(batch_id)
    waits = "waits" if len(ids) == 1 else "wait"
    message = f"{counted(len(ids), 'failed task')} of batch {batch_id} {waits} for another attempt."
    return Response.json({"message": message, "task_ids": list(map(str, ids))})


def requeue(request: Request, desk: Desk) -> Response:
    task = desk.cluster.requeue(_task_id(request))
    return _done(desk, task, f"Task {task.id} waits for attempt {task.attempt}.")


def forget(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        user = fields.text("user", "")
    task = desk.cluster.forget(_task_id(request), user)
    return _done(desk, task, f"Task {task.id} forgotten.")


def _done(desk: Desk, task: Task, message: str, *, status: int = 200) -> Response:
    return Response.json({"message": message, "task": desk.view(task)}, status=status)


def nodes(request: Request, desk: Desk) -> Response:
    with desk.cluster.store.read() as tx:
        reserved = tx.reserved()
    now = time.time()
    states = desk.cluster.registry.all()
    return Response.json(
        [node_view(node, reserved.get(node.info.name, Reserved()), now=now) for node in states]
    )


def drain(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        reason = fields.text("reason", "")
    name = request.params["name"]
    desk.cluster.drain(name, reason)
    return Response.json({"message": f"Node {name} gets no new tasks."})


def undrain(request: Request, desk: Desk) -> Response:
    name = request.params["name"]
    desk.cluster.drain(name, None)
    return Response.json({"message": f"Node {name} gets tasks again."})


def remove(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        force, user = fields.flag("force"), fields.text("user", "")
    name = request.params["name"]
    held, waiting = desk.fleet.remove(name, force=force, by=user)
    message = f"Node {name} removed."
    if held:
        message += f" Given up: {', '.join(str(task.id) for task in held)}."
    if waiting:
        message += f" Still waiting for a node of that name: {waiting}."
    ids = [str(task.id) for task in held]
    return Response.json({"message": message, "task_ids": ids, "waiting": waiting})


def health(request: Request, desk: Desk) -> Response:
    name = request.query.get("hostname")
    return Response.json(desk.health.history() if name is None else desk.health.history_of(name))


def prune(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        done = desk.retention.prune(
            fields.number("older_than"),
            logs_only=fields.flag("logs_only"),
            dry_run=fields.flag("dry_run"),
            after=fields.text("after", ""),
        )
    return Response.json({"tasks": done.tasks, "bytes": done.size, "next": done.next})


def register(request: Request, desk: Desk) -> Response:
    body = request.json()
    if body.get("protocol") != PROTOCOL:
        raise desk.fleet.stranger(body)
    return Response.json(desk.fleet.register(node_from_json(body)).to_json())


def heartbeat(request: Request, desk: Desk) -> Response:
    return Response.json(desk.fleet.heartbeat(Heartbeat.from_json(request.json())).to_json())


def reports(request: Request, desk: Desk) -> Response:
    return Response.json(desk.fleet.report(Reports.from_json(request.json())).to_json())


def task_shell(request: Request, desk: Desk) -> Response:
    check_upgrade(request)
    wanted = read_shell_request(request)
    return switch_to(desk.shells.task(_task_id(request), wanted, peer=request.peer))


def task_terminal(request: Request, desk: Desk) -> Response:
    task_id, wanted = _task_id(request), read_shell_request(request)
    return environment_routes.websocket_to(
        request,
        wanted,
        lambda full: desk.shells.task(task_id, full, peer=request.peer),
        desk.shells.terminals,
    )


ROUTES: tuple[Route[Desk], ...] = (
    Route("GET", "/", page_routes.front, open=True),
    Route("GET", "/dashboard/<name>", page_routes.file, open=True),
    Route("GET", "/dashboard/<folder>/<name>", page_routes.file, open=True),
    Route("POST", "/login", session_routes.login, open=True),
    Route("POST", "/logout", session_routes.logout, open=True),
    Route("GET", "/session", session_routes.session, open=True),
    Route("GET", "/hakuriver.pyz", join_routes.own_file),
    Route("GET", "/join-snippet", join_routes.join_snippet),
    Route("GET", "/v1/join", join_routes.join),
    Route("POST", "/submit", submit),
    Route("POST", "/submit/preview", preview_routes.preview),
    Route("GET", "/status/<id>", status),
    Route("GET", "/tasks", task_list_routes.tasks),
    Route("GET", "/task/<id>/shell", task_shell),
    Route("GET", "/task/<id>/terminal", task_terminal),
    Route("GET", "/task/<id>/<stream>", output),
    Route("POST", "/kill/<id>", kill),
    Route("POST", "/command/<id>/<verb>", command),
    Route("GET", "/batches", task_list_routes.batches),
    Route("GET", "/batch/<id>", batch),
    Route("POST", "/batch/<id>/kill", kill_batch),
    Route("POST", "/batch/<id>/retry", retry_batch),
    Route("POST", "/requeue/<id>", requeue),
    Route("POST", "/forget/<id>", forget),
    Route("GET", "/nodes", nodes),
    Route("POST", "/nodes/<name>/drain", drain),
    Route("POST", "/nodes/<name>/undrain", undrain),
    Route("POST", "/nodes/<name>/remove", remove),
    Route("POST", "/prune", prune),
    Route("GET", "/health", health),
    Route("GET", "/history", live_routes.history),
    Route("GET", "/events", live_routes.events),
    Route("GET", "/environments", environment_routes.environments),
    Route("GET", "/docker/host/containers", environment_routes.containers),
    Route("GET", "/docker/host/containers/<name>/shell", environment_routes.shell),
    Route("GET", "/docker/host/containers/<name>/terminal", environment_routes.terminal),
    Route("POST", "/docker/host/create", environment_routes.create),
    Route("POST", "/docker/host/start/<name>", environment_routes.start),
    Route("POST", "/docker/host/stop/<name>", environment_routes.stop),
    Route("POST", "/docker/host/delete/<name>", environment_routes.delete),
    Route("POST", "/docker/create_tar/<name>", environment_routes.create_tar),
    Route("POST", "/docker/delete_tar/<name>", environment_routes.delete_tar),
    Route("POST", "/docker/sync/<name>", environment_routes.sync),
    Route("GET", "/docker/list", environment_routes.tarballs),
    Route("GET", "/jobs", environment_routes.jobs),
    Route("GET", "/jobs/<id>", environment_routes.job),
    Route("POST", "/v1/register", register),
    Route("POST", "/v1/heartbeat", heartbeat),
    Route("POST", "/v1/reports", reports),
)


def _task_id(request: Request) -> int:
    task_id = read_id(request.params["id"])
    if task_id is None:
        raise NotFound(f"there is no task {request.params['id'][:40]!r}")
    return task_id
