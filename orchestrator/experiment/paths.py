"""Values at dotted paths of nested dicts and lists."""

from __future__ import annotations

from typing import Any

from wsol.plugins import did_you_mean

Values = dict[str, Any]
"""Nested plain values under text keys, as YAML and JSON hold them."""


def value_at_path(values: Any, path: str) -> Any:
    """The value at a dotted path; list positions are numbers.

    Raises:
        KeyError: there is none; the message says where the path breaks off and what is there.
    """
    for key in path.split("."):
        values = values[_step(values, key, path)]
    return values


def has_path(values: Any, path: str) -> bool:
    """Whether there is a value at a dotted path."""
    try:
        value_at_path(values, path)
    except KeyError:
        return False
    return True


def with_value_at(values: Any, path: str, value: Any) -> Any:
    """A copy of nested dicts and lists with another value at a dotted path; raises the errors of `value_at_path`."""
    return _replaced(values, path.split("."), value, path)


def _replaced(values: Any, keys: list[str], value: Any, path: str) -> Any:
    place = _step(values, keys[0], path)
    copy = list(values) if isinstance(values, list) else dict(values)
    copy[place] = _replaced(values[place], keys[1:], value, path) if keys[1:] else value
    return copy


def _step(values: Any, key: str, path: str) -> Any:
    if isinstance(values, list):
        if key in map(str, range(len(values))):
            return int(key)
        raise KeyError(f"no item {key!r} in {path!r}: the list has {len(values)}, counted from 0")
    if not isinstance(values, dict):
        raise KeyError(f"nothing below {type(values).__name__} {values!r} in {path!r}")
    if key not in values:
        raise KeyError(f"no key {key!r} in {path!r}{did_you_mean(key, list(values))}; there are {', '.join(values)}")
    return key
