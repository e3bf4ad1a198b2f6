"""Scalars of files and of the command line: what YAML 1.2 reads, and what is written is read back."""

from __future__ import annotations

import math

import pytest
import yaml

from orchestrator.experiment.yaml_reader import parse_scalar, parse_yaml
from orchestrator.formats import to_yaml
from wsol.errors import InputError

SCALARS = [
    ("1e-3", 1e-3),
    ("1E5", 1e5),
    ("-2e+1", -20.0),
    ("3", 3),
    ("0.5", 0.5),
    (".5", 0.5),
    ("5.", 5.0),
    ("-.inf", -math.inf),
    ("010", 10),
    ("-08", -8),
    ("0o10", 8),
    ("0xff", 255),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("null", None),
    ("~", None),
    ("", None),
    ("has", "has"),
    ("e3", "e3"),
    ("off", "off"),
    ("on", "on"),
    ("no", "no"),
    ("Yes", "Yes"),
    ("y", "y"),
    ("1:30", "1:30"),
    ("190:20:30.15", "190:20:30.15"),
    ("1_000", "1_000"),
    ("0b11", "0b11"),
    ("2020-01-01", "2020-01-01"),
    ("2020-01-01 10:00:00", "2020-01-01 10:00:00"),
    ("=", "="),
    ("<<", "<<"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_scalar_is_the_same_in_a_file_and_on_the_command_line(text: str, value: object) -> None:
    for found in (parse_scalar(text), parse_yaml(f"a: {text}\n", "f.yaml").values["a"]):
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2]", [1, 2]),
        ("{a: 1e-4}", {"a": 1e-4}),
        ("[off, '010', 1:30]", ["off", "010", "1:30"]),
        ('"3"', "3"),
        ("'3'", "3"),
        ('"\\ud83d\\ude00"', "😀"),
        (" 3 ", 3),
        ("a: b: c", "a: b: c"),
        ("/data/my images #2", "/data/my images #2"),
        ("/data/first: second", "/data/first: second"),
        ("#5", "#5"),
        ("'a' #b", "'a' #b"),
        ("[old] images #2", "[old] images #2"),
        ("[old] images", "[old] images"),
        ('"a": b', '"a": b'),
        ("{half", "{half"),
        ("!!str 3", "!!str 3"),
        ("*all", "*all"),
        ("&x", "&x"),
        ("| x", "| x"),
        ("%x", "%x"),
        ("- a", "- a"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_a_value_of_the_command_line_arrives_whole(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("99999999999999999999", "99999999999999999999 is beyond 64 bits"),
        ("-9223372036854775809", "-9223372036854775809 is beyond 64 bits"),
        ("0xffffffffffffffff", "0xffffffffffffffff is beyond 64 bits"),
        ("1e400", "1e400 is beyond 64 bits"),
        ("-1e400", "-1e400 is beyond 64 bits"),
        ("1e-400", "1e-400 is beyond 64 bits"),
        ("7" * 5000, "a number of 5,000 characters is beyond 64 bits"),
        ("0." + "7" * 5000, "a number of 5,002 characters is beyond 64 bits"),
        ('"\\ud83d"', r"'\ud83d' holds half of a character"),
    ],
)
def test_what_no_64_bit_number_and_no_file_holds_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(f"b: 1\na:\n  c: {text}\n", "f.yaml")
    assert str(error.value).startswith(f"f.yaml:3: a.c: {message}")
    with pytest.raises(InputError) as error:
        parse_scalar(text)
    assert str(error.value).startswith("command line") and message in str(error.value)


def test_the_largest_numbers_are_read() -> None:
    numbers = [2**63 - 1, -(2**63), 1.7976931348623157e308, 5e-324, 0.0]
    assert parse_yaml(f"a: {numbers}\n", "f.yaml").values == {"a": numbers}
    assert parse_yaml("a: [0e-999, 0.000]\n", "f.yaml").values == {"a": [0.0, 0.0]}


def test_a_name_that_is_no_text_of_a_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"command line: '/data/\\udcff' holds half of a character"):
        parse_scalar("/data/\udcff")


ODD_TEXTS = (
    *("1e-3", "1E+5", "-1e5", "1e5_", "1e400", "0o17", "017", "09", "1.", ".1e3", "0b11", "Null", "nan", ".nan", "inf"),
    *(
        "a: b",
        "a #b",
        " x ",
        "-",
        "- a",
        "?",
        "!x",
        "*x",
        "&x",
        "%x",
        "@x",
        "`x",
        "[x",
        "{x",
        "'x'",
        '"x"',
        "x\ny",
        "x\n",
    ),
    *("\tx", "naïve \u2028 text", "\x1b[31m", "\x7f", "😀", "a" * 500, "a " * 200),
)


@pytest.mark.parametrize("text", [*(text for text, _ in SCALARS), *ODD_TEXTS], ids=ascii)
def test_text_that_is_written_is_read_back_as_text(text: str) -> None:
    """By this reader, and by those of YAML 1.1: run folders made before were written for both."""
    values = {"text": text, "list": [text, {"deep": text}]}
    assert parse_yaml(to_yaml(values), "f.yaml").values == values
    assert yaml.safe_load(to_yaml(values)) == values
    assert parse_yaml(yaml.safe_dump({"off": 1, "text": 2}), "f.yaml").values == {"off": 1, "text": 2}


@pytest.mark.parametrize(
    "value", [1e-5, 1e22, 1.0, -0.0, 0.1, 1e-300, 5e-324, math.inf, True, False, None, 10, 0, -3, 2**62, [], {}, [[]]]
)
def test_other_values_that_are_written_are_read_back(value: object) -> None:
    for text in (to_yaml({"a": value}), yaml.safe_dump({"a": value})):
        assert repr(parse_yaml(text, "f.yaml").values) == repr({"a": value})
