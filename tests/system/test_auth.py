from __future__ import annotations

import socket
from typing import Any

import pytest

from hakuriver.model.errors import Forbidden, Unauthorized, UsageError
from hakuriver.system.auth import admit, authorized, check_bind


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret "])
def test_the_right_token_opens(value: str) -> None:
    assert authorized({"authorization": value}, "s3cret")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer ☃"]
)
def test_anything_else_does_not(value: str) -> None:
    assert not authorized({"authorization": value}, "s3cret")
    assert not authorized({}, "s3cret")


def test_without_a_token_everybody_may() -> None:
    assert authorized({}, "")


def test_a_token_may_be_any_text() -> None:
    assert authorized({"authorization": "Bearer " + "naïve☃".encode().decode("latin-1")}, "naïve☃")


def test_who_lacks_the_token_is_told_where_it_comes_from() -> None:
    with pytest.raises(Unauthorized) as caught:
        admit({}, "s3cret")
    assert "HAKURIVER_TOKEN" in caught.value.hint
    assert "auth.token" in caught.value.hint
    assert "s3cret" not in caught.value.detail + caught.value.hint


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "127.0.0.1:8000"),
        ("null", "127.0.0.1:8000"),
        ("http://127.0.0.1:9999", "127.0.0.1:8000"),
        ("http://evil.example:8000", "evil.example:8000"),
        ("http://[", "["),
    ],
)
def test_without_a_token_web_pages_of_others_are_turned_away(origin: str, host: str) -> None:
    with pytest.raises(Forbidden):
        admit({"origin": origin, "host": host}, "")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "10.0.0.1:80"])
def test_our_own_pages_and_programs_are_let_in(host: str) -> None:
    admit({"origin": f"http://{host}", "host": host}, "")
    admit({"host": host}, "")
    admit({"origin": "http://evil.example", "authorization": "Bearer t"}, "t")


def names(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]]) -> None:
    def lookup(name: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if name not in table:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, 1, 6, "", (address, 0)) for address in table[name]]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"]
)
def test_the_loopback_interface_needs_no_token(address: str) -> None:
    check_bind(address, token="", open_to_all=False, what="host")


@pytest.mark.parametrize("address", ["", "0.0.0.0", "::", "10.1.2.3", "::ffff:10.1.2.3"])
def test_any_other_address_needs_one_or_a_clear_word(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_bind(address, token="", open_to_all=False, what="host")
    assert "host would listen on" in caught.value.detail
    for way in ("auth.token", "HAKURIVER_TOKEN", "127.0.0.1", 'auth = "none"'):
        assert way in caught.value.hint
    check_bind(address, token="x", open_to_all=False, what="host")
    check_bind(address, token="", open_to_all=True, what="host")


def test_a_name_is_loopback_only_if_all_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"me": ["127.0.0.1", "::1"], "both": ["127.0.0.1", "10.0.0.1"]})
    check_bind("me", token="", open_to_all=False, what="host")
    for name in ("both", "unknown"):
        with pytest.raises(UsageError):
            check_bind(name, token="", open_to_all=False, what="host")
