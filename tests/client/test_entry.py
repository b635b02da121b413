"""The program itself: its commands, how it ends, and on which Pythons it says what."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hakuriver.__main__ as entry
from hakuriver import __version__
from hakuriver.client.main import VERBS
from tests.client.conftest import Client
from tests.client.fake_host import FakeHost, output, page, task

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "hakuriver.py"


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command_and_exit_code(hakuriver: Client, argv: list[str]) -> None:
    ended = hakuriver(*argv)
    assert (ended.code, ended.err) == (0, "")
    for word in [*entry.COMMANDS, *(code for code, _ in entry.EXIT_CODES)]:
        assert f"  {word} " in ended.out


def test_the_version_is_said(hakuriver: Client) -> None:
    assert hakuriver("--version").out == f"HakuRiver {__version__}\n"
    facts = hakuriver("--version", "--json").json
    assert facts["version"] == __version__
    assert facts == hakuriver("--json", "--version").json


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("clinet", "Did you mean: client"),
        ("Runner", "Did you mean: runner"),
        ("list", "Did you mean: client list"),
        ("--verison", "Did you mean: --version"),
        ("xyz", f"The commands are: {', '.join(entry.COMMANDS)}."),
    ],
)
def test_an_unknown_command_gets_the_nearest_right_one(
    hakuriver: Client, word: str, hint: str
) -> None:
    ended = hakuriver(word)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[1] == f"  hint: {hint}"


@pytest.mark.parametrize("argv", [[], ["--help"], ["submit"], ["--json"]])
def test_the_client_without_a_command_shows_its_help(client: Client, argv: list[str]) -> None:
    ended = client(*argv)
    assert ended.code == 0
    assert "--memory" in ended.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_sub_command_has_help(hakuriver: Client, verb: str) -> None:
    ended = hakuriver("client", verb, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"usage: hakuriver client {verb} ")
    assert "--quiet" in ended.out


def test_the_help_of_the_client_names_every_sub_command(hakuriver: Client) -> None:
    text = hakuriver("client", "--help").out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_a_usage_error_with_json_is_json(hakuriver: Client) -> None:
    ended = hakuriver("client", "--json", "list", "--bogus")
    assert (ended.code, ended.out) == (2, "")
    assert json.loads(ended.err)["error"] == "usage"


def test_json_among_the_words_of_a_command_is_not_ours(host: FakeHost, client: Client) -> None:
    host.close()
    assert client("tool", "--json").err.startswith("hakuriver client: error: ")


def test_a_configuration_that_is_wrong_is_a_usage_error(hakuriver: Client, tmp_path: Path) -> None:
    ended = hakuriver("client", "--config", str(tmp_path / "none.toml"), "nodes")
    assert ended.code == 2
    assert "none.toml" in ended.err


def test_the_host_is_the_one_of_the_configuration(
    host: FakeHost, hakuriver: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.on("GET /nodes", [])
    monkeypatch.setenv("HAKURIVER_NETWORK_HOST_PORT", host.address.split(":")[1])
    assert hakuriver("client", "nodes").code == 0
    # A flag without a port leaves the port as it is configured.
    assert hakuriver("client", "--host", "127.0.0.1", "nodes").code == 0


def broken_module(error: BaseException) -> ModuleType:
    def main(argv: list[str]) -> int:
        raise error

    module = ModuleType("broken")
    module.main = main  # type: ignore[attr-defined]
    return module


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, hakuriver: Client) -> Client:
    """failing(error): run a command that raises it."""

    def run(error: BaseException) -> object:
        monkeypatch.setattr(entry, "import_module", lambda name: broken_module(error))
        return hakuriver("client")

    return run  # type: ignore[return-value]


def test_a_fault_of_ours_is_one_line(failing: Client) -> None:
    ended = failing(ValueError("a\x1bb\nc"))
    assert ended.code == 1
    assert ended.err == "hakuriver client: internal error: ValueError: a\\x1bb\\x0ac\n"


def test_a_fault_of_ours_is_traced_on_request(
    failing: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAKURIVER_DEBUG", "1")
    assert "Traceback" in failing(ValueError("x")).err


def test_an_interrupt_is_quiet(failing: Client) -> None:
    ended = failing(KeyboardInterrupt())
    assert (ended.code, ended.out, ended.err) == (130, "", "")


def test_an_interrupt_that_python_has_wrapped_is_quiet_too(failing: Client) -> None:
    wrapped = RuntimeError("Error calling __set_name__ on 'Field' instance 'name' in 'Setting'")
    wrapped.__cause__ = KeyboardInterrupt()
    ended = failing(wrapped)
    assert (ended.code, ended.out, ended.err) == (130, "", "")


def run(
    *argv: str, stdout: int, python: str = sys.executable
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [python, "-B", str(SCRIPT), *argv], stdout=stdout, stderr=subprocess.PIPE, timeout=30
    )


def test_a_reader_that_goes_away_is_no_fault(host: FakeHost) -> None:
    host.on("GET /tasks", page(*(task(str(n)) for n in range(1000, 0, -1))))
    host.on("GET /task/1/stdout", output(b"x" * (1 << 20)))
    for argv in (["list"], ["logs", "1"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = run("client", "--host", host.address, *argv, stdout=writer)
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b""), argv


def test_a_full_disk_is_told_in_one_line(host: FakeHost) -> None:
    host.on("GET /task/1/stdout", output(b"x"))
    with open("/dev/full", "wb") as full:
        done = run("client", "--host", host.address, "logs", "1", stdout=full.fileno())
        assert done.returncode == 1
        assert done.stderr == b"hakuriver client: error: cannot write: No space left on device\n"
        done = run("--help", stdout=full.fileno())
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_of_closed_streams_only_stdout_is_missed_and_only_for_data(host: FakeHost) -> None:
    host.on("GET /tasks", page(task("1")))
    started = f'exec "{sys.executable}" -B "{SCRIPT}"'
    listing = f"{started} client --host {host.address} list"
    cannot = b"error: cannot write"
    for line, code, says in (
        (f"{listing} >&-", 1, cannot),
        (f"{listing} <&- >&- 2>&-", 1, b""),
        (f"{listing} <&- 2>&-", 0, b""),
        (f"{started} --version >&-", 1, cannot),
        (f"{started} client --help >&-", 1, cannot),
        (f"{started} bogus 2>&-", 2, b""),
        (f"{started} client --host {host.address} login <&-", 2, b"rror:"),
        (f"{started} hakurun sh -c 'echo x' >&-", 1, b""),
        (f"{started} hakurun true >&-", 0, b""),
    ):
        done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=30)
        assert (done.returncode, says in done.stderr) == (code, True), (line, done.stderr)
        assert b"Traceback" not in done.stderr


def test_only_what_is_needed_is_loaded() -> None:
    program = (
        "import sys; from hakuriver.__main__ import main; main(['client', 'status', '1']);"
        "print(*sorted(m for m in sys.modules if m.startswith('hakuriver.')))"
    )
    environ = {**os.environ, "HAKURIVER_NETWORK_HOST_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, timeout=30
    )
    loaded = set(done.stdout.decode().split())
    assert "hakuriver.client.tasks" in loaded
    assert not loaded & {"hakuriver.client.submit", "hakuriver.client.nodes", "hakuriver.host"}


def test_even_the_oldest_python_can_read_the_entry() -> None:
    source = SCRIPT.read_bytes()
    assert source.isascii()
    ast.parse(source, feature_version=(3, 4))


def old_pythons() -> list[str]:
    """Interpreters of this machine that are too old, where pyenv keeps them."""
    versions = Path("~/.pyenv/versions").expanduser()
    old = ("2.7", "3.6", "3.7", "3.8", "3.9")
    found = [path / "bin" / "python" for v in old for path in versions.glob(f"{v}.*")]
    return [str(python) for python in found if python.exists()]


def test_a_python_that_is_too_old_is_told_so() -> None:
    # Not a skip: that the file can be parsed is checked above, on every machine.
    for python in old_pythons():
        done = run("client", "list", stdout=subprocess.DEVNULL, python=python)
        assert done.returncode == 2
        assert b"Python 3.10 or newer is needed" in done.stderr
        assert len(done.stderr.splitlines()) == 1
