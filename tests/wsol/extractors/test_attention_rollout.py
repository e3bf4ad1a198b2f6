"""Attention rollout: the recorded masks, and what is not as released."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support import vectors
from tests.support.recorded_tokens import Replayed
from wsol.contract.extracting import batch, extractor, make
from wsol.errors import InputError
from wsol.extractor import extract_together
from wsol.extractors.attention_rollout import Fusion, attention_rollout
from wsol.method import Method
from wsol.network import CamHead, Classifier


def row_by_hand(attentions: list[Tensor]) -> Tensor:
    """The class token's row for one image, one head and nothing dropped, block by block."""
    row = torch.eye(attentions[0].shape[-1])[:1]
    for attention in reversed(attentions):
        row = row @ ((attention + torch.eye(attention.shape[-1])) / 2)
    return row[0]


@pytest.mark.parametrize("discard", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("path", vectors.files("attention_rollout"))
def test_recorded_masks(path: Path, fusion: Fusion, discard: float) -> None:
    """The extractor on a transformer that has the recorded attention."""
    arrays = vectors.load(path)
    attention, recorded = torch.from_numpy(arrays["attention"]), torch.from_numpy(arrays[f"mask_{fusion}_{discard}"])
    cells = torch.zeros(attention.shape[1], recorded.numel(), 2)
    method = Method(Classifier(Replayed(cells, attention), CamHead(2, 3))).eval()
    images, labels = torch.zeros(len(cells), 3, *recorded.shape), torch.zeros(len(cells), dtype=torch.long)

    def maps(as_released: bool) -> Tensor:
        settings = {"fusion": fusion, "discard": discard, "as_released": as_released}
        return extractor("attention_rollout", **settings)(method, images, labels).maps

    torch.testing.assert_close(maps(as_released=True), recorded[None], rtol=0, atol=1e-5)
    corrected = maps(as_released=False)
    assert torch.allclose(corrected, recorded[None], atol=1e-5) == ((fusion, discard) == ("mean", 0.0))


def random_attentions(images: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, 2, 5, 5, generator=generator).softmax(3) for _ in range(3)]


def test_without_drops_it_is_a_product_whose_rows_sum_to_one() -> None:
    found = attention_rollout(random_attentions(), "mean", 0.0, as_released=False)
    for image in range(2):
        expected = row_by_hand([attention[image].mean(0) for attention in random_attentions()])
        torch.testing.assert_close(found[image], expected)
    torch.testing.assert_close(
        attention_rollout(random_attentions(), "max", 0.5, as_released=False).sum(1), torch.ones(2)
    )


def test_each_image_drops_its_own_entries() -> None:
    together = attention_rollout(random_attentions(), "mean", 0.6, as_released=False)
    for image in range(2):
        alone = [attention[image : image + 1] for attention in random_attentions()]
        torch.testing.assert_close(attention_rollout(alone, "mean", 0.6, as_released=False)[0], together[image])


def test_maps_of_a_network() -> None:
    built, (images, labels) = make("cam", "deit"), batch(3, 48)
    several = [
        extractor("attention_rollout", discard=0.5),
        extractor("attention_rollout", fusion="max"),
        extractor("grad_cam"),
    ]
    found = extract_together(several, built, images, labels)
    for scores, extract in zip(found, several, strict=True):
        torch.testing.assert_close(scores.maps, extract(built, images, labels).maps)
        torch.testing.assert_close(scores.logits, built.score_maps(images, labels).logits)
    assert found[0].maps.shape == (3, 3, 3)
    assert torch.equal(found[0].maps.amax(dim=(1, 2)), torch.ones(3)) and (found[0].maps >= 0).all()
    assert not torch.allclose(found[0].maps, found[1].maps)
    assert torch.equal(several[0](built, images, labels + 1).maps, found[0].maps), "it knows no class"


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="attention_rollout needs a transformer"):
        extractor("attention_rollout")(make("cam"), *batch())
