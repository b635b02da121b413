"""Logging in as a browser does, and what the log keeps of who did what."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from tests.e2e.test_shell import Typist
from tests.support.cluster import Cluster
from tests.support.program import Program

TOKEN = "t0ken-of-this-test-0123456789"


def ask(
    host: Program, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_a_browser_logs_in_and_out(cluster: Cluster) -> None:
    host = cluster.start_host(auth_token=TOKEN)
    assert json.loads(ask(host, "GET", "/session")[2]) == {"needs_token": True, "logged_in": False}
    assert ask(host, "POST", "/login", {"token": "wrong"})[0] == 401
    assert ask(host, "POST", "/login", {"token": TOKEN}, Origin="http://evil.example")[0] == 403
    status, headers, body = ask(host, "POST", "/login", {"token": TOKEN})
    assert (status, body) == (204, b"")
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert TOKEN not in cookie
    assert "@127.0.0.1: logged in" in cluster.logs()
    assert json.loads(ask(host, "GET", "/session", Cookie=cookie)[2])["logged_in"] is True
    assert ask(host, "GET", "/tasks", Cookie=cookie)[0] == 200
    argv = {"command": "true"}
    assert ask(host, "POST", "/submit", argv, Cookie=cookie)[0] == 403
    assert ask(host, "POST", "/submit", argv, Cookie=cookie, X_HakuRiver="1")[0] == 202
    foreign = {"Cookie": cookie, "X_HakuRiver": "1", "Origin": "http://evil.example"}
    assert ask(host, "POST", "/submit", argv, **foreign)[0] == 403
    assert "Max-Age=0" in ask(host, "POST", "/logout", Cookie=cookie)[1]["Set-Cookie"]
    assert TOKEN not in cluster.logs()


def test_without_a_token_there_is_nothing_to_log_in_to(cluster: Cluster) -> None:
    host = cluster.start_host()
    assert json.loads(ask(host, "GET", "/session")[2]) == {"needs_token": False, "logged_in": True}
    assert ask(host, "GET", "/tasks", Host="evil.example")[0] == 403


def test_a_stranger_cannot_make_us_read_much(cluster: Cluster) -> None:
    host = cluster.start_host(auth_token=TOKEN)
    status, _, body = ask(host, "POST", "/login", {"token": "x" * 10_000})
    assert (status, json.loads(body)["error"]) == (413, "too_large")


def test_browsers_are_told_to_do_nothing_with_answers(cluster: Cluster) -> None:
    host = cluster.start_host()
    for path in ("/", "/tasks", "/nowhere", "/session"):
        headers = ask(host, "GET", path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


def test_the_log_says_who_did_what(cluster: Cluster) -> None:
    cluster.start_host()
    task_id = cluster.client("--quiet", "--", "true").out.strip()
    cluster.client("kill", task_id)
    cluster.api("POST", "/kill/999999", headers={"X-HakuRiver-User": "eve%1b%5b31m"})
    box = {"container_name": "box", "image_name": "x\x1b"}
    cluster.api("POST", "/docker/host/create", box)
    log = cluster.logs()
    assert f"@127.0.0.1: POST /submit: 202 Task {task_id} accepted." in log
    assert f"@127.0.0.1: POST /kill/{task_id}: 202 Kill of task {task_id} requested." in log
    assert "@127.0.0.1: POST /docker/host/create box of x\\x1b: refused" in log
    assert "@127.0.0.1: POST /kill/999999: refused: there is no task 999999" in log
    assert "\x1b" not in log
    assert "GET /" not in log, "what only reads is not written down"


def test_a_user_without_a_configuration_logs_in_once(cluster: Cluster, tmp_path: Path) -> None:
    host = cluster.start_host(auth_token=TOKEN)
    home: Any = {"HAKURIVER_HOME": str(tmp_path / "home"), "HAKURIVER_TOKEN": ""}
    at = f"127.0.0.1:{host.port}"
    done = cluster.run("client", "--host", at, "list", check=False, **home)
    assert done.returncode == 6
    assert "client login" in done.err
    wrong = cluster.run("client", "login", "--host", at, input=b"wrong\n", check=False, **home)
    assert (wrong.returncode, "token is wrong" in wrong.err) == (6, True), wrong.err
    empty = cluster.run("client", "login", "--host", at, check=False, **home)
    assert (empty.returncode, "there is no token" in empty.err) == (2, True), empty.err
    cluster.run("client", "login", "--host", at, input=f"{TOKEN}\n".encode(), **home)
    kept = tmp_path / "home" / "logins.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert cluster.run("client", "--host", at, "list", **home).returncode == 0
    assert cluster.run("client", "--host", at, "logout", **home).returncode == 0
    assert cluster.run("client", "--host", at, "list", check=False, **home).returncode == 6


def test_a_token_may_come_from_a_file_that_is_named(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    host = cluster.start_host(auth_token=TOKEN)
    at = f"127.0.0.1:{host.port}"
    wrong: Any = {"HAKURIVER_TOKEN": "wrong"}
    argv = ("--host", at, "--token-file", str(file))
    assert cluster.run("client", *argv, "list", **wrong).returncode == 0
    assert cluster.run("docker", "list", *argv, check=False, **wrong).returncode != 6
    missing = cluster.run("client", "--token-file", str(tmp_path / "no"), "list", check=False)
    assert (missing.returncode, "token_file" in missing.err) == (2, True)
    for role in ("host", "runner"):
        done = cluster.run(role, "--token-file", str(tmp_path / "no"), check=False, timeout=15)
        assert (done.returncode, "token_file" in done.err) == (2, True), done.err


def test_a_token_that_is_typed_is_not_shown(cluster: Cluster, tmp_path: Path) -> None:
    host = cluster.start_host(auth_token=TOKEN)
    argv = [*cluster.program, "client", "login", "--host", f"127.0.0.1:{host.port}"]
    home = {**cluster.environ(), "HAKURIVER_HOME": str(tmp_path / "home"), "HAKURIVER_TOKEN": ""}
    for typed, code in ((f"{TOKEN}\r", 0), ("\x04", 2)):
        typist = Typist(argv, home)
        try:
            typist.wait_for(rb"Token of http")
            typist.type(typed)
            assert typist.wait() == code, typist.seen
            assert TOKEN.encode() not in typist.seen
            assert b"Traceback" not in typist.seen
            assert typist.is_restored()
        finally:
            typist.close()
