"""F-CAM: barrier, CRF and seeds against recorded numbers and slow references, the decoder's published size, training
from a finished run."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from orchestrator.experiment.load import load_experiment
from orchestrator.verbs.evaluate import evaluate
from orchestrator.verbs.train import train as train_alone
from tests.support.vectors import files, load
from wsol import build, plugins
from wsol.checkpoint import read_state
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.methods import f_cam
from wsol.methods._unet import Decoder, skips
from wsol.network import CamHead, Classifier
from wsol.normalizers.min_max import min_max
from wsol.ops import lattice, seeds
from wsol.ops.barrier import extended_log_barrier, sharpness_at, size_barrier
from wsol.ops.crf import dense_crf_energy, exact_filter, pixel_features
from wsol.ops.lattice import lattice_filter
from wsol.training import train
from wsol.types import Batch, Progress

CLASSES, SIDE = 4, 32
FIRST = Progress(epoch=1, epochs=4, step=0, steps=20)
BASES = [name for name in plugins.names("method") if name not in ("f_cam", "crop_cam")]


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


def assert_close(found: Tensor, recorded: np.ndarray, tolerance: float) -> None:
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=tolerance * expected.abs().max().item())


# --- barrier ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", files("extended_log_barrier"))
def test_the_barrier_is_the_published_one(path: Path) -> None:
    vector = load(path)
    sharpnesses = [key.split("_")[1] for key in vector if key.endswith("_mean_loss")]
    assert sharpnesses
    for sharpness in sharpnesses:
        values = torch.from_numpy(vector[f"t_{sharpness}_fx"]).requires_grad_()
        loss = extended_log_barrier(values, float(sharpness)).mean()
        loss.backward()
        assert_close(loss, vector[f"t_{sharpness}_mean_loss"], 1e-5)
        torch.testing.assert_close(values.grad, torch.from_numpy(vector[f"t_{sharpness}_grad"]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("path", files("extended_log_barrier"))
def test_the_size_loss_is_the_published_one(path: Path) -> None:
    vector = load(path)
    logits = torch.from_numpy(vector["max_size_logits"]).requires_grad_()
    loss = float(vector["max_size_lambda"]) * size_barrier(logits.softmax(1), float(vector["max_size_t"]))
    loss.backward()
    assert_close(loss, vector["max_size_loss"], 1e-5)
    assert_close(logits.grad, vector["max_size_grad"], 1e-5)


@pytest.mark.parametrize("path", files("extended_log_barrier"))
def test_sharpness_grows_as_published(path: Path) -> None:
    """There it is multiplied in float32."""
    recorded = load(path)["t_schedule_from_1_max_10_mul_1.01"].tolist()
    found = [sharpness_at(epoch, 1.0, 1.01, 10.0) for epoch in range(1, len(recorded) + 1)]
    assert found == pytest.approx(recorded, rel=1e-5)


@pytest.mark.parametrize(
    ("t", "value", "expected"),
    [(1, -25088, -10.130145), (1, 0, 1), (1, 1, 2), (2, -0.25, 0.693147), (10, -0.01, 0.460517)],
)
def test_values_of_the_barrier(t: float, value: float, expected: float) -> None:
    """Also where a logarithm alone would be infinite."""
    values = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    found = extended_log_barrier(values, t)
    found.sum().backward()
    assert found.item() == pytest.approx(expected, abs=1e-6) and torch.isfinite(values.grad).all()


# --- CRF --------------------------------------------------------------------------------------------------------------

FILTERS = {"exact": (exact_filter, 1e-4), "reference_lattice": (lattice_filter, 1e-6)}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("path", files("dense_crf_energy"))
def test_energy_and_gradient_are_the_recorded_ones(path: Path, kind: str) -> None:
    vector, (filtered_by, tolerance) = load(path), FILTERS[kind]
    regions = torch.from_numpy(vector["segmentation"]).requires_grad_()
    sigmas = {"sigma_color": float(vector["sigma_rgb"]), "sigma_space": float(vector["sigma_xy"])}
    energy = dense_crf_energy(regions, torch.from_numpy(vector["images_0_255"]), **sigmas, filtered_by=filtered_by)
    energy.backward()
    assert_close(energy, vector[f"{kind}_loss"], tolerance)
    assert_close(-regions.grad * len(regions) / 2, vector[f"{kind}_filtered"], tolerance)
    if f"{kind}_grad" in vector:
        assert_close(regions.grad, vector[f"{kind}_grad"], tolerance)


def pattern(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixels (1, 3, H, W) and two regions (1, 2, H, W) that sum to 1."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([(7 * x + 11 * y + 40 * channel) % 256 for channel in range(3)])
    second = ((x + 2 * y) % 5) / 4
    return pixels[None].double(), torch.stack((1 - second, second))[None].double()


PATTERNS = [
    (8, 8, 15, 100, 97, (221.20483, 0.230603, 0.555521, 4.262136), (410.99914, 0.725730, 1.124670, 8.256284)),
    (8, 8, 15, 4, 149, (139.84052, 0.182124, 0.401070, 2.770131), (311.35228, 0.673456, 1.059514, 6.608450)),
    (16, 12, 10, 8, 393, (495.08435, 0.053711, 0.169919, 2.941606), (1098.09384, 0.232778, 0.469851, 6.677105)),
]


@pytest.mark.parametrize(("height", "width", "color", "space", "corners", "lattice_values", "exact_values"), PATTERNS)
def test_numbers_of_a_pattern(
    height: int,
    width: int,
    color: float,
    space: float,
    corners: int,
    lattice_values: tuple[float, ...],
    exact_values: tuple[float, ...],
) -> None:
    """Those of the published filter and those of the sum over all pairs; sums, two corners, one pixel inside."""
    pixels, regions = pattern(height, width)
    features, values = pixel_features(pixels, color, space), regions.flatten(2).transpose(1, 2)
    assert lattice.Lattice.under(features).neighbours.shape == (6, 2, corners)
    for filtered_by, expected in ((lattice_filter, lattice_values), (exact_filter, exact_values)):
        sums = filtered_by(features, values)
        read = sums[0].T.reshape(2, height, width)
        found = [(sums * values).sum(), read[1, 0, 0], read[1, -1, -1], read[0, 3, 4]]
        assert [value.item() for value in found] == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("filtered_by", [exact_filter, lattice_filter])
def test_images_of_a_batch_do_not_see_each_other(filtered_by, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, regions = pattern(8, 8)
    both, parts = torch.cat((pixels, 255 - pixels)), torch.cat((regions, regions.flip(1)))
    sigmas = {"sigma_color": 15.0, "sigma_space": 100.0, "filtered_by": filtered_by}
    together = dense_crf_energy(parts, both, **sigmas)
    singly = [dense_crf_energy(parts[i : i + 1], both[i : i + 1], **sigmas) for i in range(2)]
    assert together.item() == pytest.approx(torch.stack(singly).mean().item(), rel=1e-6)
    if filtered_by is lattice_filter:
        assert together.item() == pytest.approx(-223.466339, rel=1e-7)
        monkeypatch.setitem(lattice.POINTS_AT_ONCE, "cpu", 1)
        assert torch.equal(dense_crf_energy(parts, both, **sigmas), together)


@pytest.mark.parametrize("filtered_by", [exact_filter, lattice_filter])
def test_the_gradient_is_minus_two_sums_over_images(filtered_by) -> None:
    pixels, regions = pattern(16, 12)
    parts = torch.cat((regions, regions.flip(1))).requires_grad_()
    dense_crf_energy(
        parts, torch.cat((pixels, pixels)), sigma_color=20, sigma_space=5, filtered_by=filtered_by
    ).backward()
    sums = filtered_by(pixel_features(torch.cat((pixels, pixels)), 20, 5), parts.detach().flatten(2).transpose(1, 2))
    torch.testing.assert_close(parts.grad, -sums.transpose(1, 2).reshape(parts.shape))


def test_the_exact_filter_is_the_sum_over_all_pairs() -> None:
    """And the energy is the penalty of cut pairs less a number of the image."""
    torch.manual_seed(0)
    pixels, regions = (
        255 * torch.rand(2, 3, 12, 10, dtype=torch.float64),
        torch.randn(2, 2, 12, 10, dtype=torch.float64).softmax(1),
    )
    features = pixel_features(pixels, 40, 6)
    kernel = torch.exp(-torch.cdist(features, features).square() / 2)
    values = regions.flatten(2).transpose(1, 2)
    torch.testing.assert_close(exact_filter(features, values), kernel @ values, rtol=1e-5, atol=1e-6)
    cut = torch.einsum("bpk,bpq,bqk->b", values, kernel, 1 - values)
    energy = dense_crf_energy(regions, pixels, sigma_color=40, sigma_space=6, filtered_by=exact_filter)
    assert energy.item() == pytest.approx((cut - kernel.sum((1, 2))).mean().item(), rel=1e-5)


def test_too_small_deviations_are_refused() -> None:
    with pytest.raises(ValueError, match="larger deviations"):
        lattice_filter(pixel_features(255 * torch.rand(1, 3, 16, 16), 0.01, 0.01), torch.rand(1, 256, 2))


# --- seeds ------------------------------------------------------------------------------------------------------------


def slow_otsu(levels: np.ndarray) -> int:
    """Every threshold, exactly."""
    best, best_value = 0, Fraction(0)
    for threshold in range(256):
        low, high = levels[levels <= threshold].astype(int), levels[levels > threshold].astype(int)
        if len(low) and len(high):
            distance = Fraction(int(low.sum()), len(low)) - Fraction(int(high.sum()), len(high))
            value = len(low) * len(high) * distance**2
            if value > best_value:
                best, best_value = threshold, value
    return best


def test_otsu_is_the_best_of_all_thresholds() -> None:
    random = np.random.default_rng(0)
    images = [
        np.clip(random.normal(random.integers(0, 255), random.integers(1, 60), (9, 11)), 0, 255).astype(int)
        for _ in range(20)
    ]
    images += [
        random.choice([3, 200], (9, 11)),
        random.choice([0, 1], (9, 11)),
        random.choice([254, 255], (9, 11)),
        np.full((9, 11), 7),
    ]
    found = seeds.otsu(torch.from_numpy(np.stack(images)))
    assert found.tolist() == [slow_otsu(image) for image in images]
    assert found.tolist()[-4:] == [3, 0, 254, 0]


def test_otsu_is_that_of_opencv() -> None:
    maps = torch.rand(30, 16, 16, generator=torch.Generator().manual_seed(0)) ** 3 * 255
    expected = [cv2.threshold(image.byte().numpy(), 0, 255, cv2.THRESH_OTSU)[0] for image in maps]
    assert seeds.otsu(maps.long()).tolist() == expected


@pytest.mark.parametrize("size", [1, 3, 11])
def test_erosion_and_dilation_are_those_of_opencv(size: int) -> None:
    masks = (
        torch.rand(6, 40, 30, generator=torch.Generator().manual_seed(0))
        < torch.tensor([0.001, 0.01, 0.05, 0.95, 0.99, 0.999])[:, None, None]
    )
    square = np.ones((size, size), np.uint8)
    dilated = [cv2.dilate(mask.numpy().astype(np.uint8), square) for mask in masks]
    assert np.array_equal(seeds.dilate(masks, size).numpy(), np.stack(dilated))
    eroded = [cv2.erode(mask.numpy().astype(np.uint8), square) for mask in masks]
    kept = [
        shrunk if shrunk.any() else mask.numpy() for shrunk, mask in zip(eroded, masks, strict=True)
    ]  # what would vanish stays
    assert np.array_equal(seeds.erode(masks, size).numpy(), np.stack(kept))


def blob(size: int = 224) -> Tensor:
    """One smooth object (1, H, W), brought to [0, 1] on 28x28 cells and enlarged."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    cells = min_max(torch.exp(-((x - 10) ** 2 / 18 + (y - 16) ** 2 / 40))[None])
    return F.interpolate(cells[None], size=(size, size), mode="bilinear", align_corners=False)[0]


def test_pools_of_a_blob() -> None:
    """Numbers of the published code."""
    levels = (blob() * 255).long()
    assert seeds.otsu(levels).item() == 79
    objects = levels > 79
    assert objects.sum() == 6280 and seeds.erode(objects, 11).sum() == 4556
    background = seeds.lowest(blob(), 0.1)
    assert background.sum() == 5017 and blob()[background].max() <= blob()[~background].min()


def draws(scores: Tensor, **changed: float) -> Tensor:
    settings = {"foreground": 1, "background": 1, "background_pool": 0.1, "erosion_size": 11, "seed_size": 3, **changed}
    return seeds.draw_seeds(scores, **settings)


def test_seeds_lie_in_their_pools_and_are_drawn_anew() -> None:
    torch.manual_seed(0)
    scores = blob(224).expand(8, -1, -1)
    first, second = (
        draws(scores, seed_size=1, foreground=5, background=7),
        draws(scores, seed_size=1, foreground=5, background=7),
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])  # each image for itself
    assert ((first == 1).sum((1, 2)) == 5).all() and ((first == 0).sum((1, 2)) == 7).all()
    assert seeds.erode((scores * 255).long() > 79, 11)[first == 1].all() and seeds.lowest(scores, 0.1)[first == 0].all()
    state = torch.get_rng_state()
    again = draws(scores)
    torch.set_rng_state(state)
    assert torch.equal(draws(scores), again)


def test_seeds_become_squares() -> None:
    torch.manual_seed(0)
    for labels in (draws(blob()), draws(blob(), seed_size=5)):
        for label in (0, 1):
            rows, columns = (labels[0] == label).nonzero().T
            side = 3 if len(rows) <= 9 else 5
            assert rows.max() - rows.min() < side and columns.max() - columns.min() < side
    assert (draws(blob()) == 1).sum() == 9  # the object touches no border


def test_where_object_and_background_meet_nothing_is_said() -> None:
    scores = torch.zeros(1, 4, 4)
    scores[0, :, 2:] = 1
    labels = draws(scores, foreground=16, background=16, background_pool=0.5, erosion_size=1)
    assert labels[0].tolist() == [[0, 255, 255, 1]] * 4


@pytest.mark.parametrize("count", [1, 3, 40])
def test_draws_are_uniform(count: int) -> None:
    torch.manual_seed(0)
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:4, 2:] = True  # 12 pixels
    drawn = seeds.draw(mask.expand(4000, -1, -1), count)
    assert (drawn.sum((1, 2)) == min(count, 12)).all() and not drawn[:, ~mask].any()
    assert drawn[:, mask].float().mean(0).tolist() == pytest.approx([min(count / 12, 1)] * 12, abs=0.04)


def test_a_map_that_says_nothing_has_no_seeds() -> None:
    labels = draws(torch.stack((torch.zeros(32, 32), torch.full((32, 32), 0.7))))
    assert (labels == seeds.IGNORED).all()
    scores = torch.randn(2, 2, 32, 32, requires_grad=True)
    loss = f_cam.seed_loss(scores, labels)
    loss.backward()
    assert loss == 0 and (scores.grad == 0).all()


def test_the_loss_of_seeds_is_a_mean_over_pixels() -> None:
    scores, labels = torch.randn(3, 2, 8, 8), torch.full((3, 8, 8), 255)
    labels[0, :2], labels[2, 5] = 1, 0
    expected = F.cross_entropy(scores.permute(0, 2, 3, 1)[labels != 255], labels[labels != 255])
    torch.testing.assert_close(f_cam.seed_loss(scores, labels), expected)


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
