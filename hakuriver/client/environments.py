"""`hakuriver docker`: environments, from a container on the host to images on the nodes.

What takes long is a job on the host: it is followed here, and goes on if nobody follows it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hakuriver.client.arguments import POLL_MAX, Parser, Verb, add_globals, globals_end, user_name
from hakuriver.client.environments_render import (
    CONTAINER_TITLES,
    JOB_TITLES,
    TARBALL_TITLES,
    container_cells,
    job_cells,
    job_progress,
    tarball_cells,
)
from hakuriver.client.host_api import HostApi, Row
from hakuriver.client.main import connect, mode
from hakuriver.client.nodes import say
from hakuriver.client.output import Output
from hakuriver.client.render import Table, word
from hakuriver.client.wait import Patience
from hakuriver.model.errors import HakuRiverError, UsageError, error_from_json
from hakuriver.system.plain import plain

PROG = "hakuriver docker"


@dataclass(frozen=True, slots=True)
class Options:
    """name is the environment's; version the UNIXTIME of a tarball; detach: do not follow the job."""

    name: str = ""
    image: str = ""
    version: int | None = None
    nodes: tuple[str, ...] = ()
    job: str = ""
    detach: bool = False


def main(argv: list[str]) -> int:
    given = argparse.Namespace()
    try:
        start = globals_end(argv)
        name = argv[start] if start < len(argv) else ""
        if name not in VERBS:
            return _no_verb(name, argv)
        parser = Parser(f"{PROG} {name}", HELP[name])
        VERBS[name].add_arguments(parser)
        add_globals(parser)
        parser.parse_args(argv[:start] + argv[start + 1 :], given)
        with connect(given) as api:
            return VERBS[name].run(VERBS[name].options(given), api, Output.of_process(mode(given)))
    except HakuRiverError as error:
        if mode(given) != "json":
            raise
        Output.of_process("json").error(error, "docker")
        return error.exit_code


def _no_verb(name: str, argv: list[str]) -> int:
    listing = "\n".join(f"  {verb:<17}{what}" for verb, what in HELP.items())
    parser = Parser(
        PROG,
        "Prepare environments on the host, pack them, and bring them to the nodes.\n\n"
        f"sub-commands:\n{listing}",
        usage=f"{PROG} SUB-COMMAND [OPTIONS]",
    )
    add_globals(parser)
    if name and not name.startswith("-"):
        import difflib

        close = difflib.get_close_matches(name, VERBS, 1, 0.5)
        hint = f"Did you mean: {PROG} {close[0]}" if close else f"See: {PROG} --help"
        raise UsageError(f"there is no sub-command '{name}'", hint)
    parser.parse_args(argv, argparse.Namespace())
    parser.print_help()
    return 0


# Arguments


def no_arguments(parser: Parser) -> None:
    """Nothing beyond the global options."""


def add_name(parser: Parser) -> None:
    parser.add_argument("name", metavar="ENV", help="the environment's name")


def add_detach(parser: Parser) -> None:
    parser.add_argument(
        "-d", "--detach", action="store_true", help="print the job's number and do not follow it"
    )


def create_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="pulled if the host has not got it")
    add_name(parser)
    add_detach(parser)


def pack_arguments(parser: Parser) -> None:
    add_name(parser)
    add_detach(parser)


def delete_tar_arguments(parser: Parser) -> None:
    add_name(parser)
    parser.add_argument(
        "version", metavar="VERSION", nargs="?", help="its number, as list-tars shows; all if none"
    )


def sync_arguments(parser: Parser) -> None:
    add_name(parser)
    parser.add_argument("nodes", metavar="NODE", nargs="*", help="all that are online if none")
    add_detach(parser)


def jobs_arguments(parser: Parser) -> None:
    parser.add_argument("job", metavar="JOB", nargs="?", default="", help="follow this one")


def options(given: argparse.Namespace) -> Options:
    version = getattr(given, "version", None)
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 16):
        raise UsageError(
            f"'{version}' is no version of a tarball",
            f"It is the number in its name, see: {PROG} list-tars",
        )
    return Options(
        name=getattr(given, "name", ""),
        image=getattr(given, "image", ""),
        version=None if version is None else int(version),
        nodes=tuple(getattr(given, "nodes", ())),
        job=getattr(given, "job", ""),
        detach=getattr(given, "detach", False),
    )


# Sub-commands


def list_containers(_: Options, api: HostApi, out: Output) -> int:
    rows = api.environment_containers()
    _table(rows, CONTAINER_TITLES, container_cells, "name", out)
    if not rows:
        out.note(f"There are none yet. Make one with: {PROG} create-container IMAGE ENV")
    return 0


def list_tars(_: Options, api: HostApi, out: Output) -> int:
    answer = api.tarballs()
    environments, problems = answer["environments"], answer["problems"]
    if out.mode == "json":
        out.json(environments)
    else:
        rows = [
            {**version, "environment": name}
            for name, entry in sorted(environments.items())
            for version in entry["all_versions"]
        ]
        _table(rows, TARBALL_TITLES, tarball_cells, "tarball", out)
        if not rows:
            out.note(f"There are none yet. Make one with: {PROG} create-tar ENV")
    for problem in problems:
        out.warn(f"Not usable: {problem}")
    return 0


def create_container(given: Options, api: HostApi, out: Output) -> int:
    answer = api.create_container(given.image, given.name, user_name())
    code = _follow(answer, api, out, detach=given.detach)
    if code == 0 and not given.detach:
        out.note(f"Open it with: hakuriver docker-shell {given.name}")
    return code


def create_tar(given: Options, api: HostApi, out: Output) -> int:
    answer = api.create_tar(given.name, user_name())
    return _follow(answer, api, out, detach=given.detach)


def sync(given: Options, api: HostApi, out: Output) -> int:
    answer = api.sync_environment(given.name, given.nodes, user_name())
    return _follow(answer, api, out, detach=given.detach)


def start_container(given: Options, api: HostApi, out: Output) -> int:
    return say(api.container_verb("start", given.name), out)


def stop_container(given: Options, api: HostApi, out: Output) -> int:
    return say(api.container_verb("stop", given.name), out)


def delete_container(given: Options, api: HostApi, out: Output) -> int:
    return say(api.container_verb("delete", given.name), out)


def delete_tar(given: Options, api: HostApi, out: Output) -> int:
    return say(api.delete_tar(given.name, given.version), out)


def jobs(given: Options, api: HostApi, out: Output) -> int:
    if given.job:
        return _follow({"job_id": given.job}, api, out, detach=False, met=False)
    rows = api.jobs()
    _table(rows, JOB_TITLES, job_cells, "job_id", out)
    return 0


def _table(
    rows: Sequence[Row],
    titles: Sequence[str],
    cells: Callable[[Row], tuple[str, ...]],
    key: str,
    out: Output,
) -> None:
    if out.mode == "json":
        out.json(rows)
    elif out.mode == "quiet":
        out.lines(plain(word(row, key)) for row in rows)
    else:
        out.lines(Table(titles, paint=out.painted, width=out.width).lines(map(cells, rows)))


def _follow(answer: Row, api: HostApi, out: Output, *, detach: bool, met: bool = True) -> int:
    """Show a job until it is over; whoever interrupts that leaves the job alone.

    met: the host has answered before, so if it does not now, it will come back.
    """
    job_id = str(answer["job_id"])
    if detach:
        if out.mode == "json":
            out.json(answer)
        else:
            out.line(job_id)
        return 0
    try:
        job = _until_over(job_id, api, out, met=met)
    except KeyboardInterrupt:
        out.note(f"Job {job_id} goes on. Come back with: {PROG} jobs {job_id}")
        return 130
    if job["state"] == "failed":
        raise error_from_json(500, job.get("error"))
    if out.mode == "json":
        out.json(job)
    elif out.mode == "text":
        out.line(plain(word(job, "message")))
    return 0


def _until_over(job_id: str, api: HostApi, out: Output, *, met: bool) -> Row:
    ask = Patience(out, met).ask
    job = ask(lambda: api.job(job_id))
    stage = ""
    began = time.monotonic()
    poll = 1.0 if out.live else POLL_MAX / 2
    while job["state"] not in ("done", "failed"):
        if out.live:
            out.progress(job_progress(job, time.monotonic() - began))
        elif out.mode == "text" and job["stage"] != stage:
            stage = job["stage"]
            out.note(f"{job['environment']}: {stage}")
        since = int(job["revision"])
        job = ask(lambda since=since: api.job(job_id, wait=poll, since=since))  # type: ignore[misc]
    return job


VERBS: dict[str, Verb] = {
    "create-container": Verb(create_arguments, options, create_container),
    "list-containers": Verb(no_arguments, options, list_containers),
    "start-container": Verb(add_name, options, start_container),
    "stop-container": Verb(add_name, options, stop_container),
    "delete-container": Verb(add_name, options, delete_container),
    "create-tar": Verb(pack_arguments, options, create_tar),
    "list-tars": Verb(no_arguments, options, list_tars),
    "delete-tar": Verb(delete_tar_arguments, options, delete_tar),
    "sync": Verb(sync_arguments, options, sync),
    "jobs": Verb(jobs_arguments, options, jobs),
}
HELP: dict[str, str] = {
    "create-container": "make an environment's container on the host, from an image",
    "list-containers": "the containers of environments on the host",
    "start-container": "start a container; docker-shell does so by itself",
    "stop-container": "stop a container; what is in it stays",
    "delete-container": "delete a container; its tarballs stay",
    "create-tar": "pack a container, running or not, as a new version for all nodes",
    "list-tars": "the packed versions, and which node holds which",
    "delete-tar": "delete a version, or all of an environment",
    "sync": "bring the newest version to nodes before tasks need it",
    "jobs": "the host's jobs, or one of them until it is over",
}
