"""Bicubic resize: by hand, and against OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from tests.support.normalizing import quantised
from wsol.normalizers.min_max import min_max
from wsol.ops.resize import resize_maps

RAW = [[0, 1], [2, 5]]
RESIZED = [
    [-0.2941589355, -0.0321655273, 0.3993530273, 0.6613464355],
    [0.2998657227, 0.7823486328, 1.5770263672, 2.0595092773],
    [1.2782592773, 2.1239013672, 3.5167236328, 4.3623657227],
    [1.8722839355, 2.9384155273, 4.6943969727, 5.7605285645],
]
EIGHT_BIT = [[0, 11, 29, 40], [25, 45, 78, 99], [66, 101, 160, 196], [91, 136, 210, 255]]


def test_resize_and_min_max_of_a_small_map():
    resized = resize_maps(torch.tensor([RAW], dtype=torch.float32), (4, 4))
    assert resized.dtype == torch.float64
    assert np.allclose(resized[0], RESIZED, rtol=0, atol=1e-10)
    assert (min_max(resized)[0] * 255).int().tolist() == EIGHT_BIT


def test_resize_and_min_max_of_one_peak():
    raw = torch.zeros(1, 14, 14)
    raw[0, 5, 8] = 1
    resized = resize_maps(raw, (224, 224))
    assert resized.min().item() == pytest.approx(-0.1107908504, abs=1e-10) and resized.max().item() == pytest.approx(
        0.9956864245, abs=1e-10
    )
    assert divmod(resized.argmax().item(), 224) == (87, 135)
    assert resized.sum().item() == pytest.approx(256) and (resized == 0).sum() == 46080
    pixels = (min_max(resized) * 255).int()
    assert pixels[resized == 0].unique().tolist() == [25]
    assert [(pixels > level).sum().item() for level in (0, 20, 37, 38, 51, 128, 254)] == [
        50136,
        49024,
        816,
        808,
        692,
        308,
        4,
    ]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((7, 7), (224, 224)),
        ((14, 14), (224, 224)),
        ((28, 28), (224, 224)),
        ((6, 10), (96, 160)),
        ((1, 4), (8, 32)),
        ((3, 3), (3, 3)),
    ],
)
def test_resize_equals_opencv(shape, size):
    raw = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    resized = resize_maps(torch.from_numpy(raw)[None], size)[0].numpy()
    expected = cv2.resize(raw.astype(np.float64), size[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(resized - expected).max() <= 1e-14
    assert np.array_equal(quantised(resized), quantised(expected))


def test_resize_is_differentiable():
    raw = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: resize_maps(maps, (6, 5)), raw)
