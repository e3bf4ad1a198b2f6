"""Normalizers: the recorded numbers, maps of ten values, and what does not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.normalizing import build
from tests.support.vectors import files, load
from wsol.contract.found import NORMALIZERS
from wsol.normalizers.ivr import ivr
from wsol.normalizers.min_max import min_max


def recorded_as(key):
    """The normalizer whose results are recorded under a key."""
    if key.startswith("ivr_"):
        return build("ivr", lower_percentile=float(key.removeprefix("ivr_")))
    return build({"minmax": "min_max"}.get(key, key))


@pytest.mark.parametrize("path", files("score_map_normalization"))
def test_normalizers_equal_the_recorded_ones(path):
    case = load(path)
    raw = torch.from_numpy(case.pop("raw")).double()
    assert {"minmax", "max", "pas"} <= case.keys()
    for key, recorded in case.items():
        scaled = recorded_as(key)(raw).numpy()
        finite = np.isfinite(recorded)
        assert scaled.shape == recorded.shape and finite.any()
        assert np.abs(scaled[finite] - recorded[finite]).max() <= 1e-12, key
        assert not scaled[~finite].any()


TEN = [-1, 0, 1, 3, 0.5, 2, -0.5, 1.5, 0.25, 2.5]
MIN_MAX_OF_TEN = [0, 0.25, 0.5, 1, 0.375, 0.75, 0.125, 0.625, 0.3125, 0.875]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("min_max", {}, MIN_MAX_OF_TEN),
        ("max", {}, [0, 0, 1 / 3, 1, 1 / 6, 2 / 3, 0, 1 / 2, 1 / 12, 5 / 6]),
        ("pas", {}, MIN_MAX_OF_TEN),
        ("pas", {"percentile": 70}, [0, 1 / 3, 2 / 3, 1, 1 / 2, 1, 1 / 6, 5 / 6, 5 / 12, 1]),
        ("ivr", {"lower_percentile": 0.3}, [0, 0, 3 / 11, 1, 1 / 11, 7 / 11, 0, 5 / 11, 0, 9 / 11]),
        ("none", {}, [0, 0, 1, 1, 0.5, 1, 0, 1, 0.25, 1]),
    ],
)
def test_ten_values(name, values, expected):
    scaled = build(name, **values)(torch.tensor(TEN, dtype=torch.float64).reshape(1, 2, 5))
    assert scaled.flatten().tolist() == pytest.approx(expected, abs=1e-15)


SCALING = [variant for variant in NORMALIZERS if variant[0] != "none"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(SCALING),
    st.floats(5, 100),
    st.floats(0, 0.9375, width=16),  # what a field holds: no number that is 0 in single precision
    st.floats(1e-6, 1e6),
    st.floats(-100, 100),
)
def test_only_the_shape_of_a_map_matters(seed, variant, percentile, lower_percentile, scale, shift):
    name, values = variant
    chosen = {"pas": {"percentile": percentile}, "ivr": {"lower_percentile": lower_percentile}}.get(name, {})
    normalize = build(name, **values, **chosen)
    maps = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 7, 9)))
    scaled = normalize(maps)
    assert scaled.min() >= 0 and scaled.max() <= 1
    order = maps.flatten(1).argsort(1)
    assert (scaled.flatten(1).gather(1, order).diff(dim=1) >= 0).all()
    if not values:
        assert scaled.amax((1, 2)).tolist() == [1, 1]
        assert torch.allclose(normalize(maps * scale), scaled, rtol=0, atol=1e-12)
        if name != "max":
            assert torch.allclose(normalize(maps + shift), scaled, rtol=0, atol=1e-10)


def test_at_their_neutral_setting_pas_and_ivr_are_min_max():
    maps = torch.randn(3, 11, 13, dtype=torch.float64)
    for neutral in (
        build("pas", percentile=100),
        build("pas", percentile=100, quantised=True),
        build("ivr", lower_percentile=0.0),
    ):
        assert torch.equal(neutral(maps), min_max(maps))


def test_negative_values_are_background_for_max():
    maps = torch.tensor([[[-4.0, 2.0]], [[-4.0, -2.0]], [[-4.0, 0.0]]])
    assert build("max")(maps).tolist() == [[[0, 1]], [[0, 0]], [[0, 0]]]


def test_a_percentile_at_the_other_end_of_the_map_gives_zeros():
    peak = torch.zeros(2, 10, 10)
    peak[0, 3, 4] = 1
    peak[1] = 1 - peak[0]
    assert not build("pas")(peak[:1]).any() and not build("ivr")(peak[1:]).any()
    assert torch.equal(build("ivr")(peak[:1]), peak[:1]) and torch.equal(build("pas")(peak[1:]), peak[1:])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pas", {"percentile": 0.0}),
        ("pas", {"percentile": 100.5}),
        ("ivr", {"lower_percentile": 1.0}),
        ("ivr", {"percentile": 0.5}),
    ],
)
def test_settings_out_of_range_are_refused(name, values):
    with pytest.raises(ValidationError):
        build(name, **values)


def test_ivr_as_inside_of_the_released_crop_cam() -> None:
    maps = torch.tensor([-1, 0, 1, 3, 0.5, 2, -0.5, 1.5, 0.25, 2.5], dtype=torch.float64).reshape(1, 2, 5)
    expected = [0, 0, 0.25, 0.9167, 0.0833, 0.5833, 0, 0.4167, 0, 0.75]
    assert ivr(maps, 0.3, "crop_cam").flatten().tolist() == pytest.approx(expected, abs=1e-4)
    assert (ivr(-maps.abs() - 1, 0.3, "crop_cam") == 0).all()  # the maximum is not positive
