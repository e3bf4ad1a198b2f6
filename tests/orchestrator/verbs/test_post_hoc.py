"""Post-hoc settings of runs: chosen by a search, kept by a training."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.formats import settings_in_words
from tests.support.tiny import Launch

GRID = "post_hoc.evaluation.normalizer=[{name: min_max}, {name: pas, percentile: 5.0}, {name: pas, percentile: 60.0}]"


def test_post_hoc_settings_are_chosen_on_train_fullsup_and_used_on_test(space_file: Path, launch: Launch) -> None:
    """A training is made a replay, whose end chooses them."""
    assert launch("train", str(space_file), GRID)[0] == 0
    made_a_replay(Path("runs/tiny"))
    code, out, _ = launch("resume", "runs/tiny")
    assert code == 0
    result = json.loads(Path("runs/tiny/best/result.json").read_text())
    assert [entry["values"].get("evaluation.normalizer", {}).get("name") for entry in result["post_hoc"]] == [
        None,
        "pas",
        "pas",
    ]
    values = [entry["value"] for entry in result["post_hoc"]]
    assert values[0] == result["value"] and len(set(values)) > 1
    best = result["post_hoc"][values.index(max(values))]["values"]
    chosen = best.get("evaluation.normalizer", {"name": "min_max"})
    assert f"post-hoc settings chosen on train_fullsup: {settings_in_words(best)} (of 3)" in out.splitlines()
    assert result["config"]["evaluation"]["normalizer"] == chosen
    assert result["train_fullsup"]["max_box_acc_v2"] == max(values)
    assert launch("evaluate", "runs/tiny", "--split", "test")[0] == 0
    assert (
        json.loads(Path("runs/tiny/test.json").read_text())["evaluations"][0]["config"]["evaluation"]["normalizer"]
        == chosen
    )
    code, out, _ = launch("evaluate", "runs/tiny")
    assert code == 0 and f"{max(values):.3f}" in out


def made_a_replay(folder: Path) -> None:
    header = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**header, "kind": "replay"}))


def test_train_keeps_the_post_hoc_settings_of_its_file(space_file: Path, launch: Launch) -> None:
    code, out, _ = launch("train", str(space_file), GRID)
    lines = out.splitlines()
    place = lines.index("post-hoc settings of the file are kept; to choose them on train_fullsup:")
    assert code == 0 and "chosen" not in out
    result = json.loads(Path("runs/tiny/best/result.json").read_text())
    assert result["post_hoc"] == [] and result["config"]["evaluation"]["normalizer"] == {"name": "min_max"}
    assert result["train_fullsup"]["max_box_acc_v2"] == result["value"] == result["value_measured_again"]
    assert launch("resume", "runs/tiny")[0] == 0
    assert json.loads(Path("runs/tiny/best/result.json").read_text())["post_hoc"] == []
    words = lines[place + 1].split()
    assert words[:2] == ["python", "launch.py"]
    code, out, err = launch(*words[2:])
    settings = json.loads(Path("runs/tiny/best/post_hoc.json").read_text())
    best = max(settings, key=lambda setting: float(setting["metrics"]["max_box_acc_v2"]))
    assert code == 0 and f"used from now on: {settings_in_words(best['values'])}, see" in out, err
    assert [setting["values"] for setting in settings][:2] == [
        {},
        {"evaluation.normalizer": {"name": "pas", "percentile": 5.0}},
    ]


def test_a_file_without_post_hoc_settings_is_offered_none(space_file: Path, launch: Launch) -> None:
    assert "post-hoc" not in launch("train", str(space_file))[1]


def test_a_choice_of_an_older_version_stays(space_file: Path, launch: Launch) -> None:
    """It may have been tested with it."""
    assert launch("train", str(space_file), GRID)[0] == 0
    folder = Path("runs/tiny")
    made_a_replay(folder)
    assert launch("resume", "runs/tiny")[0] == 0
    chosen = json.loads((folder / "best" / "result.json").read_text())
    header = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**header, "kind": "train"}))
    code, out, _ = launch("resume", "runs/tiny")
    assert code == 0 and "are kept" not in out
    assert json.loads((folder / "best" / "result.json").read_text()) == chosen


def test_published_values_win_a_draw(space_file: Path, launch: Launch) -> None:
    """With its first weights, CropCAM pastes nothing, so its largest box changes no map; another normalizer does."""
    method = "method={name: crop_cam, crop_threshold: 0.15, max_crop_area: 0.3}"
    assert launch("train", str(space_file), method, "optim.lr=1e-9", "training.epochs=1")[0] == 0
    grid = (
        "post_hoc.method.max_crop_area=[0, 0.3, 1]",
        "post_hoc.evaluation.normalizer=[{name: min_max}, {name: ivr, lower_percentile: 0.2}]",
    )
    best = Path("runs/tiny/best")
    before = [(best / name).read_bytes() for name in ("result.json", "config.yaml")]
    code, out, err = launch("evaluate", "runs/tiny", grid[0])
    assert code == 0 and "used from now on: as it is, see" in out, err
    assert [(best / name).read_bytes() for name in ("result.json", "config.yaml")] == before
    code, out, err = launch("evaluate", "runs/tiny", *grid)
    assert code == 0, err
    settings = json.loads(Path("runs/tiny/best/post_hoc.json").read_text())
    highest = max(setting["metrics"]["max_box_acc_v2"] for setting in settings)
    level = [setting["values"] for setting in settings if setting["metrics"]["max_box_acc_v2"] == highest]
    assert {values["method.max_crop_area"] for values in level} == {0, 0.3, 1}, "all values are level"
    chosen = json.loads(Path("runs/tiny/best/result.json").read_text())["config"]
    assert chosen["method"]["max_crop_area"] == 0.3 and chosen["evaluation"]["normalizer"]["name"] == "ivr"
    assert "used from now on: max_crop_area=0.3, ivr lower_percentile=0.2, see" in out
