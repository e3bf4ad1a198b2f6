"""YAML as people expect it, and mistakes with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.yaml_reader import parse_scalar, parse_yaml, read_yaml
from wsol.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2e+1", -20.0),
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("has", "has"),
        ("[1, 2]", [1, 2]),
        ("{a: 1e-4}", {"a": 1e-4}),
        ("e3", "e3"),
        ("a: b: c", "a: b: c"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_lines_of_keys_and_items() -> None:
    document = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - y\n", "f.yaml")
    assert document.values == {"a": {"b": 1, "c": ["x", "y"]}}
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "c", 1)) == 5
    assert document.line(("a", "missing", "deep")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: stands twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", "f.yaml:3: a.b: stands twice, first in line 2"),
        ("1: x\n", "f.yaml:1: keys are text"),
        ("a: [1\nb: 2\n", "f.yaml:2: YAML syntax"),
        ("- a\n", "f.yaml:1: expected keys at the top"),
        ("", "f.yaml: is empty"),
        ("a: !!python/object:os.system x\n", "f.yaml:1: YAML syntax"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper"),
        ("a: &x\n  b: *x\n", "f.yaml"),
    ],
)
def test_mistakes_name_file_and_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    assert message in str(error.value)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    with pytest.raises(InputError, match="No such file"):
        read_yaml(tmp_path / "nothing.yaml")
