"""`best/result.json`: what older versions wrote is read, what is damaged is told in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.result import Setting, read_result, write_result
from wsol.errors import InputError

OLD: dict[str, Any] = {
    "trial": 3,
    "objective": "train_fullsup/max_box_acc_v2",
    "value": 61.5,
    "epoch": 7,
    "checkpoint_sha256": "c0ffee",
    "value_measured_again": 61.5,
    "config": {"method": {"name": "cam"}},
    "training_images": "all",
    "post_hoc": [{"values": {}, "value": 61.5}, {"values": {"evaluation.normalizer": {"name": "max"}}, "value": 61.5}],
    "train_fullsup": {"max_box_acc_v2": 61.5},
    "intervals": {"train_fullsup": {"max_box_acc_v2": [60.0, 63.0]}},
    "baseline": {"train_fullsup": {"max_box_acc_v2": 40.0}},
}


def written(folder: Path, content: object) -> Path:
    (folder / "best").mkdir(parents=True)
    (folder / "best" / "result.json").write_text(json.dumps(content) if isinstance(content, dict) else str(content))
    return folder


def test_what_is_read_is_written_again(tmp_path: Path) -> None:
    foreign = {"of_another_version": [1]}
    result = read_result(written(tmp_path, {**OLD, **foreign}))
    assert result.trial == 3 and result.metric == "max_box_acc_v2" and result.more == foreign
    assert result.choice == Setting({}, 61.5), "the winner as it is wins a draw"
    write_result(tmp_path, result)
    assert json.loads((tmp_path / "best" / "result.json").read_text()) == {**OLD, **foreign}
    write_result(tmp_path, replace(result, adopted=True, first={"winner": 1.0}))
    assert read_result(tmp_path).adopted and read_result(tmp_path).first == {"winner": 1.0}


def test_an_older_result_lacks_some_of_it(tmp_path: Path) -> None:
    needed = ("objective", "checkpoint_sha256", "train_fullsup", "intervals", "baseline")
    result = read_result(written(tmp_path, {name: OLD[name] for name in needed}))
    assert result.trial is None and result.training_images == "all" and result.choice is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "no mapping"),
        ({**OLD, "train_fullsup": 3}, "train_fullsup: "),
        ({name: value for name, value in OLD.items() if name != "checkpoint_sha256"}, "checkpoint_sha256: "),
    ],
)
def test_a_damaged_result_is_told(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_result(written(tmp_path, content))
    assert "resume" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_run_without_a_result_has_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no finished model yet"):
        read_result(tmp_path)
