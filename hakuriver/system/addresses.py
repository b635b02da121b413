"""Addresses as people write them."""

from __future__ import annotations

from hakuriver.model.errors import UsageError


def host_address(text: str, flag: str = "--host") -> dict[str, object]:
    """The settings that it stands for: "node1", "node1:9000", "http://node1:9000", "[::1]:9000"."""
    address = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    port = ""
    if address.startswith("["):
        address, bracket, port = address[1:].partition("]")
        good = bool(bracket) and port[:1] in ("", ":") and port != ":"
        port = port[1:]
    elif address.count(":") == 1:
        address, _, port = address.partition(":")
        good = bool(port)
    else:
        good = True
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        good = False
    if not address.isprintable() or {" ", "/"} & set(address):
        good = False
    if not good or not address:
        raise UsageError(f"{flag}: '{text}' is no address", "Write ADDR or ADDR:PORT.")
    settings: dict[str, object] = {"network.host_reachable_address": address}
    return {**settings, "network.host_port": int(port)} if port else settings


def check_scheme(text: str, *, has_ca: bool, flag: str = "--host") -> None:
    """Raises UsageError for an https that we would not know whom to trust for."""
    if text.startswith("https://") and not has_ca:
        raise UsageError(
            f"{flag}: https needs network.tls_ca",
            "Set it (HAKURIVER_NETWORK_TLS_CA) to the file of the authority that the host's "
            "certificate comes from.",
        )
