"""F-CAM: the decoder's published size, the method, training from a finished run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from orchestrator.experiment.load import load_experiment
from orchestrator.verbs.evaluate import evaluate
from orchestrator.verbs.train import train as train_alone
from wsol import build, plugins
from wsol.checkpoint import read_state
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.methods import f_cam
from wsol.methods._unet import Decoder, skips
from wsol.network import CamHead, Classifier
from wsol.ops.crf import dense_crf_energy
from wsol.training import train
from wsol.types import Batch, Progress

CLASSES, SIDE = 4, 32
FIRST = Progress(epoch=1, epochs=4, step=0, steps=20)
BASES = [
    name
    for name in plugins.names("method")
    if name not in ("f_cam", "crop_cam", "few_shot") and not plugins.load("method", name).Config.needs_tokens
]


def classifier(backbone: str = "tiny", **fields: object) -> Classifier:
    plugin = plugins.load("backbone", backbone)
    blocks = plugin.build(
        plugin.Config(**{"weights": "none", **({"width": 4} if backbone == "tiny" else {}), **fields})
    )
    return Classifier(blocks, CamHead(blocks.channels, CLASSES))


def make(**fields: object) -> f_cam.FCAM:
    torch.manual_seed(0)
    method = build.around(f_cam.Config(erosion_size=3, **fields), classifier())
    assert isinstance(method, f_cam.FCAM)
    return method


def make_batch(count: int = 4) -> Batch:
    images = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(count) % CLASSES, tuple(map(str, range(count))))


# --- decoder ----------------------------------------------------------------------------------------------------------

DECODERS = [
    ("resnet50", 9_012_928 + 290, [28, 28, 56, 112, 224]),
    ("vgg16", 23_119_616 + 1_154, [56, 112, 224]),
    ("inception_v3", 5_704_384 + 290, [28, 28, 56, 110, 220]),
]


@pytest.mark.parametrize(("backbone", "parameters", "sizes"), DECODERS)
def test_the_decoder_is_the_published_one(backbone: str, parameters: int, sizes: list[int]) -> None:
    """Sizes of the levels at stride 8; Inception's blocks have fewer border pixels here."""
    network = classifier(backbone, stride=8).eval()
    decoder = Decoder(network.backbone).eval()
    assert sum(p.numel() for p in decoder.parameters()) == parameters
    seen: list[int] = []
    for level in decoder.levels:
        level.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-1]))
    with torch.no_grad():
        features, tapped = network.backbone(torch.randn(1, 3, 224, 224), skips(network.backbone))
        scores = decoder(features, [tapped[name] for name in skips(network.backbone)], (224, 224))
    assert scores.shape == (1, 2, 224, 224)
    assert seen == sizes


@pytest.mark.parametrize(
    ("backbone", "stride", "expected"),
    [("tiny", 8, (4, 2)), ("tiny", 16, (8, 4, 2)), ("efficientnet_lite0", 16, (8, 4, 2))],
)
def test_other_decoders_read_the_last_block_of_every_size(
    backbone: str, stride: int, expected: tuple[int, ...]
) -> None:
    blocks = classifier(backbone, stride=stride).backbone
    names = skips(blocks)
    assert tuple(blocks.info[name].stride for name in names) == expected
    for name in names:
        later = blocks.block_names[blocks.block_names.index(name) + 1]
        assert blocks.info[later].stride > blocks.info[name].stride


# --- method -----------------------------------------------------------------------------------------------------------


def test_the_base_is_frozen_and_runs_once_a_step() -> None:
    method = make().train()
    assert not any(module.training for module in method.base.modules()) and method.decoder.training
    before = {key: value.clone() for key, value in method.base.state_dict().items()}
    passes: list[int] = []
    method.network.backbone.blocks["conv1"].register_forward_hook(lambda *_: passes.append(1))
    optimizer = torch.optim.SGD(method.parameter_groups()[0]["params"], lr=0.1)
    torch.stack(list(method(make_batch(), FIRST).values())).sum().backward()
    optimizer.step()
    assert len(passes) == 1
    assert all(torch.equal(value, before[key]) for key, value in method.base.state_dict().items())
    assert not any(p.requires_grad for p in method.base.parameters())
    assert {id(p) for group in method.parameter_groups() for p in group["params"]} == {
        id(p) for p in method.decoder.parameters()
    }


def test_the_map_is_a_probability_of_the_size_of_the_image_whatever_the_label() -> None:
    method, images = make().eval(), make_batch().images
    one, other = (method.score_maps(images, torch.full((4,), label)) for label in (0, 3))
    assert one.maps.shape == (4, SIDE, SIDE) and one.maps.min() >= 0 and one.maps.max() <= 1
    assert one.maps.amin((1, 2)).max() > 0  # not stretched to [0, 1]
    assert torch.equal(one.maps, other.maps)
    assert torch.equal(one.logits, method.base.score_maps(images, torch.zeros(4).long()).logits)


def test_seeds_come_from_the_map_of_the_true_class() -> None:
    method, batch = make(), make_batch()
    cells = method.base.score_maps(batch.images, batch.labels).maps
    low, high = cells.amin((1, 2), keepdim=True), cells.amax((1, 2), keepdim=True)
    expected = F.interpolate(((cells - low) / (high - low))[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0]
    torch.testing.assert_close(method.guided(batch), expected)
    clipped = make(guide={"name": "cam", "clip_negative_weights": True})
    assert not torch.allclose(clipped.guided(batch), expected)


def test_terms_are_those_of_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = (
        make(crf_weight=1e-5, size_weight=0.3, barrier_start=1.5, barrier_growth=2.0, barrier_max=4.0).train(),
        make_batch(),
    )
    pixels = torch.randint(256, batch.images.shape).float()
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (method.network.backbone.pixel_mean, method.network.backbone.pixel_std)
    )
    batch = Batch((pixels / 255 - mean) / std, batch.labels)
    monkeypatch.setattr(method, "_seeds", lambda guided: torch.ones(guided.shape, dtype=torch.int64))
    activations = method.activate(batch.images, batch.labels)
    scores = activations.taps[f_cam.SCORES]
    for epoch, sharpness in ((1, 1.5), (2, 3.0), (3, 4.0)):
        terms = method.loss_terms(activations, batch, Progress(epoch, 3, 0, 3))
        assert set(terms) == {"seeds", "size", "crf"}
        torch.testing.assert_close(terms["seeds"], -scores.log_softmax(1)[:, 1].mean())
        torch.testing.assert_close(terms["size"], 0.3 * -scores.softmax(1).sum((2, 3)).log().mean() / sharpness)
        energy = dense_crf_energy(scores.softmax(1), pixels, sigma_color=15, sigma_space=100)
        torch.testing.assert_close(terms["crf"], 1e-5 * energy)
    assert "crf" not in make(crf_weight=0.0).train()(batch, FIRST)


def test_normalised_pixels_come_back_exactly() -> None:
    values = torch.arange(256.0)
    for mean, std in itertools.product((0.485, 0.456, 0.406, 0.5), (0.229, 0.224, 0.225, 0.5)):
        normalised = (values / 255 - mean) / std
        assert torch.equal(((normalised * std + mean) * 255).round(), values)


@pytest.mark.parametrize("base", BASES)
def test_every_base_is_decoded(base: str) -> None:
    method = make(base={"name": base}).train()
    terms = method(make_batch(), FIRST)
    assert set(terms) == {"seeds", "size", "crf"} and torch.isfinite(torch.stack(list(terms.values()))).all()
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None for p in method.decoder.parameters())
    assert method.eval().score_maps(make_batch().images, make_batch().labels).maps.shape == (4, SIDE, SIDE)


def test_what_the_base_does_to_images_does_not_reach_the_decoder() -> None:
    batch = make_batch()
    assert make(base={"name": "has"}).train().augment(batch) is batch


def test_it_can_be_a_base_itself() -> None:
    config = plugins.load("method", "crop_cam").Config(base={"name": "f_cam", "erosion_size": 3})
    method = build.around(config, classifier()).train()
    assert torch.isfinite(torch.stack(list(method(make_batch(), FIRST).values()))).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed_size": 2}, "even"),
        ({"erosion_size": 10}, "even"),
        ({"barrier_start": 2.0, "barrier_max": 1.0}, "below barrier_start"),
        ({"num_foreground_seeds": 0}, "num_foreground_seeds"),
        ({"crf_sigma_space": 0.5}, "crf_sigma_space"),
        ({"guide": {"name": "camm"}}, "did you mean 'cam'"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        f_cam.Config(**fields)


# --- training from a finished run -------------------------------------------------------------------------------------


def test_a_run_without_stage_one_is_refused_before_it_starts(space_file: Path) -> None:
    for method in ("f_cam", "{name: crop_cam, base: {name: f_cam}}"):
        override = f"method.name={method}" if method == "f_cam" else f"method={method}"
        with pytest.raises(
            InputError, match=r"trial.method: f_cam trains on what another run learned: set initial_run"
        ):
            load_experiment(space_file, [override])
    config = load_experiment(space_file, ["method.name=f_cam", "initial_run=runs/none"]).experiment.trial
    with pytest.raises(InputError, match="give the folder of a finished run"):
        build.method(config, 2)


def test_a_decoder_learns_on_a_finished_run(space_file: Path) -> None:
    train_alone(space_file, [], Path("runs/first"))
    settings = ["method={name: f_cam, erosion_size: 3}", "initial_run=runs/first", "evaluation.normalizer={name: none}"]
    train_alone(space_file, settings, Path("runs/second"))
    first, second = (read_state(Path(f"runs/{name}/best/weights.pt"))["method"] for name in ("first", "second"))
    assert all(torch.equal(second[f"base.{key}"], value) for key, value in first.items())
    assert {key.split(".")[0] for key in second} == {"base", "decoder"}
    evaluate(Path("runs/second"), "test", None, None)

    config: TrainConfig = load_experiment(Path("runs/second/experiment.yaml")).experiment.trial
    method = build.bare_method(config, 2)
    method.load_state_dict(second)
    assert all(torch.equal(value, second[key]) for key, value in method.state_dict().items())
    records = train(config, Path("again"), "train_fullsup/max_box_acc_v2")
    assert {"train/loss/seeds", "train/loss/crf", "train/loss/size"} <= set(records[0]) and len(records) == 2
