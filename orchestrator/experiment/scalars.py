"""Scalars as YAML 1.2 reads them: `off`, `no`, `1:30` and dates are text, `010` is ten, `1e-3` is a number.

PyYAML reads YAML 1.1, in which `off` is false, `1:30` is ninety and `010` is eight. Here the patterns are those of the
core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/, section 10.3).
"""

from __future__ import annotations

import math
import re

Scalar = bool | int | float | str | None

PATTERNS = {
    "null": re.compile(r"(|~|null|Null|NULL)"),
    "bool": re.compile(r"(true|True|TRUE|false|False|FALSE)"),
    "int": re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"),
    "float": re.compile(r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"),
}
"""Kind -> pattern of an unquoted scalar of that kind; the first pattern that fits counts."""

BASES = {"0o": 8, "0x": 16}

LONGEST_NUMBER = 400
"""Longest number in characters. No 64-bit number needs more, and Python takes long to read very long ones."""


def kind_of(text: str) -> str:
    """The kind of a scalar without quotes: a key of `PATTERNS`, or `str`."""
    return next((kind for kind, pattern in PATTERNS.items() if pattern.fullmatch(text)), "str")


def scalar_of(kind: str, text: str) -> Scalar:
    """The value of a scalar of a kind.

    Raises:
        ValueError: the text is not of that kind, or is a number beyond 64 bits; the message says which.
    """
    if kind == "str":
        return _whole_characters(text)
    if not PATTERNS[kind].fullmatch(text):
        raise ValueError(f"{text!r} is no {kind}")
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text):,} characters is beyond 64 bits")
    return _integer(text) if kind == "int" else _float(text)


def plain_scalar(text: str) -> Scalar:
    """The value of a scalar without quotes.

    Raises:
        ValueError: it is a number beyond 64 bits, or text with characters that cannot be written.
    """
    return scalar_of(kind_of(text), text)


def _integer(text: str) -> int:
    value = int(text, BASES.get(text[:2], 10))
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{text} is beyond 64 bits")
    return value


def _float(text: str) -> float:
    if text[-3:].lower() in ("inf", "nan"):
        return float(text.replace(".", ""))
    value = float(text)
    if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
        raise ValueError(f"{text} is beyond 64 bits")
    return value


def _whole_characters(text: str) -> str:
    """Join the halves of characters beyond 16 bits, which JSON writes in two parts (`\\ud83d\\ude00`)."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError(f"{text!r} holds half of a character, which no file can hold") from None
