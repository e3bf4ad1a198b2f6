"""Several extractors in one pass, blocks by name, and a finished run scored with every extractor."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from orchestrator.experiment.load import load_experiment
from tests.support.tiny import Launch
from wsol import build, plugins
from wsol.config import EvaluationConfig
from wsol.contract.extracting import FROM_GRADIENTS, METHODS, batch, every_gradient, extractor, make
from wsol.contract.networks import random_network
from wsol.errors import InputError
from wsol.evaluation import Pipeline, evaluate, evaluate_together
from wsol.extractor import extract_together, find_block
from wsol.method import Method
from wsol.network import Classifier
from wsol.types import Activations

# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "asked", "meant"),
    [
        ("tiny", None, "conv4"),
        ("tiny", "conv2", "conv2"),
        ("resnet50", "layer3", "layer3_5"),
        ("resnet50", "layer3_0", "layer3_0"),
        ("vgg16", "conv5", "conv5_3"),
        ("inception_v3", "mixed", "mixed_6e"),
        ("efficientnet_lite0", "mbconv1", "mbconv1"),
    ],
)
def test_names_of_blocks(backbone: str, asked: str | None, meant: str) -> None:
    assert find_block(random_network(backbone).backbone, asked) == meant


def test_an_unknown_block_is_refused_with_the_names_there_are() -> None:
    built, (images, labels) = make("cam"), batch()
    with pytest.raises(
        InputError, match=r"no block 'conv9', did you mean 'conv4'\?; it has conv1, conv2, conv3, conv4"
    ):
        extractor("grad_cam", block="conv9")(built, images, labels)
    with pytest.raises(InputError, match="no block 'conv'"):
        extractor("grad_cam", block="conv")(built, images, labels)


class Detached(Method):
    """Classifies by something that is constant."""

    def activate(self, images: Tensor, labels: Tensor, taps: object = ()) -> Activations:
        activations = super().activate(images, labels, taps)  # type: ignore[arg-type]
        return Activations(activations.features, activations.logits.detach(), activations.taps)


class Untapped(Method):
    """Has a network of its own, which knows no taps."""

    def activate(self, images: Tensor, labels: Tensor, taps: object = ()) -> Activations:
        return super().activate(images, labels)


@pytest.mark.parametrize("kind", [Detached, Untapped])
@every_gradient
def test_a_method_without_a_gradient_at_the_block_is_refused(name: str, kind: Callable[[Classifier], Method]) -> None:
    built, (images, labels) = kind(copy.deepcopy(random_network("tiny"))).eval(), batch()
    with pytest.raises(InputError, match="does not classify by the output of its block conv3"):
        extractor(name, block="conv3")(built, images, labels)


# --- one pass, several extractors -------------------------------------------------------------------------------------


def grid(method: Method) -> list[dict[str, object]]:
    """The method's own map, and every extractor from gradients at every block."""
    fields: list[dict[str, object]] = [{"name": "cam"}]
    for block in method.network.backbone.block_names:
        fields += [{"name": name, "block": block} for name in FROM_GRADIENTS]
    return [*fields, {"name": "bag_cams", "guided": False}, {"name": "bag_cams", "reduce": "sum"}]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "crop_cam"])  # which looks at other images too
def test_a_grid_takes_one_forward_and_two_backward_passes(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built, (images, labels) = make(method), batch()
    several = [extractor(**fields) for fields in grid(built)]  # type: ignore[arg-type]
    alone = [extract(built, images, labels) for extract in several]
    forward: list[str] = []
    for name, block in built.network.backbone.blocks.items():
        block.register_forward_hook(lambda *_, name=name: forward.append(name))
    backward: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backward.append(1) or grad(*a, **k))
    together = extract_together(several, built, images, labels)
    assert forward == built.network.backbone.block_names
    assert len(backward) == 2
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.maps, other.maps, rtol=1e-4, atol=1e-5 * float(one.maps.max()))
        assert torch.equal(one.logits, other.logits)


@pytest.mark.parametrize(
    ("names", "passes"), [(("cam",), 0), (("grad_cam", "pcs"), 1), (("bag_cams", "cam"), 1), (("pcs", "bag_cams"), 2)]
)
def test_no_backward_pass_without_need(names: tuple[str, ...], passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    backward: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backward.append(1) or grad(*a, **k))
    extract_together([extractor(name) for name in names], make("cam"), *batch())
    assert len(backward) == passes


def test_nothing_before_the_first_block_is_recorded() -> None:
    built, (images, labels) = make("cam"), batch()
    with built.network.backbone.shared_pass(images, ["conv3"]):
        activations = built.activate(images, labels, ["conv2", "conv3", "conv4"])
    assert [activations.taps[name].requires_grad for name in ("conv2", "conv3", "conv4")] == [False, True, True]
    assert activations.taps["conv3"].is_leaf


def test_evaluating_a_grid_gives_what_each_setting_gives_alone(space_file: Path) -> None:
    config = load_experiment(space_file).experiment.trial
    dataset = build.dataset(config.data)
    images = build.images(dataset, "train_fullsup", config.data)
    torch.manual_seed(0)
    method = build.method(config, dataset.num_classes)
    plain = config.evaluation.model_dump()
    settings = [
        EvaluationConfig.model_validate({**plain, "extractor": fields, "batch_size": 3}) for fields in grid(method)
    ]
    settings.append(settings[1].model_copy(update={"normalizer": plugins.load("normalizer", "max").Config(name="max")}))
    together = evaluate_together([Pipeline(setting, method) for setting in settings], images)
    assert together == [evaluate(method, images, setting) for setting in settings]
    assert len({tuple(result.values()) for result in together}) > 10
    assert all(p.grad is None for p in method.parameters()) and method.training


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_finished_run_is_scored_with_every_extractor(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file), "--run", "runs/cam")[0] == 0
    before = json.loads(Path("runs/cam/best/result.json").read_text())
    fields = [
        {"name": "cam"},
        *({"name": name, "block": block} for name in FROM_GRADIENTS for block in ("conv2", "conv4")),
    ]
    Path("grid.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load(space_file.read_text()), "post_hoc": {"evaluation.extractor": fields}})
    )
    code, out, _ = launch("evaluate", "runs/cam", "--experiment", "grid.yaml")
    settings = json.loads(Path("runs/cam/best/post_hoc.json").read_text())
    assert code == 0 and "bag_cams block=conv2" in out and "as it is" in out and len(settings) == len(fields)
    values = [setting["metrics"]["max_box_acc_v2"] for setting in settings]
    assert values[0] == before["value"] and len(set(values)) > 2
    after = json.loads(Path("runs/cam/best/result.json").read_text())
    assert after["config"] == settings[values.index(max(values))]["config"]
    assert after["train_fullsup"]["max_box_acc_v2"] == max(values) and after["value"] == before["value"]

    config = Path("runs/cam/best/config.yaml").read_bytes()
    code, out, _ = launch("resume", "runs/cam")
    assert code == 0 and "this training is finished" in out
    assert (
        Path("runs/cam/best/config.yaml").read_bytes() == config
        and json.loads(Path("runs/cam/best/result.json").read_text())["train_fullsup"] == (after["train_fullsup"])
    )

    assert launch("evaluate", "runs/cam", "--split", "test")[0] == 0
    kept = [Path(f"runs/cam/{name}").read_bytes() for name in ("best/config.yaml", "best/result.json", "best.yaml")]
    code, out, _ = launch(
        "evaluate", "runs/cam", "post_hoc.evaluation.normalizer=[{name: max}, {name: pas, percentile: 5.0}]"
    )
    assert code == 0 and "pas percentile=5.0" in out and "keeps the setting" in out
    assert [
        Path(f"runs/cam/{name}").read_bytes() for name in ("best/config.yaml", "best/result.json", "best.yaml")
    ] == kept


def test_settings_that_cannot_be_scored(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file), "training.epochs=1", "--run", "runs/cam")[0] == 0
    wrong = {
        ("post_hoc.evaluation.extractor=[{name: grad_cam, block: conv7}]",): "it has conv1, conv2, conv3, conv4",
        ("post_hoc.evaluation.extractor=[{name: grad_camm}]",): "did you mean 'grad_cam'?",
        ("optim.lr=1",): "only post_hoc.PATH=[VALUE, ...]",
        ("--experiment", "tiny.yaml"): "no `post_hoc`",
        ("post_hoc.evaluation.extractor=[{name: pcs}]", "--split", "test"): "chosen on train_fullsup",
    }
    for words, message in wrong.items():
        code, _, err = launch("evaluate", "runs/cam", *words)
        assert code == 2 and message in " ".join(err.split()), err
    assert not Path("runs/cam/best/post_hoc.json").exists()


def test_a_block_that_is_not_there_is_found_before_anything_starts(space_file: Path, launch: Launch) -> None:
    for override in (
        "evaluation.extractor={name: pcs, block: conv7}",
        "post_hoc.evaluation.extractor=[{name: cam}, {name: pcs, block: conv7}]",
    ):
        code, _, err = launch("train", str(space_file), override)
        assert code == 2 and "no block 'conv7'" in err and not Path("runs").exists()
