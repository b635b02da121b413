from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.system.lockfile import LockFile


def test_a_second_holder_is_told_of_the_first(tmp_path: Path) -> None:
    first = LockFile(tmp_path / "lock", what="a host")
    with pytest.raises(UsageError, match=f"at work already in {tmp_path}, pid {os.getpid()}"):
        LockFile(tmp_path / "lock", what="a host")
    first.release()
    LockFile(tmp_path / "lock", what="a host").release()


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UsageError) as caught:
        LockFile(tmp_path / "lock", what="a host")
    assert caught.value.detail == f"a host cannot write {tmp_path}/lock: No space left on device"
