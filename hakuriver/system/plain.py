"""Text from elsewhere, made fit for logs and terminals."""

from __future__ import annotations

import unicodedata


def plain(text: str) -> str:
    """The text in one line that cannot steer a terminal.

    Control and formatting characters, line breaks and lone surrogates become \\xNN or \\uNNNN;
    a byte that was not UTF-8 (a surrogate escape) becomes the \\xNN of that byte.
    """
    if text.isprintable():
        return text
    return "".join(map(_plain_character, text))


def _plain_character(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
