"""How much the defaults that differ from the released codes change, on random inputs: the numbers on the methods'
pages."""

from __future__ import annotations

import torch

from tests.support import vectors
from tests.support.crop_cam import evaluated_network
from tests.support.da_wsol import make
from wsol import build
from wsol.methods import crop_cam, da_wsol
from wsol.normalizers.min_max import min_max
from wsol.ops import crop

TAUS = (0.15, 0.35, 0.5, 0.65, 0.75)


def noise(*shape: int, side: int) -> torch.Tensor:
    """Random numbers, enlarged to `side`."""
    return crop.enlarge(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), (side, side))


def told(page: str | None) -> str:
    """The text of a page without line breaks."""
    return " ".join((page or "").split())


def test_the_released_box_of_several_components() -> None:
    maps = min_max(noise(300, 7, 7, side=28))
    counts = []
    for tau in TAUS:
        masks = maps > tau * maps.amax((1, 2), keepdim=True)
        own, other = (crop.squared(find(masks), (28, 28)) for find in (crop.enclosing_boxes, crop.legacy_boxes))
        counts.append(int((own != other).any(1).sum()))
    *first, last = map(str, counts)
    text = f"in {', '.join(first)} and {last} of 300 random maps at tau 0.15, 0.35, 0.5, 0.65 and 0.75"
    assert f"{text} ({sum(counts)} of 1,500)" in told(crop_cam.__doc__)


def test_the_released_ivr_in_evaluation() -> None:
    vector = vectors.load(vectors.OWN / "crop_cam_evaluation" / "ivr_p0.3_threshold0.5_area0.3.npz")
    images, labels, network = 2 * noise(40, 3, 9, 9, side=64), torch.arange(40) % 5, evaluated_network(vector)
    paper, released = (
        build.around(
            crop_cam.Config(
                crop_threshold=0.5,
                max_crop_area=1.0,
                normalizer={"name": "ivr", "lower_percentile": 0.3, "form": form},
            ),
            network,
        ).eval()
        for form in ("paper", "crop_cam")
    )
    maps, others = (min_max(method.score_maps(images, labels).maps) for method in (paper, released))
    counts = ((maps - others).abs().amax((1, 2)) > 1 / 255).sum()
    assert f"differ in {counts} of 40 random images" in told(crop_cam.__doc__)


def test_the_released_order_of_anchors() -> None:
    vector = vectors.load(vectors.OWN / "target_sample_assignment" / "three_steps.npz")
    classes, channels = vector["step0_class_centers_after"].shape
    methods = [make(channels, classes, anchor_update=update) for update in ("batch", "image")]
    shares = []
    for index in range(3):
        features, labels = (torch.from_numpy(vector[f"step{index}_{name}"]) for name in ("pixel_feature", "labels"))
        own, other = (method.split(features.flatten(2).mT, [labels])[0] for method in methods)
        shares.append((own != other).double().mean().item())
    *first, last = (f"{100 * share:.0f}" for share in shares)
    text = f"{', '.join(first)} and {last} % of the cells are in another cluster in three recorded steps"
    assert text in told(da_wsol.__doc__)
