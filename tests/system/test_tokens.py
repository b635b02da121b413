from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.system.config import Config, load_config
from hakuriver.system.tokens import check_token, open_secrets, read_token


@pytest.mark.parametrize("token", ["", "s3cret", "two words", "naïve☃", "x" * 500])
def test_a_token_is_a_line_of_text(token: str) -> None:
    check_token(token)


@pytest.mark.parametrize(
    "token", ["s3cret\n5", "s3cret\r\nX-Evil: 1", " s3cret", "s3cret ", "s3cret\x00", "\x1b[31m"]
)
def test_a_token_that_could_end_a_header_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_token(token)
    assert token not in caught.value.detail + caught.value.hint


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe"])
def test_a_file_without_a_token_is_an_error_and_not_an_open_door(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UsageError, match="token_file"):
        read_token(str(tmp_path / "token"))


def configured(home: Path, text: str, mode: int) -> Config:
    file = home / "config.toml"
    file.write_text(text)
    file.chmod(mode)
    return load_config(environ={"HAKURIVER_HOME": str(home)})


def test_secrets_that_everybody_can_read_are_named(tmp_path: Path) -> None:
    with_token = '[auth]\ntoken = "s3cret"\n'
    assert open_secrets(configured(tmp_path, with_token, 0o644)) == [tmp_path / "config.toml"]
    assert open_secrets(configured(tmp_path, with_token, 0o640)) == []
    assert open_secrets(configured(tmp_path, "", 0o644)) == []
    elsewhere = {"HAKURIVER_HOME": str(tmp_path), "HAKURIVER_TOKEN": "s3cret"}
    assert open_secrets(load_config(environ=elsewhere)) == [], "the file has none in it"
    text = 'auth.token = "other"'
    configured(tmp_path, text, 0o644)
    assert open_secrets(load_config(environ=elsewhere)) == [tmp_path / "config.toml"]
    key = tmp_path / "key.pem"
    key.touch()
    key.chmod(0o644)
    text = f'[network]\ntls_cert = "{tmp_path / "cert.pem"}"\ntls_key = "{key}"\n'
    assert open_secrets(configured(tmp_path, text, 0o644)) == [key]
