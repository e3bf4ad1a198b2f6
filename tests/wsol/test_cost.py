"""What is measured of a configuration so that it takes neither minutes nor much memory."""

from __future__ import annotations

from typing import Any

import pytest

from wsol import build, cost
from wsol.config import TrainConfig
from wsol.data.dataset import Sizes
from wsol.method import Method


@pytest.mark.parametrize(("of_an_image", "expected", "measured"), [(1.0, 40.0, [4]), (0.1, 4.0, [4, 40])])
def test_a_part_of_a_slow_step_is_measured_on_a_cpu(
    of_an_image: float, expected: float, measured: list[int], config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def batch(method: Method, config: TrainConfig, images: Any) -> float:
        seen.append(len(images))
        return len(images) * of_an_image

    monkeypatch.setattr(cost, "_seconds_of_batch", batch)
    monkeypatch.setattr(cost, "_seconds_of_evaluation", lambda method, config, images: 0.5)
    large = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": 40})})
    found = cost.seconds(build.method(large, 2), large, Sizes(2, 50, 2, 2), workers=1, threads=1)
    assert found.step == pytest.approx(expected) and seen == measured


@pytest.mark.parametrize(
    ("taken", "expected"), [([9, 1], 9), ([4, 2, 3, 1], 2), ([4, 2, 1, 1.5, 0], 1), ([4, 9, 1], 9)]
)
def test_a_slow_measurement_is_not_repeated(taken: list[float], expected: float) -> None:
    assert cost._settled(iter(taken).__next__) == expected
