"""Reading a JSON object field by field: every value checked, nothing unknown let through.

And the way back: a dataclass as JSON-ready values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from hakuriver.model.errors import Refused

T = TypeVar("T")
WHOLE_MAX = 2**63 - 1
"""SQLite's largest integer."""


class Fields:
    """The fields of one JSON object; `with Fields(...) as fields` refuses what was not asked for.

    Every method raises Refused and names the field. A default makes a field optional, and null
    then means the default.
    """

    def __init__(self, document: object, where: str = "the body") -> None:
        if not isinstance(document, dict):
            raise Refused(f"{where} must be an object, not {_kind(document)}")
        self._document: dict[str, Any] = document
        self._where = where
        self._asked: set[str] = set()

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        unknown = sorted(set(self._document) - self._asked)
        if unknown and kind is None:
            raise Refused(f"{self._where} has an unknown field '{unknown[0]}'")

    def _get(self, name: str, types: tuple[type, ...], wanted: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._document.get(name)
        if value is None:
            if default is _REQUIRED:
                raise Refused(f"{self._where} lacks the field '{name}'")
            return default
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise Refused(f"{name} must be {wanted}, not {_kind(value)}")
        return value

    def text(self, name: str, default: Any = None, *, required: bool = True) -> str:
        value = self._get(name, (str,), "a text", _default(default, required))
        return check_text(name, value)

    def maybe_text(self, name: str) -> str | None:
        value = self._get(name, (str,), "a text or null", None)
        return None if value is None else check_text(name, value)

    def whole(self, name: str, default: Any = None, *, low: int = 0, required: bool = True) -> int:
        value = self._get(name, (int,), "a whole number", _default(default, required))
        return self._whole_in(name, value, low)

    def maybe_whole(self, name: str, *, low: int = 0) -> int | None:
        value = self._get(name, (int,), "a whole number or null", None)
        return None if value is None else self._whole_in(name, value, low)

    def _whole_in(self, name: str, value: int, low: int) -> int:
        if not low <= value <= WHOLE_MAX:
            raise Refused(f"{name} must be between {low} and {WHOLE_MAX}, not {str(value)[:40]}")
        return value

    def number(self, name: str, default: Any = None, *, required: bool = True) -> float:
        """Zero or more, finite."""
        value = self._get(name, (int, float), "a number", _default(default, required))
        if not 0 <= value < 1e15:
            raise Refused(f"{name} must be a number from 0 on, not {str(value)[:40]}")
        return float(value)

    def maybe_number(self, name: str) -> float | None:
        self._asked.add(name)
        return None if self._document.get(name) is None else self.number(name)

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self._get(name, (bool,), "true or false", default))

    def maybe_flag(self, name: str) -> bool | None:
        value = self._get(name, (bool,), "true, false or null", None)
        return None if value is None else bool(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; absent and null are an empty one."""
        values = self._get(name, (list,), "a list of texts", [])
        for value in values:
            if not isinstance(value, str):
                raise Refused(f"{name} must hold texts only, not {_kind(value)}")
            check_text(name, value)
        return tuple(values)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self._get(name, (dict,), "an object", {})
        return dict(value)

    def texts_by_name(self, name: str) -> dict[str, str]:
        """An object whose names and values are texts; absent and null are an empty one."""
        values = self.mapping(name)
        for key, value in values.items():
            if not isinstance(value, str):
                raise Refused(f"{name} must hold texts only, not {_kind(value)}")
            check_text(name, key)
            check_text(name, value)
        return dict(values)

    def each(self, name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        """A list, every element read by `read`."""
        return tuple(read(value) for value in self._get(name, (list,), "a list", []))

    def maybe(self, name: str, read: Callable[[Any], T]) -> T | None:
        """An object or null."""
        value = self._get(name, (dict,), "an object or null", None)
        return None if value is None else read(value)

    def choice(self, name: str, values: type[T]) -> T:
        """One of an enumeration's values."""
        text = self.text(name)
        try:
            return values(text)  # type: ignore[call-arg]
        except ValueError:
            raise Refused(f"{name} cannot be '{text[:40]}'") from None


_REQUIRED = object()


def _default(default: Any, required: bool) -> Any:
    return _REQUIRED if default is None and required else default


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false",
             int: "a number", float: "a number", type(None): "null"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def is_whole(value: object) -> bool:
    """Zero or more, and small enough for the database; true and false are no numbers."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= WHOLE_MAX


def plain_document(message: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready values, one level deep; enumerations by their value."""
    return {
        name: asdict(value)
        if hasattr(value, "__dataclass_fields__")
        else getattr(value, "value", value)
        for name in message.__dataclass_fields__
        for value in (getattr(message, name),)
    }


def check_text(name: str, value: str) -> str:
    """A text that can be an argument of a program: no NUL, and bytes behind every character.

    A surrogate escape (U+DC80 to U+DCFF) stands for one byte that is not UTF-8.
    """
    if "\0" in value:
        raise Refused(f"{name} contains a NUL byte, which no argument can hold")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refused(f"{name} contains a lone surrogate, which stands for no bytes") from None
    return value
