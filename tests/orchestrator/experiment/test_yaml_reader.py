"""YAML as people expect it, and mistakes with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.experiment.yaml_reader import parse_yaml, read_yaml
from wsol.errors import InputError


def test_places_of_keys_and_items() -> None:
    document = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - y\n", "f.yaml")
    assert document.values == {"a": {"b": 1, "c": ["x", "y"]}}
    assert document.place(("a", "b")) == "f.yaml:2"
    assert document.place(("a", "c", 1)) == "f.yaml:5"
    assert document.place(("a", "missing", "deep")) == "f.yaml:1"
    assert document.part(("a",)).values == {"b": 1, "c": ["x", "y"]}
    assert document.part(("a",)).place(("c", 0)) == "f.yaml:4"


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


def test_a_file_is_merged_over_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "data.yaml").write_text(
        "data: {name: cub, size: 1}\nlist: [1, 2, 3]\ndeep: {a: {b: 1, c: 2}}\n"
    )
    (tmp_path / "parts" / "base.yaml").write_text("extends: data.yaml\nmethod: {name: has, rate: 2, cell: {side: 3}}\n")
    top = tmp_path / "top.yaml"
    top.write_text("extends: parts/base.yaml\nmethod: {name: cam}\ndata:\n  size: 2\nlist: [4]\ndeep: {a: {c: null}}\n")
    document = read_yaml(top)
    assert document.values == {
        "data": {"name": "cub", "size": 2},
        "list": [4],
        "deep": {"a": {"b": 1, "c": None}},
        "method": {"name": "cam"},
    }
    inherited = tmp_path / "parts" / "data.yaml"
    assert document.place(("data", "size")) == f"{top}:4"
    assert document.place(("data", "name")) == f"{inherited}:1"
    assert document.place(("deep", "a", "b")) == f"{inherited}:3"
    assert document.place(("list", 2)) == f"{top}:5"
    assert document.place(("method", "rate")) == f"{top}:2"  # of what was replaced nothing is left


def test_later_files_of_a_list_win(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("a: 1\nb: 1\nc: 1\n")
    (tmp_path / "two.yaml").write_text("b: 2\nc: 2\n")
    (tmp_path / "top.yaml").write_text("c: 3\nextends: [one.yaml, two.yaml]\n")
    assert read_yaml(tmp_path / "top.yaml").values == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nextends: none.yaml\n", "top.yaml:2: extends: there is no file {folder}/none.yaml"),
        ("extends:\n  - wrong.yaml\n  - none.yaml\n", "top.yaml:3: extends: there is no file {folder}/none.yaml"),
        ("extends: wrong.yaml\na: [\n", "top.yaml:3: YAML syntax"),
        ("extends: twice.yaml\n", "twice.yaml:2: a: stands twice"),
        ("extends: top.yaml\n", "top.yaml:1: extends: a circle, {folder}/top.yaml -> {folder}/top.yaml"),
        (
            "extends: back.yaml\n",
            "back.yaml:2: extends: a circle, {folder}/top.yaml -> {folder}/back.yaml -> {folder}/top.yaml",
        ),
        ("extends: 3\n", "top.yaml:1: extends: should be a file name, or a list of them"),
        ("extends: {a: b}\n", "top.yaml:1: extends: should be a file name, or a list of them"),
        ("extends: .\n", "top.yaml:1: extends: there is no file {folder}"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.yaml").write_text("a: 1\n")
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "back.yaml").write_text("a: 1\nextends: top.yaml\n")
    (tmp_path / "top.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read_yaml(tmp_path / "top.yaml")
    assert message.format(folder=tmp_path) in str(error.value)
