"""A daemon hears its signals, whenever they come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIGNALS_AT_ANY_MOMENT = """
import os, random, signal, sys, threading
from hakuriver.system import daemon

gate = threading.Semaphore(0)

def killer():
    while gate.acquire():
        for _ in range(random.randrange(60)):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=killer, daemon=True).start()
sys.setswitchinterval(1e-6)
for _ in range(400):
    stop = daemon.stop_requested(child=False)
    gate.release()
    stop.wait()
    for end in (stop._read, stop._write):
        os.close(end)
print("heard them all")
"""
ALL_AT_ONCE = """
import os, signal
from hakuriver.system import daemon

stop = daemon.stop_requested(child=False)
print("ready", flush=True)
stop.wait()
print("stopping", flush=True)
signal.pause()
"""


def python(script: str, *, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stdin=stdin, text=True
    )


def test_no_signal_is_missed_around_the_beginning_of_the_wait() -> None:
    with python(SIGNALS_AT_ANY_MOMENT) as process:
        try:
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert out == "heard them all\n"


def test_a_second_signal_ends_a_stop_that_hangs() -> None:
    with python(ALL_AT_ONCE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "stopping\n"
        process.terminate()
        assert process.wait(10) == 128 + 15


def test_the_end_of_standard_input_stops_a_child() -> None:
    script = ALL_AT_ONCE.replace("child=False", "child=True").replace("signal.pause()", "")
    with python(script, stdin=subprocess.PIPE) as process:
        assert process.communicate(timeout=10)[0] == "ready\nstopping\n"
        assert process.returncode == 0
