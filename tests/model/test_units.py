"""Amounts as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.model.errors import Refused
from hakuriver.model.units import (
    counted,
    format_duration,
    format_number,
    format_size,
    milli,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("1", 1), ("1048576", 1 << 20), ("1K", 1024), ("1k", 1024), ("1kb", 1024),
        ("512M", 512 << 20), ("512MiB", 512 << 20), ("512 MB", 512 << 20), ("1.5g", 3 << 29),
        ("4G", 4 << 30), ("2T", 2 << 40), (" 7G ", 7 << 30), ("12b", 12), ("0.5k", 512),
    ],
)  # fmt: skip
def test_sizes_are_binary_whatever_the_unit_is_called(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "G", "-1", "+1", "1e3", "1 2", "1,5G", "0x10", "1P", "1.G", ".5G", "512MX", "٣", "nan",
     "inf", "1\n2", "9" * 400],
)  # fmt: skip
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_size(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except Refused as error:
        assert error.hint


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"), (1023, "1023B"), (1024, "1K"), (512 << 20, "512M"), (3 << 29, "1.5G"),
        (100 << 30, "100G"), (1 << 40, "1T"), (5 << 40, "5T"), ((100 << 30) + 1, "100G"),
    ],
)  # fmt: skip
def test_sizes_are_shown_short(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.lists(st.integers(0, 64000).map(lambda n: n / 1000), max_size=50))
def test_sums_of_fractions_are_exact_in_thousandths(cores: list[float]) -> None:
    assert sum(milli(each) for each in cores) == round(sum(each * 1000 for each in cores))


@pytest.mark.parametrize(
    ("value", "text"), [(2.0, "2"), (0.5, "0.5"), (0.0, "0"), (0.25, "0.25"), (1.125, "1.125"), (0.0004, "0"), (2.0004, "2"), (100.0, "100")]
)  # fmt: skip
def test_core_counts_are_shown_without_idle_zeros(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"), (0.44, "0.4s"), (9.9, "9.9s"), (10, "10s"), (59.9, "59s"), (60, "1m00s"), (185, "3m05s"),
        (3599, "59m59s"), (3600, "1h00m"), (7620, "2h07m"), (86399, "23h59m"), (86400, "1d00h"), (4 * 86400 + 3 * 3600, "4d03h"),
    ],
)  # fmt: skip
def test_durations_are_shown_with_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_one_is_no_plural() -> None:
    assert [counted(count, "task") for count in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
