"""The verbs without Ray: run folders, the guard of the test split, exit codes, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator import cli
from orchestrator.experiment.load import load_experiment
from orchestrator.runs.journal import open_study
from orchestrator.study.study import Study
from tests.support.tiny import TINY, Launch
from wsol import training

DATA = TINY["trial"]["data"]  # type: ignore[index]


SMALL = {key: DATA[key] for key in ("classes", "train_images", "fullsup_images", "test_images", "side")}


def test_train_leaves_a_whole_run_folder(space_file: Path, launch: Launch) -> None:
    code, out, _ = launch("train", str(space_file), "training.epochs=3")
    folder = Path("runs/tiny")
    assert code == 0 and "report:" in out and "python launch.py evaluate runs/tiny --split test" in out
    assert max(map(len, out.splitlines())) <= 80
    last = out.partition("\nwinner: ")[2].splitlines()
    assert len(last) <= 16 and last[2].startswith("max_box_acc_v2 ") and "/iou_" not in "".join(last)
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"]
    result = json.loads((folder / "best" / "result.json").read_text())
    assert float(rows[0]["value"]) == result["value"] == result["value_measured_again"]
    assert result["baseline"]["train_fullsup"]["max_box_acc_v2"] > 0
    assert not (folder / "test.json").exists()
    assert "data:image/jpeg" in (folder / "report.html").read_text()
    events = EventAccumulator(str(folder / "trials" / "0000")).Reload()
    assert [event.step for event in events.Scalars("train_fullsup/max_box_acc_v2")] == [1, 2, 3]
    assert {"train/loss", "train/loss/classification", "train/lr", "objective"} <= set(events.Tags()["scalars"])


def test_best_yaml_trains_again_to_the_same_number(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file))[0] == 0
    assert launch("train", "runs/tiny/best.yaml", "--run", "runs/again")[0] == 0
    values = [json.loads(Path(f"runs/{name}/best/result.json").read_text())["value"] for name in ("tiny", "again")]
    assert values[0] == values[1]


def test_the_test_split_is_evaluated_once(space_file: Path, launch: Launch) -> None:
    launch("train", str(space_file))
    assert launch("evaluate", "runs/tiny", "--split", "train_fullsup")[0] == 0
    assert not Path("runs/tiny/test.json").exists()
    assert launch("evaluate", "runs/tiny", "--split", "test")[0] == 0
    code, _, err = launch("evaluate", "runs/tiny", "--split", "test")
    assert code == 2 and "was already evaluated" in err and "--test-again" in err
    assert launch("evaluate", "runs/tiny", "--split", "test", "--test-again", "the reviewers asked")[0] == 0
    entries = json.loads(Path("runs/tiny/test.json").read_text())["evaluations"]
    assert [entry["reason"] for entry in entries] == [None, "the reviewers asked"]
    assert entries[0]["metrics"] == entries[1]["metrics"]
    assert 0 <= entries[0]["metrics"]["max_box_acc_v2/fixed"] <= entries[0]["metrics"]["max_box_acc_v2"]
    assert (
        entries[0]["checkpoint_sha256"]
        == json.loads(Path("runs/tiny/best/result.json").read_text())["checkpoint_sha256"]
    )
    assert entries[0]["config"]["optim"]["lr"] == 0.01 and entries[0]["time"]


def test_an_interrupted_training_is_resumed(space_file: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = launch("train", str(space_file), "--run", "runs/whole")
    evaluate, calls = training.evaluate, []

    def stop_in_the_second_epoch(*arguments: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", stop_in_the_second_epoch)
        code, out, _ = launch("train", str(space_file))
    assert code == 130 and "continue with: python launch.py resume runs/tiny" in out
    code, out, _ = launch("resume", "--run", "runs/tiny")
    assert code == 0 and "epoch   2/2" in out and "epoch   1/2" not in out
    assert whole[0] == 0
    values = [json.loads(Path(f"runs/{name}/best/result.json").read_text())["value"] for name in ("tiny", "whole")]
    assert values[0] == values[1]


def test_images_of_two_splits_are_noted(space_file: Path, launch: Launch) -> None:
    assert launch("data", "prepare", "synthetic", *(f"{key}={value}" for key, value in SMALL.items()))[0] == 0
    tree = next(Path("data").glob("synthetic-*")) / "metadata"
    shared = (tree / "val" / "image_ids.txt").read_text().splitlines()[0]
    own = (tree / "test" / "image_ids.txt").read_text().splitlines()[0]
    for file in (tree / "test").iterdir():
        file.write_text(file.read_text().replace(own, shared))
    code, out, err = launch("train", str(space_file))
    assert code == 0, err
    note = f"note: 1 of 6 images of test are in train_fullsup too, such as {shared}:"
    assert out.startswith(note), out


@pytest.mark.parametrize("reason", ["", "  ", "\t"])
def test_a_blank_reason_is_none(reason: str, space_file: Path, launch: Launch) -> None:
    launch("train", str(space_file))
    assert launch("evaluate", "runs/tiny", "--split", "test")[0] == 0
    code, out, err = launch("evaluate", "runs/tiny", "--split", "test", "--test-again", reason)
    assert code == 2 and "--test-again: say why" in err and not out
    assert len(json.loads(Path("runs/tiny/test.json").read_text())["evaluations"]) == 1


def test_maps_are_not_saved_beside_other_files(space_file: Path, launch: Launch) -> None:
    launch("train", str(space_file))
    Path("photos").mkdir()
    Path("photos/a.jpg").touch()
    for place, message in (("photos", "other files than maps"), ("tiny.yaml", "no folder"), ("/proc/m", "/proc/m")):
        code, _, err = launch("evaluate", "runs/tiny", "--split", "test", "--save-maps", place)
        assert code == 2 and message in err and not Path("runs/tiny/test.json").exists()
    assert launch("evaluate", "runs/tiny", "--save-maps", "maps")[0] == 0
    assert launch("evaluate", "runs/tiny", "--save-maps", "maps", "--split", "test")[0] == 0


def test_a_diverged_training_fails_with_the_reason(space_file: Path, launch: Launch) -> None:
    code, out, err = launch(
        "train", str(space_file), "backbone.batch_norm=false", "optim.lr=10", "optim.head_lr_scale=1e30"
    )
    assert code == 1
    assert "training diverged" in out and "no trial succeeded" in err
    trial = open_study(Path("runs/tiny")).trials[0]
    assert trial.state.name == "FAIL" and "training diverged" in trial.user_attrs["failure"]
    assert "training diverged" in Path("runs/tiny/trials.csv").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.root=nowhere", "data={name: tiny_imagenet, root: nowhere}"],
            "python launch.py data prepare tiny_imagenet --root nowhere",
        ),
        (["data={name: folder, images: i, metadata: m}"], "no such folder"),
        (["backbone={name: efficientnet_lite0, weights: missing.pth}"], "missing.pth"),
        (["data.annotations=masks"], "evaluation.metrics: max_box_acc_v2 on train_fullsup: this image has no boxes"),
        (["resources.cpus_per_worker=999"], "one trial with 1 worker(s) needs 999 CPU where there are"),
    ],
)
def test_bad_input_writes_nothing(space_file: Path, launch: Launch, overrides: list[str], message: str) -> None:
    code, _, err = launch("search", str(space_file), *overrides)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_broken_data_is_found_before_anything_starts(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file), "--run", "runs/first")[0] == 0
    tree = next(Path("data").glob("synthetic-*"))
    images = sorted((tree / "train").rglob("*.png"))
    kept = images[0].read_bytes()
    images[0].write_bytes(kept[: len(kept) // 2])
    code, _, err = launch("search", str(space_file))
    assert code == 2 and str(images[0]) in err
    images[0].write_bytes(kept)
    labels = tree / "metadata" / "val" / "class_labels.txt"
    text = labels.read_text()
    labels.write_text(text.replace(",1", ",7", 1))
    code, _, err = launch("search", str(space_file))
    assert code == 2 and "class_labels.txt:" in err and "7" in err
    labels.write_text("")
    (tree / "metadata" / "val" / "image_ids.txt").write_text("")
    code, _, err = launch("search", str(space_file))
    assert code == 2 and "image_ids.txt" in err
    assert not Path("runs/tiny").exists()


def test_a_run_folder_is_not_overwritten(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file))[0] == 0
    for verb in ("train", "search"):
        code, _, err = launch(verb, str(space_file))
        assert code == 2 and "holds a run already" in err and "resume runs/tiny" in err


def test_two_processes_do_not_share_a_study(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file))[0] == 0
    study = Study(Path("runs/tiny"), load_experiment(Path("runs/tiny/experiment.yaml")).experiment)
    code, _, err = launch("resume", "runs/tiny")
    assert code == 2 and f"process {os.getpid()}" in err and "is working on this study" in err
    study.close()
    assert launch("resume", "runs/tiny")[0] == 0


def test_resume_changes_little(space_file: Path, launch: Launch) -> None:
    launch("train", str(space_file))
    for word in ("optim.lr=1", "study.seed=1", "study.trials=9"):  # the last only for a search
        code, _, err = launch("resume", "runs/tiny", word)
        assert code == 2 and "can only change resources.*" in err
    assert launch("retry", "runs/tiny")[0] == 2
    assert launch("replay", "runs/tiny", "--trial", "5")[0] == 2
    assert launch("resume", "runs/nothing")[0] == 2


def test_dry_run_writes_nothing(space_file: Path, launch: Launch) -> None:
    code, out, _ = launch("search", str(space_file), "--dry-run", "study.trials=2")
    assert (
        code == 0 and "trial 0: optim.lr=0.01  (published point)" in out and "trial 1:" in out and "trial 2:" not in out
    )
    resolved = yaml.safe_load(out.partition("\n\n")[0])
    assert resolved["trial"]["optim"]["momentum"] == 0.9
    assert [path.name for path in Path().iterdir()] == ["tiny.yaml"]


def test_validate_and_list(space_file: Path, launch: Launch) -> None:
    Path("broken.yaml").write_text("trial: {}\n")
    code, out, err = launch("validate", str(space_file), "broken.yaml")
    assert code == 2 and "tiny.yaml: ok" in out and "broken.yaml:1: trial.method: this key is missing" in err
    assert "cutmix" in launch("list", "methods")[1]
    assert launch("list", "methodz")[0] == 2


def test_baseline_on_metadata_alone(tmp_path: Path, launch: Launch) -> None:
    """A box that fills the central square is found at some threshold by centred squares, a corner box never."""
    for name, text in {
        "image_ids": "a.jpg\nb.jpg",
        "class_labels": "a.jpg,0\nb.jpg,0",
        "image_sizes": "a.jpg,224,224\nb.jpg,224,224",
        "localization": "a.jpg,56,56,167,167\nb.jpg,0,0,20,20",
    }.items():
        (tmp_path / f"{name}.txt").write_text(text)
    code, out, _ = launch("evaluate", "--baseline", "center_gaussian", "--metadata", str(tmp_path))
    assert code == 0
    assert "max_box_acc_v2                  50.000" in out
    assert launch("evaluate", "--baseline", "center_gaussian")[0] == 2
    assert launch("evaluate")[0] == 2


def test_help_imports_little() -> None:
    """Neither torch nor ray nor optuna is loaded to parse words."""
    code = (
        "import sys, orchestrator.cli; print(sorted({'torch', 'ray', 'optuna', 'pydantic', 'numpy', 'plotly'} &"
        " set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(cli.__file__).parent.parent
    ).stdout
    assert printed.strip() == "[]"
