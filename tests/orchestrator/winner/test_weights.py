"""Weights that are not the recorded ones are neither scored nor started from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.tiny import Launch
from wsol.files import sha256


@pytest.mark.parametrize("split", ["train_fullsup", "test"])
def test_flipped_bytes_of_the_winner_are_refused_and_nothing_is_recorded(
    space_file: Path, launch: Launch, split: str
) -> None:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    weights = Path("run/best/weights.pt")
    good, place = weights.read_bytes(), len(weights.read_bytes()) // 2
    weights.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
    scored = {path.name: path.read_bytes() for path in Path("run/best").glob("scores-*")}
    code, _, err = launch("evaluate", "run", "--split", split)
    assert code == 2 and "weights.pt: the checkpoint is damaged" in err and len(err.strip().splitlines()) <= 2
    assert not Path("run/test.json").exists()
    assert {path.name: path.read_bytes() for path in Path("run/best").glob("scores-*")} == scored
    assert launch("evaluate", "run", "post_hoc.evaluation.normalizer.name=[min_max, max]")[0] == 2
    weights.write_bytes(good)
    assert launch("evaluate", "run", "--split", "test")[0] == 0
    assert len(json.loads(Path("run/test.json").read_text())["evaluations"]) == 1


def test_a_winner_that_is_exported_again_is_the_one_that_was_tested(space_file: Path, launch: Launch) -> None:
    """After a kill between the record and the result, in a folder of a version that packed weights otherwise."""
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    assert launch("evaluate", "run", "--split", "test")[0] == 0
    weights, result, tests = Path("run/best/weights.pt"), Path("run/best/result.json"), Path("run/test.json")
    digest = sha256(weights)
    torch.save(torch.load(weights), weights)
    assert sha256(weights) != digest
    tests.write_text(tests.read_text().replace(digest, sha256(weights)))
    result.unlink()
    assert launch("resume", "run")[0] == 0
    assert json.loads(result.read_text())["checkpoint_sha256"] == sha256(weights)
    assert "test" in json.loads(result.read_text())["intervals"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"checkpoint_sha256": 3}'])
def test_a_damaged_result_is_named_with_the_remedy(space_file: Path, launch: Launch, text: str) -> None:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    Path("run/best/result.json").write_text(text)
    for words in (("evaluate", "run"), ("evaluate", "run", "--split", "test"), ("resume", "run")):
        code, _, err = launch(*words)
        assert code == 2 and "result.json: is damaged" in err and "delete it" in err and "Traceback" not in err
    Path("run/best/result.json").unlink()
    assert launch("resume", "run")[0] == 0 and launch("evaluate", "run")[0] == 0
