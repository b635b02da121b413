from __future__ import annotations

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.model.units import parse_size
from hakuriver.system.meaning import meant


def test_what_a_setting_cannot_mean_names_the_setting() -> None:
    with pytest.raises(UsageError) as caught:
        meant("runner.memory", parse_size, "much")
    assert caught.value.detail == "runner.memory: 'much' is no memory size"
    assert "512M" in caught.value.hint
    assert meant("runner.memory", parse_size, "1K") == 1024
