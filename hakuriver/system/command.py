"""Running programs: an argv list, a fixed environment, a bound on time, and errors in plain words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hakuriver.model.errors import HakuRiverError

PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH",
             "DOCKER_TLS_VERIFY", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")  # fmt: skip
"""What the administrator set for us to find an engine; nothing of a user's task is among it."""


@dataclass(frozen=True, slots=True)
class Completed:
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace").strip()

    @property
    def error(self) -> str:
        """The last line that the program had to say, for people."""
        lines = self.err.decode("utf-8", "replace").strip().splitlines()
        useful = [line for line in lines if line.strip() and "--help" not in line]
        return useful[-1].strip() if useful else f"exit code {self.code}"


class CommandFailed(HakuRiverError):
    """The program is missing, could not be started, or took too long."""


def fixed_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"LC_ALL": "C.UTF-8", **kept, **(extra or {})}


def run(
    argv: Sequence[str | bytes], *, timeout: float = 60, extra_env: Mapping[str, str] | None = None
) -> Completed:
    """Run a program to its end. Raises CommandFailed; a bad exit code is no error here."""
    program = os.fsdecode(argv[0])
    environment = {
        os.fsencode(name): value.encode("utf-8", "surrogateescape")
        for name, value in fixed_environment(extra_env).items()
    }
    try:
        done = subprocess.run(
            list(argv),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=environment,
            # Ctrl-C in our terminal is meant for us, not for what we have just begun.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CommandFailed(f"there is no program {program} on this machine") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{program} did not finish within {timeout:g} s") from None
    except OSError as error:
        raise CommandFailed(f"cannot run {program}: {error.strerror}") from None
    return Completed(done.returncode, done.stdout, done.stderr)
