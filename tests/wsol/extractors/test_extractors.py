"""The contract that every extractor keeps with every kind of method, the recorded maps, and what several extractors
share.

A new file in `wsol/extractors/` is tested here without being named, with the defaults of its `Config`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from orchestrator.experiment.load import load_experiment
from tests.support import small_networks, vectors
from tests.support.recorded_networks import recorded_method
from tests.support.small_networks import CLASSES, random_network
from wsol import build, plugins
from wsol.config import EvaluationConfig
from wsol.errors import InputError
from wsol.evaluation import evaluate, evaluate_settings
from wsol.extractor import BlockConfig, BlockExtractor, Extractor, extract_together, find_block, guided
from wsol.extractors.bag_cams import bag_cams
from wsol.extractors.grad_cam import grad_cam
from wsol.extractors.grad_cam_pp import grad_cam_pp
from wsol.extractors.layer_cam import layer_cam
from wsol.extractors.pcs import pcs
from wsol.method import Method
from wsol.network import Classifier
from wsol.types import Activations

Launch = Callable[..., tuple[int, str, str]]

SIDE = 32
EXTRACTORS = plugins.names("extractor")
AT_BLOCKS = [name for name in EXTRACTORS if issubclass(plugins.load("extractor", name).Config, BlockConfig)]
FROM_GRADIENTS = [
    name
    for name in AT_BLOCKS
    if isinstance(plugins.build("extractor", plugins.load("extractor", name).Config()), BlockExtractor)
]
METHODS = ("cam", "acol", "spg", "adl", "tap", "crop_cam")
BACKBONES = ("tiny", "efficientnet_lite0", "resnet50", "inception_v3", "vgg16")
RECORDED = {"grad_cam": "grad_cam", "grad_cam_pp": "grad_cam_plus_plus", "pcs": "pcs", "bag_cams": "bag_cams"}

every_extractor = pytest.mark.parametrize("name", EXTRACTORS)
every_block = pytest.mark.parametrize("name", AT_BLOCKS)
every_gradient = pytest.mark.parametrize("name", FROM_GRADIENTS)
every_method = pytest.mark.parametrize("method", METHODS)


def extractor(name: str, **fields: object) -> Extractor:
    plugin = plugins.load("extractor", name)
    built: Extractor = plugin.build(plugin.Config(name=name, **fields))
    return built


def make(method: str, backbone: str = "tiny") -> Method:
    """In evaluation mode."""
    return small_networks.make(method, backbone).eval()


def batch(images: int = 4, side: int = SIDE) -> tuple[Tensor, Tensor]:
    pixels = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))
    return pixels, torch.tensor([3, 0, 0, 2, 1, 1])[:images]


def early_block(method: Method) -> str:
    names = method.network.backbone.block_names
    return names[len(names) // 2 - 1]


def normalized(maps: Tensor, side: int) -> Tensor:
    """As the recording did: bilinear, then to minimum 0 and maximum 1; a constant map is zero."""
    maps = F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1.0)


# --- recorded maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3", "layer4"])
@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("path", vectors.files("post_hoc_maps"))
def test_recorded_maps(path: Path, name: str, layer: str) -> None:
    arrays = vectors.load(path)
    images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    found = extractor(name, block=layer)(recorded_method(arrays), images, labels)
    np.testing.assert_allclose(
        normalized(found.maps, images.shape[-1]).numpy(), arrays[f"{RECORDED[name]}_{layer}"], rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(found.logits.numpy(), arrays["logits"], rtol=0, atol=1e-4)


# --- the contract -----------------------------------------------------------------------------------------------------


@every_method
@every_extractor
def test_maps_are_finite_and_repeatable(name: str, method: str) -> None:
    built, (images, labels) = make(method), batch()
    first, second = (extractor(name)(built, images, labels) for _ in range(2))
    assert first.maps.ndim == 3 and len(first.maps) == len(labels) and first.maps.dtype == torch.float32
    assert first.logits.shape == (len(labels), CLASSES) and first.logits.dtype == torch.float32
    assert torch.isfinite(first.maps).all() and not first.maps.requires_grad and not first.logits.requires_grad
    assert (first.maps > 0).any()
    assert torch.equal(first.maps, second.maps) and torch.equal(first.logits, second.logits)
    assert torch.equal(first.logits, built.score_maps(images, labels).logits)


@every_method
@every_extractor
def test_maps_of_constant_images_are_finite(name: str, method: str) -> None:
    images = torch.tensor([0.0, 2.5])[:, None, None, None].expand(2, 3, SIDE, SIDE)
    finite = bool(torch.isfinite(extractor(name)(make(method), images, torch.tensor([1, 0])).maps).all())
    assert finite, (
        f"{name} of {method}: the map of an image of one colour has NaN or infinity: see that nothing is divided by 0"
    )


@pytest.mark.parametrize("early", [False, True], ids=["last", "early"])
@every_method
@every_gradient
def test_each_image_gets_the_map_of_its_own_class(name: str, method: str, early: bool) -> None:
    built, (images, labels) = make(method).double(), batch()  # Grad-CAM++ divides by differences that cancel
    extract = extractor(name, block=early_block(built) if early else None)
    batched = extract(built, images.double(), labels).maps
    for image, label in enumerate(labels):
        single = extract(built, images[image : image + 1].double(), label[None]).maps[0]
        torch.testing.assert_close(batched[image], single, rtol=1e-3, atol=1e-4 * float(single.max()))
    other = extract(built, images.double(), (labels + 1) % CLASSES).maps
    assert not torch.allclose(batched / batched.amax(), other / other.amax(), atol=1e-3)


def traces(method: Method) -> list[object]:
    """What an extractor must leave alone."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        [(module.training, *(len(getattr(module, kind)) for kind in hooks)) for module in method.modules()],
        [(p.requires_grad, p.grad is None) for p in method.parameters()],
        method.network.backbone._shared,
    ]


@pytest.mark.parametrize("training", [True, False])
@every_method
@every_block
def test_extractors_leave_modes_gradients_and_random_state_alone(name: str, method: str, training: bool) -> None:
    built, (images, labels) = make(method).train(training), batch()
    built.network.backbone.blocks["conv1"].requires_grad_(False)
    before, state, random = traces(built), copy.deepcopy(built.state_dict()), torch.get_rng_state()
    extractor(name, block=early_block(built))(built, images, labels)
    assert traces(built) == before and not images.requires_grad
    assert training or all(torch.equal(value, state[key]) for key, value in built.state_dict().items())
    assert training or torch.equal(torch.get_rng_state(), random)


@every_gradient
def test_everything_is_restored_after_an_exception(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built, (images, labels) = make("cam"), batch()
    before, first = traces(built), extractor(name)(built, images, labels)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", fail)
        with pytest.raises(MemoryError):
            extractor(name)(built, images, labels)
    assert traces(built) == before
    assert torch.equal(extractor(name)(built, images, labels).maps, first.maps)


@every_block
def test_frozen_networks_and_calls_without_gradient_give_the_same_maps(name: str) -> None:
    built, (images, labels) = make("cam"), batch()
    extract = extractor(name, block=early_block(built))
    maps = extract(built, images, labels).maps
    with torch.no_grad():
        assert torch.equal(extract(built, images, labels).maps, maps)
    assert torch.equal(extract(built.requires_grad_(False), images, labels).maps, maps)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_published_backbone_at_several_blocks(backbone: str) -> None:
    built, (images, labels) = make("cam", backbone), batch(2)
    names = built.network.backbone.block_names
    blocks = [names[0], names[len(names) // 2], names[-1]]
    several = [extractor(name, block=block) for name in FROM_GRADIENTS for block in blocks]
    for scores in extract_together(several, built, images, labels):
        assert torch.isfinite(scores.maps).all() and len(scores.maps) == 2


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


# --- formulas ---------------------------------------------------------------------------------------------------------


def test_formulas_by_hand() -> None:
    output = torch.tensor([[[[1.0, 2], [3, 4]], [[1, 0], [0, 1]]]])
    gradient = torch.tensor([[[[0.1, -0.2], [0.3, 0.4]], [[1, 1], [1, -1]]]])
    expected = {
        grad_cam: [[0.65, 0.3], [0.45, 1.1]],
        grad_cam_pp: [[1.6564, 0.3128], [0.4692, 2.1256]],
        pcs: [[1.1, 0], [0.9, 0.6]],
        layer_cam: [[1.1, 0], [0.9, 1.6]],
        (lambda *a: bag_cams(*a[:2], "mean")): [[1.155, 0], [1.395, 2.48]],
        (lambda *a: bag_cams(*a[:2], "sum")): [[1.32, 0], [2.88, 5.12]],
    }
    for formula, maps in expected.items():
        torch.testing.assert_close(
            formula(output, gradient, torch.ones(1, 1, 1, 1))[0], torch.tensor(maps), rtol=1e-4, atol=1e-6
        )


def test_bag_cams_is_the_bag_of_regional_localizers() -> None:
    """Each cell m gives every channel the weight 1 + g_m F_m; the mean of what they say about cell i is its
    evidence."""
    generator = torch.Generator().manual_seed(0)
    output, gradient = (torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    evidence = (output * gradient).flatten(2)
    cells = evidence.shape[2]
    said = torch.stack(
        [
            torch.stack([(1 + evidence[:, :, m]) * evidence[:, :, i] for m in range(cells)]).mean(0)
            for i in range(cells)
        ],
        dim=2,
    )
    torch.testing.assert_close(
        bag_cams(output, gradient, "mean").flatten(1), said.relu().sum(1), rtol=1e-12, atol=1e-12
    )


def test_closed_forms_at_the_last_block() -> None:
    """Behind average pooling and a linear layer the gradient is the weight over the number of cells."""
    built, (images, labels) = make("cam"), batch()
    features = built.network(images).features.detach()
    cells, channels = features[0, 0].numel(), features.shape[1]
    weight = built.network.head.linear.weight.detach()[labels]  # type: ignore[union-attr]
    score = built.network(images).logits.detach().gather(1, labels[:, None])
    cam = built.score_maps(images, labels).maps * channels
    clipped = extractor("cam", clip_negative_weights=True)(built, images, labels).maps * channels
    torch.testing.assert_close(extractor("grad_cam")(built, images, labels).maps, cam.relu() / cells)
    torch.testing.assert_close(extractor("pcs")(built, images, labels).maps, cam.relu() / cells)
    torch.testing.assert_close(extractor("layer_cam")(built, images, labels).maps, clipped / cells)
    gradient = (weight / cells / score)[:, :, None, None].expand_as(features)
    for guidance in (True, False):
        torch.testing.assert_close(
            extractor("bag_cams", guided=guidance)(built, images, labels).maps, bag_cams(features, gradient, "mean")
        )


@pytest.mark.parametrize("guidance", [True, False])
def test_a_negative_logit_turns_the_evidence_round(guidance: bool) -> None:
    built, (images, labels) = make("cam"), batch()
    head = built.network.head.linear  # type: ignore[union-attr]
    with torch.no_grad():
        head.bias.fill_(-100.0)
        features = built.network(images).features
        against = torch.einsum("bchw,bc->bhw", features, (-head.weight[labels]).clamp(min=0))
    maps = extractor("bag_cams", guided=guidance)(built, images, labels).maps
    torch.testing.assert_close(normalized(maps, 8), normalized(against, 8), rtol=0, atol=1e-3)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    assert (extractor("bag_cams", guided=guidance)(built, images, labels).maps == 0).all()


class GuidedReLU(torch.autograd.Function):
    """What guided backpropagation is, as a function of its own."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return (gradient * (ctx.saved_tensors[0] > 0)).clamp(min=0)  # type: ignore[attr-defined]


def test_guidance_reaches_every_kind_of_relu_and_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 8, generator=generator, requires_grad=True)
    weights = [torch.randn(8, 8, generator=generator) / 4 for _ in range(6)]
    kinds = [F.relu, nn.ReLU(), nn.ReLU(inplace=True), torch.relu, nn.ReLU6(), nn.ReLU6(inplace=True)]

    def run(rectifiers: list[Callable[[Tensor], Tensor]]) -> Tensor:
        y = x
        for weight, rectify in zip(weights, rectifiers, strict=True):
            y = rectify(y @ weight)
        return y.sum()

    output = run(kinds)
    (plain,) = torch.autograd.grad(output, x, retain_graph=True)
    with guided(output):
        (clamped,) = torch.autograd.grad(output, x, retain_graph=True)
    with pytest.raises(KeyError), guided(output):
        raise KeyError
    (after,) = torch.autograd.grad(output, x)
    (expected,) = torch.autograd.grad(run([GuidedReLU.apply] * 6), x)
    torch.testing.assert_close(clamped, expected)
    assert torch.equal(plain, after) and not torch.allclose(plain, clamped)


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
    together = evaluate_settings(method, images, settings)
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
