"""The lines that make a node of another machine."""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

from hakuriver.client.arguments import Parser, Verb
from hakuriver.client.host_api import HostApi
from hakuriver.client.output import Output
from hakuriver.system.auth import names_this_machine


def no_arguments(parser: Parser) -> None:
    """Nothing beyond the global options."""


def join(_: argparse.Namespace, api: HostApi, out: Output) -> int:
    commands = api.join_commands()
    if out.mode == "json":
        out.json({"commands": commands})
        return 0
    out.note("Type this on the new machine, in an empty folder; it asks for the token:")
    out.lines(commands)
    if any(line.startswith("export HAKURIVER_NETWORK_TLS_CA=") for line in commands):
        out.note("Copy the authority's file there before, and name it as it is called there.")
    address = urlsplit(commands[-1].rpartition(" ")[2]).hostname or "" if commands else ""
    if names_this_machine(address):
        out.warn(
            f"But no other machine finds the host at {address}: set network.host_reachable_address,"
            " and host_bind_ip, in its configuration, and start it anew."
        )
    out.note("For good, as a service: hakuriver.pyz init service --runner --join URL")
    return 0


VERBS = {"join": Verb(no_arguments, lambda given: given, join)}
