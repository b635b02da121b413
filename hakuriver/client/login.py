"""Keeping a token for a user who has no configuration file: login and logout."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from hakuriver.client.arguments import Parser, Verb, config_of, user_name
from hakuriver.client.host_api import HOST_HINT, HostApi
from hakuriver.client.output import Output
from hakuriver.model.errors import UsageError
from hakuriver.system.httpc import HttpClient
from hakuriver.system.logins import login_file, read_logins, write_logins


def no_arguments(parser: Parser) -> None:
    """Nothing beyond the global options."""


def login(given: argparse.Namespace, _: HostApi, out: Output) -> int:
    """The token is never taken from the command line, where everybody could read it."""
    config = config_of(given)
    url = config.host_url
    if given.token_file is not None:
        token = config.token
    elif sys.stdin.isatty():
        from getpass import getpass

        try:
            token = getpass(f"Token of {url}: ").strip()
        except EOFError:
            token = ""
    else:
        token = sys.stdin.readline().strip()
    if not token:
        raise UsageError("there is no token", "Type it, or: client login --token-file PATH")
    ca = config.text("network.tls_ca")
    with closing(HttpClient(url, token=token, user=user_name(), ca=ca, hint=HOST_HINT)) as http:
        http.call("GET", "/")
    path = login_file(config)
    write_logins(path, {**read_logins(path), url: token})
    out.note(f"The token of {url} is right, and kept in {path}.")
    if config.token and given.token_file is None:
        out.note("The token of the configuration goes before it.")
    return 0


def logout(given: argparse.Namespace, _: HostApi, out: Output) -> int:
    config = config_of(given)
    path = login_file(config)
    logins = read_logins(path)
    known = logins.pop(config.host_url, None) is not None
    if known:
        write_logins(path, logins)
    out.note(f"The token of {config.host_url} was {'forgotten' if known else 'not kept here'}.")
    return 0


def _as_given(given: argparse.Namespace) -> argparse.Namespace:
    return given


VERBS = {
    "login": Verb(no_arguments, _as_given, login),
    "logout": Verb(no_arguments, _as_given, logout),
}
