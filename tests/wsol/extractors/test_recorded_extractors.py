"""Recorded maps of the extractors that the packages grad-cam and torchcam and the authors' repositories have, and what
they should be equal to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support import vectors
from tests.support.recorded_networks import recorded_method
from wsol.contract.extracting import extractor
from wsol.contract.networks import CLASSES, make
from wsol.errors import InputError
from wsol.extractor import extract_together, gradient_at, output_at
from wsol.extractors import full_grad
from wsol.extractors.ablation_cam import ablated_scores, ablation_cam
from wsol.extractors.eigen_cam import eigen_cam
from wsol.extractors.full_grad import full_gradient_terms
from wsol.extractors.score_cam import Config as ScoreCamConfig
from wsol.extractors.score_cam import _weight
from wsol.method import Method
from wsol.types import ScoreMaps

LAYERS = ("layer1", "layer2", "layer3", "layer4")
every_layer = pytest.mark.parametrize("layer", LAYERS)
NEW = ("x_grad_cam", "eigen_cam", "ablation_cam", "score_cam", "smooth_grad_cam_pp", "full_grad")


def of_recording(path: Path) -> tuple[dict[str, np.ndarray], Tensor, Tensor]:
    arrays = vectors.load(path)
    return arrays, torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])


def assert_as_recorded(found: Tensor, recorded: np.ndarray, tolerance: float) -> None:
    """Within a share of the largest recorded value."""
    assert found.shape == recorded.shape
    np.testing.assert_allclose(found.numpy(), recorded, rtol=0, atol=tolerance * np.abs(recorded).max())


@every_layer
@pytest.mark.parametrize("path", vectors.files("xgrad_cam"))
def test_x_grad_cam(path: Path, layer: str) -> None:
    arrays, images, labels = of_recording(path)
    found = extractor("x_grad_cam", block=layer)(recorded_method(arrays), images, labels)
    assert_as_recorded(found.maps, np.maximum(arrays[f"pgc_map_{layer}"], 0), 1e-4)
    assert_as_recorded(found.maps, arrays[f"torchcam_map_{layer}"], 1e-4)
    assert_as_recorded(found.logits, arrays["logits"], 1e-4)


@every_layer
@pytest.mark.parametrize("path", vectors.files("ablation_cam"))
def test_ablation_cam(path: Path, layer: str) -> None:
    arrays, images, labels = of_recording(path)
    method = recorded_method(arrays)
    output, logits = output_at(method, layer, images, labels)
    score = logits.gather(1, labels[:, None])
    ablated = ablated_scores(method, layer, images, labels, output, 5)
    assert_as_recorded((score - ablated) / score, arrays[f"weights_{layer}"], 1e-4)
    for chunk in (1, 64):
        found = extractor("ablation_cam", block=layer, chunk=chunk)(method, images, labels)
        assert_as_recorded(found.maps, np.maximum(arrays[f"map_{layer}"], 0), 1e-4)
        assert_as_recorded(found.logits, arrays["logits"], 1e-4)
    torch.testing.assert_close(
        ablation_cam(output, score, ablated, relative=False)[score[:, 0] > 0],
        (ablation_cam(output, score, ablated, relative=True) * score[:, :, None])[score[:, 0] > 0],
    )


@every_layer
@pytest.mark.parametrize("variant", ["softmax", "torchcam", "authors"])
@pytest.mark.parametrize("path", vectors.files("score_cam"))
def test_score_cam(path: Path, variant: str, layer: str) -> None:
    arrays, images, labels = of_recording(path)
    method, prefix = recorded_method(arrays), {"softmax": "pgc"}.get(variant, variant)
    output, _ = output_at(method, layer, images, labels)
    config = ScoreCamConfig(variant=variant, chunk=5)  # type: ignore[arg-type]
    weights = [_weight(method, *one, config) for one in zip(images, labels, output, strict=True)]
    assert_as_recorded(torch.stack(weights), arrays[f"{prefix}_weights_{layer}"], 1e-4)
    for chunk in (1, 64):
        found = extractor("score_cam", block=layer, variant=variant, chunk=chunk)(method, images, labels)
        assert_as_recorded(found.maps, np.maximum(arrays[f"{prefix}_map_{layer}"], 0), 1e-4)
        assert_as_recorded(found.logits, arrays["logits"], 1e-4)


@every_layer
@pytest.mark.parametrize("path", vectors.files("smooth_grad_cam_pp"))
def test_smooth_grad_cam_pp(path: Path, layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractor with the recorded noise instead of its own."""
    arrays, images, labels = of_recording(path)
    method, noise, deviation = recorded_method(arrays), torch.from_numpy(arrays["noise"]), float(arrays["std"])

    def drawn(image: Tensor, samples: int) -> Tensor:
        (place,) = [place for place, one in enumerate(images) if torch.equal(one, image)]
        assert samples == len(noise)
        return noise[:, place] / deviation

    monkeypatch.setattr("wsol.extractors.smooth_grad_cam_pp._noise", drawn)
    for as_released, key in ((True, f"map_{layer}"), (False, f"corrected_map_{layer}")):
        settings = {"samples": len(noise), "deviation": deviation, "as_released": as_released}
        found = extractor("smooth_grad_cam_pp", block=layer, **settings)(method, images, labels)
        assert_as_recorded(found.maps, arrays[key], 1e-3)
        assert_as_recorded(found.logits, arrays["logits"], 1e-4)


@every_layer
@pytest.mark.parametrize("path", vectors.files("eigen_cam"))
def test_eigen_cam(path: Path, layer: str) -> None:
    arrays, images, labels = of_recording(path)
    found = extractor("eigen_cam", block=layer)(recorded_method(arrays), images, labels)
    assert_as_recorded(found.maps, arrays[f"sign_corrected_{layer}"], 1e-3)
    assert_as_recorded(found.logits, arrays["logits"], 1e-4)
    for own, recorded in zip(found.maps, arrays[f"projection_{layer}"], strict=True):
        assert_as_recorded(own if (own.numpy() * recorded).sum() > 0 else -own, recorded, 1e-3)


@pytest.mark.parametrize("path", vectors.files("full_grad"))
@pytest.mark.parametrize(("variant", "key"), [("authors", "idiap_saliency"), ("per_channel", "pgc_sum")])
def test_full_grad(path: Path, variant: str, key: str) -> None:
    arrays, images, labels = of_recording(path)
    found = extractor("full_grad", variant=variant)(recorded_method(arrays), images, labels)
    assert_as_recorded(found.maps, arrays[key], 1e-4)
    assert_as_recorded(found.logits, arrays["logits"], 1e-4)


@pytest.mark.parametrize("path", vectors.files("full_grad"))
def test_the_terms_of_full_grad_are_the_logit(path: Path) -> None:
    arrays, images, labels = of_recording(path)
    method = recorded_method(arrays)
    terms, logits = full_gradient_terms(method, images, labels)
    whole = sum(term.flatten(1).sum(1) for term in terms) + method.network.head.linear.bias.detach()[labels]  # type: ignore[union-attr]
    torch.testing.assert_close(whole, logits.gather(1, labels[:, None])[:, 0], rtol=1e-4, atol=1e-5)


# --- what they should be equal to -------------------------------------------------------------------------------------


def batch(images: int = 3, side: int = 32) -> tuple[Tensor, Tensor]:
    pixels = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))
    return pixels, torch.tensor([3, 0, 2])[:images]


def test_behind_average_pooling_ablation_is_the_weight_times_the_mean() -> None:
    """In double precision: the difference of two scores has few digits left in single, fewer on some processors."""
    method, (images, labels) = make("cam").eval().double(), batch()
    images = images.double()
    output, logits = output_at(method, "conv4", images, labels)
    score = logits.gather(1, labels[:, None])
    weight = method.network.head.linear.weight.detach()[labels] * output.mean(dim=(2, 3)) / score  # type: ignore[union-attr]
    ablated = ablated_scores(method, "conv4", images, labels, output, 32)
    torch.testing.assert_close((score - ablated) / score, weight, rtol=1e-4, atol=1e-6)


def test_at_the_last_block_x_grad_cam_is_grad_cam() -> None:
    method, (images, labels) = make("cam").eval(), batch()
    found, other = (extractor(name)(method, images, labels).maps for name in ("x_grad_cam", "grad_cam"))
    torch.testing.assert_close(found, other, rtol=1e-3, atol=1e-6)


def test_a_network_that_ignores_the_image_weights_all_channels_alike() -> None:
    method, (images, labels) = make("cam").eval(), batch()
    output, _ = output_at(method, "conv4", images, labels)
    with torch.no_grad():
        method.network.head.linear.weight.zero_()  # type: ignore[union-attr]
    for variant in ("softmax", "torchcam"):
        found = extractor("score_cam", variant=variant)(method, images, labels).maps
        torch.testing.assert_close(found, output.mean(dim=1).relu())


def test_eigen_cam_of_one_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    pattern, channels = torch.rand(2, 4, 5, generator=generator), torch.rand(2, 7, generator=generator)
    found = eigen_cam(channels[:, :, None, None] * pattern[:, None])
    centred = pattern - pattern.mean(dim=(1, 2), keepdim=True)
    expected = channels.norm(dim=1)[:, None, None] * centred
    turned = centred.amin(dim=(1, 2)).abs() > centred.amax(dim=(1, 2)).abs()
    torch.testing.assert_close(found, torch.where(turned[:, None, None], -expected, expected), rtol=1e-4, atol=1e-5)
    assert (eigen_cam(torch.full((1, 3, 2, 2), 5.0)) == 0).all()
    few = torch.rand(1, 3, 6, 6, generator=generator)  # fewer channels than cells, and the other way round
    many = few.flatten(2).transpose(1, 2).reshape(1, 36, 1, 3)
    assert eigen_cam(few).shape == (1, 6, 6) and torch.isfinite(eigen_cam(many)).all()


def test_without_noise_smooth_grad_cam_pp_is_one_pass() -> None:
    method, (images, labels) = make("cam").eval(), batch()
    output, gradient, _ = gradient_at(method, "conv3", images, labels)
    alpha = gradient**2 / (2 * gradient**2 + (gradient**3 * output).sum((2, 3), keepdim=True) + 1e-8)
    expected = ((alpha * gradient.relu()).sum((2, 3), keepdim=True) * output).sum(1).relu()
    found = extractor("smooth_grad_cam_pp", block="conv3", deviation=0.0, samples=2)(method, images, labels).maps
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("name", NEW)
def test_maps_do_not_depend_on_the_images_beside_them(name: str) -> None:
    method, (images, labels) = make("cam").double().eval(), batch()
    built = extractor(name)
    together = built(method, images.double(), labels).maps
    for index in range(len(images)):
        alone = built(method, images[index : index + 1].double(), labels[index : index + 1]).maps[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


@pytest.mark.parametrize("name", NEW)
def test_one_evaluation_mixes_them_with_the_others(name: str) -> None:
    method, (images, labels) = make("adl").eval(), batch()
    several = [extractor("cam"), extractor("bag_cams", block="conv3"), extractor(name), extractor("grad_cam")]
    alone: list[ScoreMaps] = [one(method, images, labels) for one in several]
    for own, shared in zip(alone, extract_together(several, method, images, labels), strict=True):
        torch.testing.assert_close(own.maps, shared.maps, rtol=1e-3, atol=1e-5 * float(own.maps.abs().max()))
    assert method.network.backbone._shared is None and method.network.backbone._replaced is None


def test_blocks_of_all_kinds_are_tapped_in_one_pass() -> None:
    method, (images, labels) = make("cam").eval(), batch()
    passes: list[int] = []
    method.network.backbone.blocks["conv1"].register_forward_hook(lambda *_: passes.append(1))
    several = [extractor("cam"), extractor("eigen_cam"), extractor("grad_cam"), extractor("eigen_cam", block="conv2")]
    assert len(extract_together(several, method, images, labels)) == len(several) and passes == [1]


@pytest.mark.parametrize("name", ["ablation_cam", "score_cam", "smooth_grad_cam_pp"])
def test_the_network_is_whole_again_after_an_exception(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, (images, labels) = make("cam").eval(), batch()
    first, whole, calls = extractor(name)(method, images, labels).maps, method.activate, list[int]()

    def activate(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return whole(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(method, "activate", activate)
        with pytest.raises(MemoryError):
            extractor(name)(method, images, labels)
    assert torch.equal(extractor(name)(method, images, labels).maps, first)


def test_full_grad_holds_a_few_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    method, (images, labels) = make("cam").eval(), batch()
    whole = extractor("full_grad")(method, images, labels)
    seen: list[int] = []

    def counted(of: Method, few: Tensor, own: Tensor) -> tuple[list[Tensor], Tensor]:
        seen.append(len(few))
        return full_gradient_terms(of, few, own)

    monkeypatch.setattr(full_grad, "AT_ONCE", 2)
    monkeypatch.setattr(full_grad, "full_gradient_terms", counted)
    few = extractor("full_grad")(method, images, labels)
    assert max(seen) == 2 and sum(seen) == len(images)
    torch.testing.assert_close(few.maps, whole.maps)
    torch.testing.assert_close(few.logits, whole.logits)


def test_wrong_blocks_and_curved_networks_are_refused() -> None:
    method, (images, labels) = make("cam").eval(), batch()
    for name in NEW[:-1]:
        with pytest.raises(InputError, match=r"no block 'conv9'"):
            extractor(name, block="conv9")(method, images, labels)
    method.network.backbone.blocks["conv2"] = nn.Sequential(method.network.backbone.blocks["conv2"], nn.GELU())
    with pytest.raises(InputError, match="full_grad needs a network of ReLUs, this one has GELU"):
        extractor("full_grad")(method, images, labels)
    with pytest.raises(InputError, match="does not classify by gradients, so full_grad has nothing to add up"):
        extractor("full_grad")(make("f_cam").eval(), images, labels)
    assert method.network.num_classes == CLASSES
