"""In what the rows of a comparison differ, in few words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.comparison.cell import cell, interval_of_mean
from orchestrator.comparison.differences import differences
from orchestrator.comparison.rows import comparison_rows
from orchestrator.comparison.tables import FORMATS, seeds_in_words
from tests.support.tested_runs import METRIC, config, make_run, seeds
from tests.support.tiny import Launch


def evaluated(**changes: Any) -> dict[str, Any]:
    return config(evaluation={**config()["evaluation"], **changes})


CAM, PAS = {"name": "cam"}, {"name": "pas", "percentile": 45.0}


CROP = {"name": "crop_cam", "normalizer": CAM, "own": True}
IVR = {"name": "crop_cam", "normalizer": {"name": "ivr"}, "own": False}
LARGE = {**config()["data"], "root": "/elsewhere", "image_size": 320}


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([config(), config(seed=3)], [(), ()]),
        (
            [evaluated(), evaluated(extractor={"name": "grad_cam", "block": "layer4"}), evaluated(normalizer=PAS)],
            [("cam", "min_max"), ("grad_cam", "min_max"), ("cam", "pas")],
        ),
        (
            [evaluated(normalizer=PAS), evaluated(normalizer={**PAS, "percentile": 30.5})],
            [("percentile=45",), ("percentile=30.5",)],
        ),
        (  # what another plugin has does not count, and what another method learned with neither
            [config(optim={"lr": 0.1}), config(method={"name": "has", "cell_size": 8}, optim={"lr": 0.2})],
            [(), ()],
        ),
        ([config(optim={"lr": 0.1}), config(optim={"lr": 0.2})], [("lr=0.1",), ("lr=0.2",)]),
        (
            [config(training={"epochs": 10}), config(training={"epochs": 50}, method={"name": "has"})],
            [("epochs=10",), ("epochs=50",)],
        ),
        (  # a short name is enough where it is clear
            [
                config(method=CROP, evaluation={"normalizer": CAM}),
                config(method=IVR, evaluation={"normalizer": PAS}),
            ],
            [
                ("evaluation.normalizer=cam", "method.normalizer=cam", "own=true"),
                ("evaluation.normalizer=pas", "method.normalizer=ivr", "own=false"),
            ],
        ),
        ([config(initial_run="runs/da"), config()], [("from da",), ()]),
        ([config(data=LARGE), config()], [("image_size=320",), ("image_size=224",)]),
        ([config(evaluation={}), config()], [(), ()]),  # an older run has fewer settings
    ],
)
def test_what_sets_rows_apart(configs: list[dict[str, Any]], expected: list[tuple[str, ...]]) -> None:
    assert differences(configs) == expected


def test_three_runs_of_cam_with_other_extractors_are_told_apart(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("cam", "gradcam", "layercam")
    settings = [evaluated(extractor={"name": name})["evaluation"] for name in names]
    runs = [str(make_run(tmp_path / f"run{place}", 60.0, evaluation=one)) for place, one in enumerate(settings)]
    code, out, err = launch("compare", *runs)
    assert code == 0, err
    below = [line.split("  ")[0].strip() for line in out.splitlines() if line.startswith(" cam")]
    assert below == [f"cam, {name}" for name in names]
    for form in ("markdown", "html", "latex", "csv"):
        text = launch("compare", *runs, "--format", form)[1]
        assert "differs" in text and all(name in text for name in names[1:])


def test_of_two_seeds_both_values_are_shown(tmp_path: Path) -> None:
    """Of two the interval would be 13 times as wide as they lie apart, and leave what the metric can be."""
    (row,) = comparison_rows(seeds(tmp_path, "cam", (48.2, 57.6)), [METRIC], "test")
    assert row.cells[METRIC].seed_interval is None and seeds_in_words(row.cells[METRIC]) == "48.20, 57.60"
    assert "2 seeds: 48.2, 57.6" in FORMATS["markdown"]([row])
    assert "48.2 57.6" in FORMATS["csv"]([row])


def test_an_interval_over_seeds_stays_inside_of_the_metric() -> None:
    assert interval_of_mean([99.0, 90.0, 99.9])[1] == 100  # type: ignore[index]
    assert interval_of_mean([0.5, 9.0, 0.1])[0] == 0  # type: ignore[index]
    assert interval_of_mean([99.0, 90.0, 99.9], math.inf)[1] > 100  # type: ignore[index]
    replicates = np.zeros(3)
    of_each = [(value, replicates) for value in (99.0, 90.0, 99.9)]
    assert cell("top1", of_each, None).seed_interval[1] == 100  # type: ignore[index]
    assert cell("loss/classification", of_each, None).seed_interval[1] > 100  # type: ignore[index]
