"""What is tried before anything is written or trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.preflight.checks import require_data, require_model
from tests.support.studies import experiment
from tests.support.tiny import TINY, Launch
from wsol import plugins, supervision
from wsol.errors import InputError

POINTLESS = "does not classify by the output of its block conv3, so there is no gradient"


def on(extractor: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {**changed, "evaluation": {**TINY["trial"]["evaluation"], "extractor": extractor}}


@pytest.mark.parametrize(
    "extractor",
    [
        {"name": "grad_cam", "block": "conv3"},
        {"name": "bag_cams", "block": "conv3"},
        {"name": "smooth_grad_cam_pp", "block": "conv3", "samples": 2},
    ],
    ids=lambda extractor: str(extractor["name"]),
)
def test_an_extractor_that_needs_a_gradient_is_tried_before_the_training(
    extractor: dict[str, Any], space_file: Path, launch: Launch
) -> None:
    with pytest.raises(InputError, match=POINTLESS):
        require_model(experiment(trial={**TINY["trial"], **on(extractor, method={"name": "few_shot"})}))
    require_model(experiment(trial={**TINY["trial"], **on(extractor)}))


def test_the_settings_of_the_grid_are_tried_too(space_file: Path, launch: Launch) -> None:
    grid = "post_hoc.evaluation.extractor=[{name: cam}, {name: grad_cam, block: conv3}]"
    code, _, error = launch("train", str(space_file), "method=few_shot", grid)
    assert code == 2 and "there is no gradient to make a map of" in error and not Path("runs").exists()


def test_an_extractor_with_a_pass_for_every_channel_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    score_cam = plugins.load("extractor", "score_cam")
    monkeypatch.setattr(score_cam, "logits_in_chunks", lambda *_: pytest.fail("ran"))
    require_model(experiment(trial={**TINY["trial"], **on({"name": "score_cam", "block": "conv3"})}))


def test_metrics_are_tried_before_images_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for decodes in ("training_images", "on_the_grid"):
        monkeypatch.setattr(supervision, decodes, lambda *_: pytest.fail("decoded"))
    evaluation = {**TINY["trial"]["evaluation"], "test_metrics": [{"name": "pxap"}]}
    with pytest.raises(InputError, match=r"evaluation\.test_metrics: pxap on test: "):
        require_data(experiment(trial={**TINY["trial"], "evaluation": evaluation}))
