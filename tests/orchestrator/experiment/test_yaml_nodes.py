"""Merge keys, tags, and texts that would take for ever or fill the memory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.experiment.yaml_reader import parse_yaml, read_yaml
from wsol.errors import InputError

MERGES = """base: &base
  lr: 1
  momentum: 2
other: &other {lr: 3, decay: 4}
one:
  <<: *base
  lr: 5
many:
  epochs: 6
  <<: [*base, *other]
chain: &chain {<<: *other, decay: 7}
last: {<<: *chain}
inside: {<<: {lr: 8}, epochs: 9}
text: {"<<": 10}
"""


def test_merge_keys() -> None:
    document = parse_yaml(MERGES, "f.yaml")
    assert document.values["one"] == {"lr": 5, "momentum": 2}
    assert document.values["many"] == {"lr": 1, "momentum": 2, "decay": 4, "epochs": 6}
    assert list(document.values["many"]) == ["lr", "momentum", "decay", "epochs"]
    assert document.values["last"] == {"lr": 3, "decay": 7}
    assert document.values["inside"] == {"lr": 8, "epochs": 9}
    assert document.values["text"] == {"<<": 10}


def test_what_is_merged_has_the_lines_where_it_stands() -> None:
    document = parse_yaml(MERGES, "f.yaml")
    lines = {path: document.place(path) for path in [("one", "lr"), ("one", "momentum"), ("many", "decay")]}
    assert lines == {
        ("one", "lr"): "f.yaml:7",
        ("one", "momentum"): "f.yaml:3",
        ("many", "decay"): "f.yaml:4",
    }
    assert document.place(("last", "decay")) == "f.yaml:11" and document.place(("last", "lr")) == "f.yaml:4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a\n", "f.yaml:4: c.<<: stands twice, first in line 3; merge several as"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n  b: 2\n  b: 3\n", "f.yaml:5: c.b: stands twice, first in line 4"),
        ("c:\n  <<: {b: 1, b: 2}\n", "f.yaml:2: c.b: stands twice, first in line 2"),
        ("c:\n  <<: 3\n", "f.yaml:2: <<: merges mappings"),
        ("c:\n  <<: [{a: 1}, x]\n", "f.yaml:2: <<: merges mappings"),
        ("a: &a\n  <<: *a\n", "f.yaml:2: nested deeper than 50 levels"),
        ("a: &a\n  b:\n    <<: *a\n", "f.yaml:"),
        ("? [a]\n: b\n", "f.yaml:1: keys are text, got a list"),
        ("? {a: 1}\n: b\n", "f.yaml:1: keys are text, got a mapping"),
        ("null: b\n", "f.yaml:1: keys are text, got 'null'"),
        ("a: 1\nb: !!set {x}\n", "f.yaml:2: YAML syntax: unknown tag tag:yaml.org,2002:set"),
        ("a: !!timestamp 2020-01-01\n", "f.yaml:1: YAML syntax: unknown tag tag:yaml.org,2002:timestamp"),
        ("a: !!binary aGk=\n", "f.yaml:1: YAML syntax: unknown tag"),
        ("a: !!python/object/apply:os.getcwd []\n", "f.yaml:1: YAML syntax: unknown tag"),
        ("a: !!int x\n", "f.yaml:1: a: 'x' is no int"),
        ("a: 1\nb: \x1b[3m\n", "f.yaml:2: YAML syntax: the character U+001B is not allowed"),
        ("a: 1\nb: \"\\UFFFFFFFF\"\n", "f.yaml:2: YAML syntax: "),
        ("a: 1\n\"b\\e[31m\": 1\n\"b\\e[31m\": 2\n", r"f.yaml:3: b\x1b[31m: stands twice"),
        ("a: *nope\\e\n", "f.yaml:1: YAML syntax: "),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", "f.yaml:1: YAML syntax: "),
    ],
)  # fmt: skip
def test_what_is_refused_names_file_and_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "f.yaml")
    assert str(error.value).startswith(message)
    assert len(str(error.value).splitlines()) == 1


def layers(count: int, width: int) -> str:
    """Lists of aliases of lists of aliases: `width ** count` values."""
    first = ["l0: &l0 [x]"]
    more = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * width)}]" for n in range(1, count)]
    return "\n".join(first + more)


def mappings(count: int) -> str:
    """Mappings with two aliases of the one before."""
    more = [f"m{n}: &m{n} {{x: *m{n - 1}, y: *m{n - 1}}}" for n in range(1, count)]
    return "\n".join(["m0: &m0 {b: 1}", *more])


def merges(count: int) -> str:
    """Mappings that merge the eight before."""
    sources = [", ".join(f"*k{m}" for m in range(max(0, n - 8), n)) for n in range(count)]
    return "\n".join(f"k{n}: &k{n} {{<<: [{source}], a{n}: 1}}" for n, source in enumerate(sources))


BOMBS = {
    "a billion laughs": layers(10, 10),
    "deep": layers(60, 2),
    "mappings": mappings(40),
    "merges": merges(40),
    "itself": "a: &a [*a, *a]\n",
    "a list": "a: [" + "1," * 400_000 + "]\n",
    "lines": "\n".join(f"k{n}: 1" for n in range(200_000)),
    "brackets": "a: " + "[" * 500_000,
    "braces": "a: " + "{a: " * 100_000,
    "text": "a: '" + "x" * 3_000_000 + "'\n",
    "comments": "# x\n" * 1_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_never_end_is_refused_soon(name: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError) as error:
        parse_yaml(BOMBS[name], "f.yaml")
    assert str(error.value).startswith("f.yaml:") and len(str(error.value)) < 200
    assert len(str(error.value).splitlines()) == 1
    assert time.process_time() - started < 15


def test_aliases_within_the_limits_are_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: {c: *a, d: *a}\n", "f.yaml").values["b"] == {"c": [1, 2], "d": [1, 2]}


def test_a_large_file_is_merged_over_another_soon(tmp_path: Path) -> None:
    """Merging takes about as long as reading one, not as long as all keys times all keys."""
    text = "\n".join(f"k{n}: [1, 1, 1]" for n in range(6_000))
    (tmp_path / "under.yaml").write_text(text)
    (tmp_path / "over.yaml").write_text(f"extends: under.yaml\n{text}")
    started = time.process_time()
    parse_yaml(text, "f.yaml")
    reading = time.process_time() - started
    started = time.process_time()
    document = read_yaml(tmp_path / "over.yaml")
    assert time.process_time() - started < 4 * reading
    assert document.place(("k5999", 2)) == f"{tmp_path / 'over.yaml'}:6001"


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f\.yaml: has more than 2,000,000 characters"):
        (tmp_path / "f.yaml").write_text("#" * 2_000_001)
        read_yaml(tmp_path / "f.yaml")


def test_names_that_are_too_long_for_files_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "top.yaml").write_text(f"a: 1\nextends: {'x' * 5000}\n")
    with pytest.raises(InputError, match=r"top\.yaml:2: extends: there is no file"):
        read_yaml(tmp_path / "top.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(Path("search_spaces") / ("x" * 5000))
