"""The cookie of a browser: it proves that the token was known, and is of no use to other pages."""

from __future__ import annotations

import pytest

from hakuriver.model.errors import Forbidden, Unauthorized
from hakuriver.system.auth import admit
from hakuriver.system.session import (
    COOKIE,
    SECONDS,
    is_session,
    new_session,
    session_key,
    session_of,
    set_cookie,
)

TOKEN, NOW = "s3cret", 1_000_000.0
KEY = session_key(TOKEN, "cluster")
HOST = "10.0.0.1:8000"


def cookie(value: str | None = None) -> dict[str, str]:
    value = new_session(KEY, NOW) if value is None else value
    return {"cookie": f"other=1; {COOKIE}={value}", "host": HOST}


def test_a_session_lasts_its_time() -> None:
    value = new_session(KEY, NOW)
    assert is_session(value, KEY, NOW)
    assert is_session(value, KEY, NOW + SECONDS - 1)
    assert not is_session(value, KEY, NOW + SECONDS + 1)
    assert TOKEN not in value


@pytest.mark.parametrize("value", ["", ".", "1", "x.y", "9" * 30 + ".a", "-1.a", "٣.a", "1.\udcff"])
def test_garbage_is_no_session(value: str) -> None:
    assert not is_session(value, KEY, NOW)


def test_another_token_ends_it_and_a_longer_life_cannot_be_written_into_it() -> None:
    value = new_session(KEY, NOW)
    assert not is_session(value, "another", NOW)
    expires, _, mac = value.partition(".")
    assert not is_session(f"{int(expires) + 1}.{mac}", KEY, NOW)


def test_a_session_is_good_for_one_cluster_and_its_token() -> None:
    value = new_session(KEY, NOW)
    for key in (session_key(TOKEN, "other"), session_key("other", "cluster"), TOKEN, ""):
        assert not is_session(value, key, NOW)
    assert not is_session(new_session("", NOW), session_key("", "cluster"), NOW)


def test_who_takes_no_sessions_takes_none() -> None:
    with pytest.raises(Unauthorized):
        admit(cookie(), TOKEN, now=NOW)


def test_the_cookie_is_for_us_alone() -> None:
    name, value = set_cookie("x", secure=True)
    assert name == "Set-Cookie"
    assert value.startswith(f"{COOKIE}=x; ")
    for word in ("HttpOnly", "SameSite=Strict", "Path=/", "Secure"):
        assert word in value
    assert "Secure" not in set_cookie("x", secure=False)[1]
    assert "Max-Age=0" in set_cookie("", secure=False)[1]


def test_the_cookie_is_found_among_others() -> None:
    assert session_of({"cookie": f'a=b;{COOKIE}="v"; c=d'}) == "v"
    assert session_of({"cookie": "a=b"}) == ""
    assert session_of({}) == ""


def test_a_session_reads_and_with_our_header_changes_things() -> None:
    admit(cookie(), TOKEN, sessions=KEY, now=NOW)
    admit({**cookie(), "origin": f"http://{HOST}"}, TOKEN, sessions=KEY, now=NOW)
    guarded = {**cookie(), "x-hakuriver": "1", "origin": f"http://{HOST}"}
    admit(guarded, TOKEN, sessions=KEY, method="POST", now=NOW)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_form_of_another_page_changes_nothing(method: str) -> None:
    """Browsers add the cookie to what other pages send; they cannot add our header."""
    with pytest.raises(Forbidden):
        admit(cookie(), TOKEN, sessions=KEY, method=method, now=NOW)
    with pytest.raises(Forbidden):
        admit({**cookie(), "x-hakuriver": "1", "origin": "http://evil.example"}, TOKEN, sessions=KEY,
              method=method, now=NOW)  # fmt: skip


def test_another_page_reads_nothing_either() -> None:
    with pytest.raises(Forbidden):
        admit({**cookie(), "origin": "http://evil.example"}, TOKEN, sessions=KEY, now=NOW)


def test_a_session_that_is_over_is_told() -> None:
    with pytest.raises(Unauthorized, match="the session is over"):
        admit(cookie(), TOKEN, sessions=KEY, now=NOW + 2 * SECONDS)


@pytest.mark.parametrize("host", ["evil.example:8000", "evil.example", "node1.evil.example"])
def test_without_a_token_a_name_that_points_here_is_not_enough(host: str) -> None:
    """DNS rebinding: the page's own name, made to point to 127.0.0.1; no Origin comes with a GET."""
    with pytest.raises(Forbidden):
        admit({"host": host}, "", names={"node1"})


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "node1:8000", "NODE1"]
)
def test_without_a_token_addresses_and_our_own_names_will_do(host: str) -> None:
    admit({"host": host}, "", names={"node1"})
