"""A run that was trained on boxes says so, from its first line to its predictions."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.runs.scores import read_scores
from tests.support.tiny import Launch

ONE_BOX = ("data.fullsup_per_class=1", "training.checkpoint=last", "study.trials=1")


def test_what_trained_and_what_selected_is_told(space_file: Path, launch: Launch) -> None:
    """Two classes with four images of train_fullsup: of each, three train and one selects."""
    code, out, err = launch("train", str(space_file), "method=few_shot")
    assert code == 0, err
    said = "6 images of train_fullsup with their boxes or masks; the other 2 select"
    assert f"note: trained on {said}" in out and f"trained on boxes: {said}" in " ".join(out.split())
    result = json.loads(Path("runs/tiny/best/result.json").read_text())
    assert (result["uses_boxes"], result["training_images"]) == (True, said)
    assert result["value"] == result["value_measured_again"], "the winner is measured on what selected it"
    assert {line.split("/")[0] for line in images_of("runs/tiny")} == {"val"} and len(images_of("runs/tiny")) == 2
    assert f"Trained on boxes: {said}." in Path("runs/tiny/report.html").read_text()
    assert launch("evaluate", "runs/tiny", "--split", "test")[0] == 0
    scores = {split: read_scores(Path("runs/tiny/best"), split).images for split in ("train_fullsup", "test")}
    assert scores["train_fullsup"] != scores["test"]
    assert launch("export", "runs/tiny", "--format", "hub")[0] == 0
    card = " ".join(Path("runs/tiny-hub/README.md").read_text().split())
    assert "few_shot on synthetic with tiny, 2 classes: trained with boxes or masks, " in card.replace("\\_", "_")
    assert f"trained on {said}." in card.replace("\\_", "_")


def images_of(run: str) -> list[str]:
    return [line.split(",")[0] for line in Path(run, "best", "images.csv").read_text().splitlines()[1:]]


def test_where_nothing_selected_that_is_told_too(space_file: Path, launch: Launch) -> None:
    code, out, err = launch("train", str(space_file), "method=few_shot", *ONE_BOX)
    assert code == 0, err
    words = " ".join(out.split())
    assert "2 of 2 images of train_fullsup are in what is trained on too" in words
    assert "2 images of train_fullsup with their boxes or masks; they score themselves, and select nothing" in words
    photo = next(Path("data").glob("synthetic-*/test/0/0.png"))
    code, out, err = launch("predict", "runs/tiny", str(photo), "--out", "out")
    assert code == 0, err
    assert "on train_fullsup, on whose images it was trained)" in " ".join(out.split())
    code, _, err = launch("evaluate", "runs/tiny", "post_hoc.method.loss_at=[cells]")
    assert code == 2 and "none is left to choose by" in " ".join(err.split())
