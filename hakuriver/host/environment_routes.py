"""Environments over HTTP: containers, tarballs, and the jobs that make them. The table is in routes.

The routes under /docker/ are those of the first HakuRiver, which waits for the end of what takes long;
with "wait": false they answer 202 and the number of the job instead.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from hakuriver.host.cluster import Cluster
from hakuriver.host.environment_containers import EnvironmentContainer
from hakuriver.host.environments import Environments, Tarball
from hakuriver.host.jobs import Job
from hakuriver.host.shells import Shells
from hakuriver.host.terminals import Terminals
from hakuriver.host.views import iso
from hakuriver.model.errors import HakuRiverError, Refused
from hakuriver.model.fields import WHOLE_MAX, Fields
from hakuriver.model.target import NODE_NAME, check_environment_name
from hakuriver.system import bridge, websocket
from hakuriver.system.auth import check_origin
from hakuriver.system.frames import Size
from hakuriver.system.kept_channel import KeptChannel
from hakuriver.system.router import Request, Response
from hakuriver.system.shell_request import (
    ShellRequest,
    UpgradeRequired,
    check_upgrade,
    read_shell_request,
    switch_to,
)

WAIT_MAX = 60.0


class Desk(Protocol):
    """What these routes answer from."""

    @property
    def environments(self) -> Environments: ...

    @property
    def shells(self) -> Shells: ...

    @property
    def cluster(self) -> Cluster: ...


def containers(request: Request, desk: Desk) -> Response:
    return Response.json(
        [
            {
                "id": each.id[:12],
                "name": each.environment,
                "image": each.image,
                "status": each.status,
                "created": each.created,
            }
            for each in desk.environments.containers()
        ]
    )


def create(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        image, name = fields.text("image_name"), fields.text("container_name")
        user, wait = fields.text("user", ""), fields.flag("wait", True)
    job = desk.environments.create(image, name, user)
    return _answer(desk, job, wait=wait, status=201)


def create_tar(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        user, wait = fields.text("user", ""), fields.flag("wait", True)
    job = desk.environments.pack(_name(request), user)
    return _answer(desk, job, wait=wait, status=200)


def sync(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        nodes = fields.texts("nodes")
        user, wait = fields.text("user", ""), fields.flag("wait", True)
    for node in nodes:
        if NODE_NAME.fullmatch(node) is None:
            raise Refused(f"'{node[:80]}' names no node")
    job = desk.environments.sync(_name(request), nodes, user)
    return _answer(desk, job, wait=wait, status=200)


def start(request: Request, desk: Desk) -> Response:
    name = _name(request)
    desk.environments.start(name)
    return Response.json({"message": f"The container of environment '{name}' runs."})


def stop(request: Request, desk: Desk) -> Response:
    name = _name(request)
    desk.environments.stop(name)
    return Response.json({"message": f"The container of environment '{name}' is stopped."})


def delete(request: Request, desk: Desk) -> Response:
    name = _name(request)
    desk.environments.delete(name)
    return Response.json(
        {"message": f"The container of environment '{name}' is deleted; its tarballs stay."}
    )


def tarballs(request: Request, desk: Desk) -> Response:
    """By environment, as the first HakuRiver has them, and more of each."""
    listed: dict[str, dict[str, Any]] = {}
    for tarball in desk.environments.tarballs():
        version = tarball.version
        entry = listed.setdefault(
            version.environment,
            {
                "latest_timestamp": version.time,
                "latest_tarball": version.tarball,
                "all_versions": [],
            },
        )
        entry["all_versions"].append(tarball_view(tarball))
    problems = desk.environments.problems()
    headers = (("X-Hakuriver-Problems", str(len(problems))),)
    if request.query.get("problems"):
        return Response.json({"environments": listed, "problems": problems}, headers=headers)
    return Response.json(listed, headers=headers)


def environments(request: Request, desk: Desk) -> Response:
    """All of them with all that is known of each: containers, versions, nodes, tasks."""
    problem, prepared = None, []
    try:
        prepared = desk.environments.containers()
    except HakuRiverError as error:
        problem = f"{error.detail}. {error.hint}".rstrip(" .") + "."
    with desk.cluster.store.read() as tx:
        tasks = tx.in_environments()
    nodes = {node.info.name: node.info.environments for node in desk.cluster.registry.all()}
    rows = overview(prepared, desk.environments.tarballs(), nodes, tasks)
    return Response.json({"environments": rows, "engine_problem": problem})


def overview(
    prepared: Sequence[EnvironmentContainer],
    tarballs: Sequence[Tarball],
    nodes: Mapping[str, Mapping[str, str]],
    tasks: Mapping[str, int],
) -> list[dict[str, Any]]:
    """By name. tarballs: newest first. nodes: of each, image ids by environment."""
    containers = {each.environment: each for each in prepared}
    versions: dict[str, list[Tarball]] = {}
    for tarball in tarballs:
        versions.setdefault(tarball.version.environment, []).append(tarball)
    held = {name for images in nodes.values() for name in images}
    rows = []
    for name in sorted({*containers, *versions, *held, *tasks}):
        # Of two versions that are the same image the newer one counts.
        times = {e.version.image_id: e.version.time for e in reversed(versions.get(name, []))}
        newest = versions[name][0].version.time if name in versions else None
        found = containers.get(name)
        rows.append(
            {
                "name": name,
                "container": found
                and {"status": found.status, "image": found.image, "created_at": found.created},
                "versions": [tarball_view(each) for each in versions.get(name, ())],
                "nodes": {
                    node: {
                        "version": times.get(images[name]),
                        "newest": newest is not None and times.get(images[name]) == newest,
                    }
                    for node, images in nodes.items()
                    if name in images
                },
                "tasks": tasks.get(name, 0),
            }
        )
    return rows


def delete_tar(request: Request, desk: Desk) -> Response:
    with Fields(request.json()) as fields:
        version = fields.maybe_whole("version")
    gone = desk.environments.delete_tarballs(_name(request), version)
    names = ", ".join(each.tarball for each in gone)
    return Response.json({"message": f"Deleted {names}.", "deleted": [v.tarball for v in gone]})


def jobs(request: Request, desk: Desk) -> Response:
    return Response.json([job_view(job) for job in desk.environments.jobs.all()])


def job(request: Request, desk: Desk) -> Response:
    seconds = request.number("wait", 0, 0, WAIT_MAX)
    since = request.whole("since", 0, 0, WHOLE_MAX)
    return Response.json(
        job_view(desk.environments.jobs.wait(request.params["id"], since, seconds))
    )


def shell(request: Request, desk: Desk) -> Response:
    """For our own client; errors come before the connection is switched."""
    check_upgrade(request)
    name, wanted = request.params["name"], read_shell_request(request)
    return switch_to(desk.shells.environment(name, wanted, peer=request.peer))


def terminal(request: Request, desk: Desk) -> Response:
    name, wanted = request.params["name"], read_shell_request(request)
    return websocket_to(
        request,
        wanted,
        lambda full: desk.shells.environment(name, full, peer=request.peer),
        desk.shells.terminals,
    )


def websocket_to(
    request: Request,
    wanted: ShellRequest,
    opening: Callable[[ShellRequest], bridge.Session],
    terminals: Terminals,
) -> Response:
    """For browsers: errors come as a message, since a handshake that fails tells a page nothing."""
    if not request.wants("websocket"):
        raise UpgradeRequired("this is for WebSockets", "Use docker-shell or client shell.")
    check_origin(request.headers)
    headers = websocket.handshake(request.headers)
    offered = request.headers.get("sec-websocket-protocol", "").split(",")
    if "hakuriver" in map(str.strip, offered):
        headers = (*headers, ("Sec-WebSocket-Protocol", "hakuriver"))
    full = replace(wanted, size=wanted.size or Size(24, 80), term=wanted.term or "xterm-256color")
    resumed, at = request.query.get("resume"), request.whole("at", 0, 0, WHOLE_MAX)
    keep = resumed is not None or request.query.get("keep") == "1"

    def serve(channel: bridge.WebSocketChannel) -> None:
        if isinstance(channel, KeptChannel):
            terminals.serve(channel, request.path, lambda: opening(full), resumed=resumed, at=at)
        else:
            bridge.run(channel, opening(full))

    def switched(connection: socket.socket, first: bytes) -> None:
        channel = (KeptChannel if keep else bridge.WebSocketChannel)(connection, first)
        try:
            serve(channel)
        except HakuRiverError as error:
            with contextlib.suppress(OSError):
                channel.refuse(error)
            channel.see_off()

    return Response.switch("websocket", switched, headers)


def _name(request: Request) -> str:
    return check_environment_name(request.params["name"])


def _answer(desk: Desk, job: Job, *, wait: bool, status: int) -> Response:
    if not wait:
        message = f"Job {job.id} was started."
        return Response.json({"message": message, "job_id": job.id, "job": job_view(job)}, 202)
    done = desk.environments.jobs.end(job)
    return Response.json({**done.result, "job_id": job.id}, status)


def job_view(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "kind": job.kind,
        "environment": job.environment,
        "user": job.user,
        "state": job.state.value,
        "stage": job.stage,
        "bytes_done": job.done,
        "bytes_total": job.total,
        "message": job.message,
        "error": job.error.to_json() if job.error else None,
        "result": job.result,
        "created_at": iso(job.created_at),
        "ended_at": iso(job.ended_at),
        "revision": job.revision,
    }


def tarball_view(tarball: Tarball) -> dict[str, Any]:
    version = tarball.version
    return {
        "timestamp": version.time,
        "tarball": version.tarball,
        "size_bytes": version.size,
        "image_id": version.image_id,
        "sha256": version.sha256 or None,
        "created_by": version.created_by or None,
        "created_at": iso(version.time),
        "nodes": list(tarball.nodes),
    }
