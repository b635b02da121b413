from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator

import pytest

from hakuriver.system.ticker import Ticker
from tests.support.wait import wait_until

LONG = 3600.0


class Step:
    """Counts its calls; each waits until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> None:
        self.begun += 1
        assert self.gate.wait(10)
        self.ended += 1


@pytest.fixture
def step() -> Iterator[Step]:
    step = Step()
    yield step
    step.gate.set()


def test_it_steps_at_start_and_then_every_interval(step: Step) -> None:
    ticker = Ticker("test", 0.01, step)
    ticker.start()
    wait_until(lambda: step.ended >= 5)
    ticker.stop()


def test_a_wake_makes_it_step_at_once(step: Step) -> None:
    ticker = Ticker("test", LONG, step)
    ticker.start()
    wait_until(lambda: step.ended == 1)
    ticker.wake()
    wait_until(lambda: step.ended == 2)
    ticker.stop()


def test_many_wakes_during_a_step_make_one_more_step(step: Step) -> None:
    ticker = Ticker("test", LONG, step)
    step.gate.clear()
    ticker.start()
    wait_until(lambda: step.begun == 1)
    for _ in range(10):
        ticker.wake()
    step.gate.set()
    wait_until(lambda: step.ended == 2)
    ticker.stop()
    assert step.begun == 2


def test_a_step_that_fails_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("no luck")

    ticker = Ticker("sweeper", 0.01, fail)
    with caplog.at_level(logging.ERROR):
        ticker.start()
        wait_until(lambda: len(calls) >= 3)
        ticker.stop()
    assert "sweeper failed" in caplog.text
    assert "no luck" in caplog.text


def test_stop_waits_for_the_running_step_and_none_follows(step: Step) -> None:
    ticker = Ticker("test", 0.001, step)
    step.gate.clear()
    ticker.start()
    wait_until(lambda: step.begun == 1)
    stopper = threading.Thread(target=ticker.stop)
    stopper.start()
    assert stopper.is_alive()
    step.gate.set()
    stopper.join(10)
    assert step.begun == step.ended == 1


def test_stop_does_not_wait_for_ever(step: Step) -> None:
    ticker = Ticker("test", LONG, step)
    step.gate.clear()
    ticker.start()
    wait_until(lambda: step.begun == 1)
    ticker.stop(timeout=0.01)
    assert step.ended == 0


def test_stop_is_harmless_before_start_twice_and_from_a_step() -> None:
    never = Ticker("test", 1, lambda: None)
    never.stop()
    stopped = threading.Event()

    def stop_itself() -> None:
        ticker.stop()
        stopped.set()

    ticker = Ticker("test", 0.001, stop_itself)
    ticker.start()
    assert stopped.wait(10)
    ticker.stop()


def test_the_interval_is_measured_by_the_clock_that_was_given(step: Step) -> None:
    now = itertools.count(0, 100)
    ticker = Ticker("test", 99, step, clock=lambda: float(next(now)))
    ticker.start()
    wait_until(lambda: step.ended >= 3)
    ticker.stop()
