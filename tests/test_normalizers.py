import cv2
import numpy as np
import pytest
import torch
from vectors_support import files, load

from wsol import plugins
from wsol.normalizers.min_max import min_max
from wsol.ops.resize import resize_maps


@pytest.fixture(params=plugins.names("normalizer"))
def normalizer(request):
    plugin = plugins.load("normalizer", request.param)
    return plugin.build(plugin.Config())


def test_maps_land_in_the_unit_range_and_the_input_is_left_alone(normalizer):
    maps = torch.randn(4, 9, 7, dtype=torch.float64) * 50
    kept = maps.clone()
    scaled = normalizer(maps)
    assert scaled.shape == maps.shape and scaled.dtype == maps.dtype
    assert scaled.min() >= 0 and scaled.max() <= 1
    assert torch.equal(maps, kept)


def test_every_map_is_scaled_on_its_own(normalizer):
    maps = torch.randn(3, 8, 8, dtype=torch.float64)
    assert torch.equal(normalizer(maps), torch.cat([normalizer(one[None]) for one in maps]))


@pytest.mark.parametrize("value", [0.0, 0.3, -1e30, float("nan"), float("inf"), float("-inf")])
def test_constant_and_broken_maps_become_zeros_and_harm_no_other(normalizer, value):
    maps = torch.randn(2, 6, 6, dtype=torch.float64)
    alone = normalizer(maps[1:])
    maps[0] = value
    assert not normalizer(maps)[0].any()
    if not np.isfinite(value):
        maps[0, 1:] = 0.5
        assert not normalizer(maps)[0].any()
    assert torch.equal(normalizer(maps)[1:], alone)


def test_gradients_are_finite(normalizer):
    maps = torch.randn(3, 6, 6, dtype=torch.float64)
    maps[0], maps[1, 0, 0] = 0.7, float("nan")
    maps.requires_grad_()
    normalizer(maps).square().sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert not maps.grad[:2].any() and maps.grad[2].any()


@pytest.mark.parametrize("path", files("score_map_normalization"))
def test_min_max_equals_the_recorded_one(path):
    case = load(path)
    scaled = min_max(torch.from_numpy(case["raw"]).double()).numpy()
    recorded = case["minmax"]
    broken = ~np.isfinite(recorded).all((1, 2))
    assert np.abs(scaled[~broken] - recorded[~broken]).max() <= 1e-12
    assert not scaled[broken].any()


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
    assert resized.min().item() == pytest.approx(-0.1107908504, abs=1e-10) and resized.max().item() == pytest.approx(0.9956864245, abs=1e-10)
    assert divmod(resized.argmax().item(), 224) == (87, 135)
    assert resized.sum().item() == pytest.approx(256) and (resized == 0).sum() == 46080
    pixels = (min_max(resized) * 255).int()
    assert pixels[resized == 0].unique().tolist() == [25]
    assert [(pixels > level).sum().item() for level in (0, 20, 37, 38, 51, 128, 254)] == [50136, 49024, 816, 808, 692, 308, 4]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((7, 7), (224, 224)), ((14, 14), (224, 224)), ((28, 28), (224, 224)), ((6, 10), (96, 160)), ((1, 4), (8, 32)), ((3, 3), (3, 3))],
)
def test_resize_equals_opencv(shape, size):
    raw = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    resized = resize_maps(torch.from_numpy(raw)[None], size)[0].numpy()
    expected = cv2.resize(raw.astype(np.float64), size[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(resized - expected).max() <= 1e-14
    assert np.array_equal(quantised(resized), quantised(expected))


def quantised(score_map):
    return (min_max(torch.from_numpy(score_map)[None]) * 255).int().numpy()


def test_resize_is_differentiable():
    raw = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: resize_maps(maps, (6, 5)), raw)
