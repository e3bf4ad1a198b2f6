"""Damaged files of a run folder: whoever reads them says one line, and `status` says what is left out."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from orchestrator.runs.header import read_header
from orchestrator.runs.journal import open_study
from orchestrator.runs.result import read_result
from orchestrator.runs.summary import read_summary
from orchestrator.runs.tested import looks_at_test, recorded_tests
from tests.support.tiny import Launch
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError

FILES = ("study.json", "study.journal", "test.json", "best/result.json", "trials/0000/manifest.json")
READERS = (
    read_header,
    open_study,
    read_result,
    read_summary,
    looks_at_test,
    recorded_tests,
    lambda folder: Checkpoints(folder / "trials" / "0000"),
)


def damage(content: bytes, draw: random.Random) -> bytes:
    """Cut, with bytes turned, lines swapped, values of other kinds, or garbage in the middle."""
    place = draw.randrange(len(content) + 1)
    lines = content.splitlines(keepends=True)
    kind = draw.randrange(6)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9))) + content[place + 4 :]
    if kind == 2:
        draw.shuffle(lines)
        return b"".join(lines)
    if kind == 3:
        values = (b"[]", b"{}", b"null", b'"x"', b"-1", b"1e999", b"true")
        return content.replace(draw.choice([b"1", b"0", b'"', b"{", b"null"]), draw.choice(values), 1)
    if kind == 4:
        return content[:place] + b'\n{"op_code": 99}\n' + content[place:]
    return content[:place] + content


@pytest.fixture
def finished(space_file: Path, launch: Launch) -> Path:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    assert launch("evaluate", "run", "--split", "test")[0] == 0
    return Path("run")


def test_no_reader_of_a_damaged_file_fails_but_with_one_line(finished: Path) -> None:
    draw, whole = random.Random(0), {name: (finished / name).read_bytes() for name in FILES}
    refused = 0
    for name, content in whole.items():
        for _ in range(20):
            (finished / name).write_bytes(damage(content, draw))
            for read in READERS:
                try:
                    read(finished)
                except InputError as error:
                    refused += 1
                    assert "\n" not in str(error) and str(finished) in str(error)
        (finished / name).write_bytes(content)
    assert refused > 50


@pytest.mark.parametrize("name", FILES)
def test_every_verb_names_a_damaged_file_and_the_remedy(finished: Path, launch: Launch, name: str) -> None:
    content = (finished / name).read_bytes()
    garbage = content[: len(content) // 2] + b'\n\x00{"garbage\n' + content[len(content) // 2 :]
    verbs = [("resume", "run"), ("evaluate", "run", "--split", "test", "--test-again", "why"), ("evaluate", "run")]
    shutil.copytree(finished, "copy")
    codes = []
    for words in verbs:
        shutil.rmtree(finished)
        shutil.copytree("copy", finished)
        (finished / name).write_bytes(garbage)
        code, _, err = launch(*words)
        codes.append(code)
        assert "Traceback" not in err
        assert code == 0 or (code == 2 and Path(name).name in err and len(err.strip().splitlines()) == 1), err
    assert 2 in codes or name.endswith("manifest.json"), codes  # the trials of a finished run are not opened again
    code, out, err = launch("status", "run")
    assert code in (0, 2) and "Traceback" not in err
    assert Path(name).name in out + err or name.endswith("manifest.json")
