"""Every byte of a command, its environment and its output arrives unchanged, or is refused by name."""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
from typing import Any

import pytest

from tests.e2e.witness import all_final, signal_file, until_file
from tests.support.cluster import Cluster, Completed
from tests.support.wait import wait_until

WORDS = ["", " ", "a b", "it's", '"', "a\nb\n", "\ttab", "$(id)", "`id`", "; true", "&&", "|", ">x",
         "*", "\\", "\\n", "-n", "--", "é…漢", "\x01\x1b[31m", "$HOME", "%s%n", "{}", "#"]  # fmt: skip


def wait(cluster: Cluster, *argv: str) -> Completed:
    return cluster.client("--wait", *argv, check=False)


def newest(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.api("GET", "/tasks?limit=1")[2][0])


def where_flags(where: dict[str, object]) -> list[str]:
    return ["--container", str(where["container_name"])]


def test_arguments_arrive_byte_for_byte(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    done = wait(cluster, *where_flags(where), "--", "printf", "[%s]", *WORDS)
    assert done.returncode == 0, done.err
    task = newest(cluster)
    assert task["arguments"] == ["[%s]", *WORDS]
    assert cluster.output(task["task_id"]) == "".join(f"[{word}]" for word in WORDS).encode()


def test_arguments_that_are_no_text_arrive_byte_for_byte(standing: Cluster) -> None:
    cluster = standing
    raw = bytes(range(1, 256))
    argv: list[str | bytes] = [*cluster.program, "client", "--env", b"V=" + raw, "--wait", "--", "sh", "-c",
            'printf "%s|%s" "$V" "$1"', "sh", raw]  # fmt: skip
    done = subprocess.run(argv, env=cluster.environ(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert cluster.output(newest(cluster)["task_id"]) == raw + b"|" + raw


def test_bytes_that_docker_would_change_are_refused_by_name(
    standing: Cluster, docker_image: str
) -> None:
    cluster = standing
    for body, name in (
        ({"arguments": ["ok", "\udcff"]}, "argument 2"),
        ({"env_vars": {"V": "\udcff"}}, "environment variable V"),
    ):
        whole = {"command": "echo", "container_name": docker_image, **body}
        status, _, answer = cluster.api("POST", "/submit", whole)
        assert (status, name in answer["detail"], "NULL" in answer["hint"]) == (422, True, True)


def test_two_thousand_arguments_and_long_ones_arrive(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    words = [*map(str, range(2000)), "x" * (128 * 1024 - 1)]
    argv = [
        "sh",
        "-c",
        'echo $# "$1" "${2000}"; eval "printf %s \\"\\${$#}\\"" | wc -c',
        "sh",
        *words,
    ]
    task = cluster.wait_final(cluster.submit(*argv, **where))
    said = cluster.output(task["task_id"]).split()
    assert (task["exit_code"], said) == (0, [b"2001", b"0", b"1999", b"131071"])


def test_environments_arrive_byte_for_byte(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    given = {"EMPTY": "", "TEXT": " a\n'b' $(c) ", "PATH": "/nope", "IFS": "x", "ENV": "/no",
             "d": "e", "HOME": "/h", "DOCKER_HOST": "tcp://nowhere:1", "_x9": "=,="}  # fmt: skip
    env = "/bin/busybox" if where["container_name"] != "NULL" else "/usr/bin/env"
    argv = [env, "env", "-0"] if env.endswith("busybox") else [env, "-0"]
    task_id = cluster.submit(*argv, env_vars=given, **where)
    assert cluster.wait_final(task_id)["exit_code"] == 0, cluster.output(task_id, "stderr")
    words = cluster.output(task_id).decode().split("\0")
    seen = dict(word.partition("=")[::2] for word in words if word)
    assert {name: seen.get(name) for name in given} == given
    assert not [name for name in seen if name.startswith(("HAKURIVER_ENV", "hakuriver_"))]
    assert seen["HAKURIVER_TASK_ID"] == task_id


def test_output_that_is_not_text_arrives(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    script = r"printf '\377\000\200\r\n\33[31m'; printf '\376\000' >&2"
    task_id = cluster.submit("sh", "-c", script, **where)
    cluster.wait_final(task_id)
    assert cluster.client("logs", task_id).stdout == b"\xff\x00\x80\r\n\x1b[31m"
    assert cluster.client("logs", "--stderr", task_id).stdout == b"\xfe\x00"


def test_a_hundred_megabytes_of_output_arrive(standing: Cluster, where: dict[str, object]) -> None:
    """Followed while they are written, and read at once afterwards."""
    cluster = standing
    script = "yes 0123456789abcdef | head -c 104857600; printf end"
    task_id = cluster.submit("sh", "-c", script, **where)
    block = b"0123456789abcdef\n"
    whole, rest = divmod(104857600, len(block))
    wanted = hashlib.sha256(block * whole + block[:rest] + b"end")
    followed = cluster.client("logs", "-f", task_id, timeout=120)
    assert len(followed.stdout) == 104857603
    assert hashlib.sha256(followed.stdout).digest() == wanted.digest()
    assert cluster.wait_final(task_id)["exit_code"] == 0
    for read in (lambda: cluster.output(task_id), lambda: cluster.client("logs", task_id).stdout):
        assert hashlib.sha256(read()).digest() == wanted.digest()


ENDS = {
    "exit 0": ("completed", 0, None),
    "exit 3": ("failed", 3, "exit code 3"),
    "exit 255": ("failed", 255, "exit code 255"),
    "no-such-program": ("failed", 127, "exit code 127: command not found"),
    "exec /etc/passwd": ("failed", 126, "not executable"),
    "kill -9 $$": ("failed", 137, "ended by signal KILL"),
    "kill -SEGV $$": ("failed", 139, "ended by signal SEGV"),
    "exec >&- 2>&-; exit 4": ("failed", 4, "exit code 4"),
    "sleep 600 & setsid sleep 600 & exit 5": ("failed", 5, "exit code 5"),
}


def test_ends_are_told_as_they_were(standing: Cluster, where: dict[str, object]) -> None:
    cluster = standing
    ids = {cluster.submit("sh", "-c", script, **where): script for script in ENDS}
    for task_id, task in all_final(cluster, ids).items():
        status, code, message = ENDS[ids[task_id]]
        assert (task["status"], task["exit_code"]) == (status, code), (ids[task_id], task)
        assert (message or "") in (task["error_message"] or ""), (ids[task_id], task)
        if message and message.startswith("exit code"):
            assert message == task["error_message"]


def test_a_command_that_cannot_be_run_says_so_in_its_stderr(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    (cluster.shared / "shared_data" / "data").write_text("just text")
    for command, code in (("no-such-program", 127), ("./data", 126), ("/", 126)):
        done = wait(cluster, *where_flags(where), "--", command, "a")
        assert done.returncode == code, (command, done.err)
        task = newest(cluster)
        assert command.encode() in cluster.output(task["task_id"], "stderr")


@pytest.mark.parametrize("name", ["exit", "eval", "cd", "."])
def test_a_command_may_have_any_name(
    standing: Cluster, where: dict[str, object], name: str
) -> None:
    cluster = standing
    folder = cluster.shared / "shared_data" / "bin"
    folder.mkdir(exist_ok=True)
    if name != ".":
        program = folder / name
        program.write_text('#!/bin/sh\necho "the program $*"; exit 6\n')
        program.chmod(0o755)
    there = "/shared/bin" if where["container_name"] != "NULL" else str(folder)
    flags = [*where_flags(where), "--env", f"PATH={there}:/bin:/usr/bin"]
    done = wait(cluster, *flags, "--", name, "echo", "pwned")
    if name == ".":
        assert done.returncode in (126, 127)
    else:
        assert done.returncode == 6, done.err
        assert cluster.output(newest(cluster)["task_id"]) == b"the program echo pwned\n"


REFUSALS = {
    "empty": ({"command": ""}, "the command is empty"),
    "missing": ({}, "lacks the field 'command'"),
    "dash": ({"command": "-x"}, "begins with '-'"),
    "long": ({"command": "a", "arguments": ["b", "x" * 131072]}, "argument 2 has 131072 bytes"),
    "bytes": ({"command": "a", "arguments": ["é" * 65536]}, "argument 1 has 131072 bytes"),
    "total": ({"command": "a", "arguments": ["x" * 100_000] * 20}, "bytes together"),
    "nul": ({"command": "a", "arguments": ["b\0c"]}, "NUL"),
    "surrogate": ({"command": "a", "arguments": ["\ud800"]}, "surrogate"),
    "name": ({"command": "a", "env_vars": {"a.b": "c"}}, "'a.b'"),
    "no name": ({"command": "a", "env_vars": {"": "c"}}, "no identifier"),
    "digit": ({"command": "a", "env_vars": {"1a": "c"}}, "'1a'"),
    "ours": ({"command": "a", "env_vars": {"HAKURIVER_TASK_ID": "1"}}, "HAKURIVER_TASK_ID"),
    "value": ({"command": "a", "env_vars": {"A": "x" * 131072}}, "environment variable A"),
    "nul value": ({"command": "a", "env_vars": {"A": "\0"}}, "environment variable A"),
    "number": ({"command": "a", "env_vars": {"A": 1}}, "environment variable A"),
    "mount": ({"command": "a", "additional_mounts": ["x:/y"]}, "'x:/y'"),
    "mount over": ({"command": "a", "additional_mounts": ["/x:/shared"]}, "/shared"),
    "container": ({"command": "a", "container_name": "../x"}, "../x"),
    "cores": ({"command": "a", "required_cores": -1}, "required_cores"),
    "unknown": ({"command": "a", "extra": 1}, "'extra'"),
    "target": ({"command": "a", "targets": ["node9"]}, "node9"),
    "numa": ({"command": "a", "targets": ["node1:77"]}, "77"),
}  # fmt: skip


def test_what_cannot_be_passed_on_is_refused_by_name(standing: Cluster) -> None:
    cluster = standing
    last = cluster.submit("true")
    for name, (body, words) in REFUSALS.items():
        status, _, answer = cluster.api("POST", "/submit", body)
        assert (status, answer["error"]) == (422, "refused"), (name, answer)
        assert words in answer["detail"], (name, answer)
    assert newest(cluster)["task_id"] == last
    refused = cluster.client("--env", "a.b=c", "--", "true", check=False)
    assert (refused.returncode, "a.b" in refused.err) == (5, True)
    assert cluster.client("--", "", check=False).returncode == 5


def test_a_task_without_a_container_gets_nothing_of_the_runners(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_ADMIN", "geheim")
    cluster.settings["auth_token"] = "token-of-the-test"
    cluster.start_host()
    cluster.start_runner()
    script = "env; ulimit -c; umask; ls -l /proc/self/fd; cat; trap"
    task_id = cluster.submit("sh", "-c", script)
    cluster.wait_final(task_id)
    said = cluster.output(task_id).decode()
    assert "geheim" not in said
    assert "token-of-the-test" not in said
    assert "0022" in said.split()
    assert f"HOME={pwd.getpwuid(os.getuid()).pw_dir}" in said.split()
    opened = [line for line in said.splitlines() if " -> " in line]
    assert not [line for line in opened if "socket" in line or "ledger" in line], opened


def test_a_runner_that_stops_leaves_its_tasks_running(
    standing: Cluster, where: dict[str, object]
) -> None:
    cluster = standing
    go = f"go-{where['container_name']}"
    task_id = cluster.submit("sh", "-c", f"{until_file(go)}; exit 8", **where)
    cluster.wait_status(task_id, "running")
    assert cluster.runners["node1"].stop() in (0, 143)
    signal_file(cluster, go)
    cluster.runners["node1"].start()
    wait_until(lambda: cluster.task(task_id)["exit_code"] == 8, message="its exit code arrives")
