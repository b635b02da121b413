from __future__ import annotations

from hakuriver.system.strangers import Strangers


def make() -> tuple[Strangers, list[float], list[float]]:
    now, slept = [0.0], list[float]()
    return Strangers(clock=lambda: now[0], sleep=slept.append), now, slept


def test_a_few_wrong_tokens_are_a_mistake_and_many_are_slowed_down() -> None:
    strangers, _, slept = make()
    for _ in range(10):
        strangers.wrong_token("10.0.0.9")
    assert slept == []
    strangers.wrong_token("10.0.0.9")
    assert slept == [0.5]
    strangers.wrong_token("10.0.0.10")
    assert slept == [0.5], "another address pays nothing"


def test_after_a_minute_it_counts_anew() -> None:
    strangers, now, slept = make()
    for _ in range(20):
        strangers.wrong_token("a")
    before = len(slept)
    now[0] += 61
    strangers.wrong_token("a")
    assert len(slept) == before


def test_a_flood_of_addresses_fills_no_memory() -> None:
    strangers, _, _ = make()
    for number in range(5000):
        strangers.wrong_token(str(number))
    assert len(strangers._tries) == 1024
