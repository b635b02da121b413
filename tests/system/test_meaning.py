from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.model.units import parse_size
from hakuriver.system.config import load_config
from hakuriver.system.meaning import meant, tarball_dir


def test_what_a_setting_cannot_mean_names_the_setting() -> None:
    with pytest.raises(UsageError) as caught:
        meant("runner.memory", parse_size, "much")
    assert caught.value.detail == "runner.memory: 'much' is no memory size"
    assert "512M" in caught.value.hint
    assert meant("runner.memory", parse_size, "1K") == 1024


def test_tarballs_are_in_the_shared_directory_and_nowhere_else(tmp_path: Path) -> None:
    def folder(name: str) -> Path:
        values = {"docker.container_dir": name}
        return tarball_dir(load_config(None, values, {"HAKURIVER_HOME": str(tmp_path)}), tmp_path)

    assert folder("tars") == tmp_path / "tars"
    for outside in ("", ".", "..", "../tars", "/tars", "a/b"):
        with pytest.raises(UsageError, match="docker.container_dir: '.*' is no name of a folder"):
            folder(outside)
