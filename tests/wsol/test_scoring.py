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
from wsol.bootstrap import REPLICATES, Bootstrap, draws, interval
from wsol.config import EvaluationConfig, TrainConfig
from wsol.data.images import ImageStore
from wsol.evaluation import Counts, Pipeline, evaluate, evaluate_together, forward
from wsol.method import Method
from wsol.metric import Metric, Sample
from wsol.metrics import max_box_acc_by_size, max_box_acc_v2, piou, pxap
from wsol.network import Backbone
from wsol.types import Annotation

STEP = 0.1


def samples(count: int, masks: bool = False) -> list[Sample]:
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        score_map = random.random((16, 16))
        top, left, height, width = *random.integers(0, 8, 2), *random.integers(2, 8, 2)
        score_map[top : top + height, left : left + width] += 0.7 * random.random()
        mask = np.zeros((16, 16), np.uint8)
        mask[top : top + height, left : left + width] = 1
        box = np.array([[left, top, left + width - 1, top + height - 1]])
        annotation = Annotation((16, 16), box[:0] if masks else box, mask if masks else None)
        made.append(Sample(score_map / score_map.max(), annotation, 0, threshold_step=STEP))
    return made


def fresh(name: str) -> Metric:
    plugin = {"v2": max_box_acc_v2, "size": max_box_acc_by_size, "pxap": pxap, "piou": piou}[name]
    metric: Metric = plugin.build(plugin.Config(), STEP)
    return metric


def counted(name: str, images: list[Sample], times: list[int]) -> dict[str, float]:
    metric = fresh(name)
    for image, repeats in zip(images, times, strict=True):
        for _ in range(repeats):
            metric.update(image)
    return metric.compute()


# --- bootstrap --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v2", "size", "pxap", "piou"])
def test_a_replicate_is_the_metric_over_repeated_images(name: str) -> None:
    images, names = (
        samples(70, masks=name.startswith("p")),
        [f"image{i}" for i in range(70)],
    )  # more than are summed at once
    bootstrap = Bootstrap([fresh(name)])
    for image_id, image in zip(names, images, strict=True):
        metric = fresh(name)
        metric.update(image)
        bootstrap.add(image_id, [metric.state()])
    found, times = bootstrap.compute({}), draws(names).int().tolist()
    for replicate in (0, 1, REPLICATES - 1):
        for key, value in counted(name, images, times[replicate]).items():
            assert found[key][replicate] == pytest.approx(value, abs=1e-9), key


def test_draws_depend_on_the_name_alone_and_are_poisson() -> None:
    one, both = draws(["a"]), draws(["b", "a"])
    assert torch.equal(one[:, 0], both[:, 1]) and not torch.equal(both[:, 0], both[:, 1])
    many = draws([f"image{i}" for i in range(200)])
    assert many.mean().item() == pytest.approx(1, abs=0.01) and many.var().item() == pytest.approx(1, abs=0.02)


def test_the_interval_of_a_proportion_is_the_binomial_one() -> None:
    """Two images in three are right at every threshold: the deviation over n images is sqrt(p (1 - p) / n)."""
    right = Sample(
        np.pad(np.ones((10, 10)), 3), Annotation((16, 16), np.array([[3, 3, 12, 12]])), 0, threshold_step=STEP
    )
    wrong = Sample(np.pad(np.ones((10, 10)), 3), Annotation((16, 16), np.array([[0, 0, 1, 1]])), 0, threshold_step=STEP)
    bootstrap, count = Bootstrap([fresh("v2")]), 300
    for index in range(count):
        metric = fresh("v2")
        metric.update(wrong if index % 3 == 0 else right)
        bootstrap.add(f"image{index}", [metric.state()])
    bounds = interval(bootstrap.compute({})["max_box_acc_v2"])
    half = 196 * (2 / 9 / count) ** 0.5
    assert bounds is not None
    assert bounds[0] == pytest.approx(200 / 3 - half, abs=0.8) and bounds[1] == pytest.approx(200 / 3 + half, abs=0.8)


def test_replicates_without_images_are_left_out() -> None:
    assert interval(np.array([np.nan, 1.0, np.nan, 3.0])) == pytest.approx((1.05, 2.95))
    assert interval(np.full(5, np.nan)) is None


@pytest.mark.parametrize("name", ["size", "piou"])
def test_numbers_at_a_chosen_threshold(name: str) -> None:
    images = samples(40, masks=name == "piou")
    metric, other = fresh(name), fresh(name)
    for index, image in enumerate(images):
        (metric if index < 20 else other).update(image)
    own, key = metric.compute(), {"size": "max_box_acc_by_size", "piou": "piou"}[name]
    assert metric.compute_at(own)[f"{key}/fixed"] == own[key]
    highest = own[f"{key}/total" if name == "size" else key]
    assert metric.compute_at(other.compute())[f"{key}/fixed"] <= highest
    assert metric.compute_at({}) == {}


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
            "my_run,crop_cam(cam),resnet50,cub,max_box_acc_v2,60.5,58.4,63.0,1.25,0.5,2.0,55.4,0,,,,,,,,no\nmy_run,crop_cam(cam),",
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
