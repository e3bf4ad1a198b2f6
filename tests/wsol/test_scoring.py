"""Published numbers: intervals, curves, maps from files and to files, runs compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.comparison.cell import Cell
from orchestrator.comparison.rows import Row, comparison_rows
from orchestrator.comparison.tables import FORMATS
from orchestrator.runs.scores import read_scores
from wsol import build
from wsol.config import EvaluationConfig, TrainConfig
from wsol.data.images import ImageStore
from wsol.evaluation import Counts, Pipeline, evaluate, evaluate_together, forward
from wsol.method import Method
from wsol.network import Backbone
from wsol.scoring import score, score_files


def test_a_split_is_also_scored_at_the_thresholds_of_another(
    scene: tuple[Method, ImageStore, EvaluationConfig], tmp_path: Path
) -> None:
    method, images, config = scene
    own, key = score(method, images, config, save_to=tmp_path), "max_box_acc_v2/fixed_iou_50"
    assert key not in own.metrics and key not in own.replicates
    for again in (
        score(method, images, config, own.metrics),
        score_files(tmp_path, images.split, images.size, config, own.metrics),
    ):
        assert again.metrics[key] == own.metrics["max_box_acc_v2/iou_50"] and key in again.replicates


# --- one pass, several maps -------------------------------------------------------------------------------------------


def test_extractors_share_the_pass_of_the_network(
    scene: tuple[Method, ImageStore, EvaluationConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, images, plain = scene
    clipped = EvaluationConfig.model_validate(
        {**plain.model_dump(), "extractor": {"name": "cam", "clip_negative_weights": True}}
    )
    alone = [evaluate(method, images, plain), evaluate(method, images, clipped)]
    passes: list[int] = []
    run = Backbone._run

    def counting(self: Backbone, names: list[str], x: torch.Tensor, taps: frozenset[str]) -> object:
        passes.append(len(x))
        return run(self, names, x, taps)

    monkeypatch.setattr(Backbone, "_run", counting)
    assert evaluate_together([Pipeline(one, method) for one in (plain, clipped)], images) == alone
    assert sum(passes) == len(images)


def test_a_shared_pass_is_not_used_for_gradients_and_ends(config: TrainConfig) -> None:
    backbone, images = build.method(config, 2).network.backbone, torch.randn(2, 3, 32, 32)
    with backbone.shared_pass(images):
        with torch.no_grad():
            kept = backbone(images)[0]
            assert backbone(images)[0] is kept and backbone(images.clone())[0] is not kept
        assert backbone(images)[0].requires_grad
    with torch.no_grad():
        assert backbone(images)[0] is not kept


def test_a_shared_pass_inside_another_leaves_it_as_it_was(config: TrainConfig) -> None:
    backbone = build.method(config, 2).network.backbone
    images, others = torch.randn(2, 2, 3, 32, 32)
    with torch.no_grad(), backbone.shared_pass(images):
        kept = backbone(images)[0]
        with backbone.shared_pass(others):
            assert backbone(others)[0] is backbone(others)[0]
        assert backbone(images)[0] is kept


def test_negative_weights_are_clipped_for_one_map_only(scene: tuple[Method, ImageStore, EvaluationConfig]) -> None:
    """The example of the paper's specification: features [[1,2],[0,4]] and [[0,3],[1,1]], weights 2 and -1."""
    head = scene[0].network.head
    head.linear = torch.nn.Linear(2, 1)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[2.0, -1.0]]))
    features = torch.tensor([[[[1.0, 2], [0, 4]], [[0, 3], [1, 1]]]])
    label = torch.zeros(1, dtype=torch.int64)
    assert (head.class_map(features, label) * 2).tolist() == [[[2, 1], [-1, 7]]]
    head.clip_negative_weights = True
    assert (head.class_map(features, label) * 2).tolist() == [[[2, 4], [0, 8]]]
    assert head(features).item() == pytest.approx(2 * 7 / 4 - 5 / 4 + head.linear.bias.item())


# --- the command line -------------------------------------------------------------------------------------------------


def test_intervals_maps_and_comparison(space_file: Path, launch: Callable[..., tuple[int, str, str]]) -> None:
    for seed in ("0", "1"):
        assert (
            launch("train", str(space_file), f"seed={seed}", "training.epochs=1", "--run", f"runs/seed{seed}")[0] == 0
        )
        assert launch("evaluate", f"runs/seed{seed}", "--split", "test", "--save-maps", f"maps{seed}")[0] == 0
    entry = json.loads(Path("runs/seed0/test.json").read_text())["evaluations"][0]
    value, (low, high) = entry["metrics"]["max_box_acc_v2"], entry["intervals"]["max_box_acc_v2"]
    assert low <= value <= high
    assert read_scores(Path("runs/seed0/best"), "test").curves["max_box_acc/iou_50"].max() == pytest.approx(
        entry["metrics"]["max_box_acc/iou_50"]
    )
    assert "Accuracy by score threshold" in Path("runs/seed0/report.html").read_text()

    words = ("evaluate", "--maps", "maps0", "--experiment", str(space_file), "--split", "test")
    code, out, _ = launch(*words)
    assert code == 0
    assert "6 of 4 x 4, resized to 32 x 32" in out and f"{value:.3f}" in out
    assert "normalizer max" in launch(*words, "evaluation.normalizer.name=max")[1]
    assert launch("evaluate", "--maps", "maps0")[0] == 2

    (both,) = comparison_rows([Path("runs/seed0"), Path("runs/seed1")], ["max_box_acc_v2", "top1"], "test")
    (own,) = comparison_rows([Path("runs/seed0")], ["max_box_acc_v2"], "test")
    assert (own.cells["max_box_acc_v2"].value, own.method, own.cells["max_box_acc_v2"].difference) == (
        value,
        "cam",
        None,
    )
    assert both.seeds == (0, 1) and "2 seeds" in launch("compare", "runs/seed0", "runs/seed1")[1]
    same = comparison_rows([Path("runs/seed0"), Path("runs/../runs/seed0")], ["max_box_acc_v2"], "test")[1].cells[
        "max_box_acc_v2"
    ]
    assert (same.difference, same.difference_interval, same.is_different) == (0, (0, 0), False)
    assert launch("compare", "runs/seed0", "--metric", "max_box_acc_v3")[0] == 2
    assert launch("compare", "runs/seed0", "runs/none")[0] == 2

    assert (
        launch("train", str(space_file), "evaluation.threshold_step=0.02", "training.epochs=1", "--run", "runs/coarse")[
            0
        ]
        == 0
    )
    code, _, err = launch("compare", "runs/seed0", "runs/coarse", "--split", "train_fullsup")
    assert code == 2 and "other score thresholds" in err


CELLS = {
    "max_box_acc_v2": Cell(60.5, (58.4, 63.0), 1.25, (0.5, 2.0), 55.4),
    "top1": Cell(40.0, None, 0.0, (-1.0, 1.0), None),
}
ROWS = [Row("my_run", "crop_cam(cam)", "resnet50", "cub", CELLS)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "markdown",
            (
                "| my_run | crop_cam(cam) | resnet50 | cub | 60.5 (58.4 to 63.0)* | 40.0 |\n| centre Gaussian |  |  |"
                " cub | 55.4 |  |"
            ),
        ),
        ("latex", "my\\_run & crop\\_cam(cam) & resnet50 & cub & 60.5 (58.4 to 63.0)* & 40.0 \\\\\n"),
        (
            "html",
            (
                "<tr><td>my_run</td><td>crop_cam(cam)</td><td>resnet50</td><td>cub</td><td>60.5 (58.4 to"
                " 63.0)*</td><td>40.0</td></tr>"
            ),
        ),
        (
            "csv",
            "my_run,crop_cam(cam),resnet50,cub,max_box_acc_v2,60.5,58.4,63.0,1.25,0.5,2.0,55.4,0,,,,,,,,no,\nmy_run,crop_cam(cam),",
        ),
    ],
)
def test_tables_for_elsewhere(form: str, expected: str) -> None:
    assert expected in FORMATS[form](ROWS)


def test_the_loss_of_the_classifier_is_its_mean_cross_entropy(
    scene: tuple[Method, ImageStore, EvaluationConfig],
) -> None:
    method, images, config = scene
    raw = next(forward(method, images, [config], len(images)))
    logits = raw.by(config.extractor).logits
    assert logits is not None
    expected = torch.nn.functional.cross_entropy(
        logits.double(), torch.from_numpy(np.asarray(images.split.labels))[raw.positions].long()
    )
    assert evaluate(method, images, config)["loss/classification"] == pytest.approx(float(expected), rel=1e-6)


def test_maps_belong_to_their_extractor_in_whichever_order(
    scene: tuple[Method, ImageStore, EvaluationConfig],
) -> None:
    method, images, plain = scene
    clipped = EvaluationConfig.model_validate(
        {**plain.model_dump(), "extractor": {"name": "cam", "clip_negative_weights": True}}
    )
    alone = [evaluate(method, images, config) for config in (plain, clipped)]
    assert evaluate_together([Pipeline(one, method) for one in (clipped, plain, clipped)], images) == [
        alone[1],
        alone[0],
        alone[1],
    ]
    raw = next(forward(method, images, [clipped, plain, clipped], len(images)))
    assert [made.extractor for made in raw.extracted] == [clipped.extractor, plain.extractor]
    own = next(forward(method, images, [plain], len(images)))
    assert torch.equal(raw.by(plain.extractor).maps, own.by(plain.extractor).maps)
    with pytest.raises(ValueError, match="not made by"):
        own.by(clipped.extractor)
    with pytest.raises(ValueError, match="same setting"):
        Counts(plain).merge(Counts(clipped))
