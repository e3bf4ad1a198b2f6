"""What is measured of an exported winner: as it was and as chosen, beside its rivals, and what a failure leaves."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.experiment.model import Experiment
from orchestrator.formats import to_yaml
from orchestrator.runs import names
from orchestrator.runs.scores import read_scores
from orchestrator.study.checkpoints import Rival
from orchestrator.winner import measure as measuring
from orchestrator.winner.measure import MeasureRequest, measure
from orchestrator.winner.rivals import shares_of_first
from tests.support.tiny import TINY
from wsol import build, plugins
from wsol.checkpoint import Checkpoints, write_state
from wsol.config import TrainConfig
from wsol.files import sha256
from wsol.scoring import Scores, score

METRIC = "max_box_acc_v2"
PAS: dict[str, Any] = {"name": "pas", "percentile": 60.0}
GRID = {"evaluation.normalizer": [{"name": "min_max"}, PAS, {"name": "pas", "percentile": 5.0}]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose winner is a network with random weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "best").mkdir(parents=True)
    (tmp_path / "run" / names.WINNER_CONFIG).write_text(to_yaml(config().model_dump(mode="json")))
    write_state(tmp_path / "run" / names.WINNER_WEIGHTS, {"method": weights(1)})
    return tmp_path / "run"


def config(**evaluation: Any) -> TrainConfig:
    trial = copy.deepcopy(TINY["trial"])
    trial["evaluation"] = {"threshold_step": 0.01, **evaluation}
    return Experiment.model_validate({**TINY, "trial": trial}).trial


def weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build.method(config(), 2).state_dict()


def scored(seed: int, of: TrainConfig, split: str = "train_fullsup", chosen: dict[str, float] | None = None) -> Scores:
    dataset = build.dataset(of.data)
    method = build.trained_method(of, weights(seed), dataset.num_classes)
    return score(method, build.images(dataset, split, of.data), of.evaluation, chosen)


def request(folder: Path, split: str = "train_fullsup", **asked: Any) -> MeasureRequest:
    return MeasureRequest(folder, split, sha256(folder / names.WINNER_WEIGHTS), METRIC, **asked)


def rival(folder: Path, number: int, seed: int, of: TrainConfig) -> Rival:
    place = folder / "trials" / f"{number:04d}"
    record = {"epoch": 1.0, "objective_now": 1.0, "objective": 1.0}
    Checkpoints(place, of).save({"method": weights(seed)}, record, best=True)
    return Rival(number, of, place)


def test_the_winner_is_measured_as_it_was_and_as_chosen(folder: Path) -> None:
    each = [scored(1, config(normalizer=one)).metrics for one in GRID["evaluation.normalizer"]]
    values = [metrics[METRIC] for metrics in each]
    best = values.index(max(values))
    assert len(set(values)) > 1 and best > 0, "otherwise nothing is chosen"
    found = measure(request(folder, post_hoc=GRID))
    assert found.own == each[0] and found.metrics == each[best]
    assert [setting.metrics[METRIC] for setting in found.settings] == values
    assert found.config == config(normalizer=GRID["evaluation.normalizer"][best])
    plain = measure(request(folder))
    assert plain.own == plain.metrics == each[0] and plain.settings == [] and plain.first == {}


def test_settings_of_the_method_are_scored_with_a_method_that_has_them(folder: Path) -> None:
    crop = plugins.load("method", "crop_cam").Config(name="crop_cam", crop_threshold=0.3)
    of = config().model_copy(update={"method": crop})
    torch.manual_seed(3)
    state = build.method(of, 2).state_dict()
    (folder / names.WINNER_CONFIG).write_text(to_yaml(of.model_dump(mode="json")))
    write_state(folder / names.WINNER_WEIGHTS, {"method": state})
    settings = measure(request(folder, post_hoc={"method.max_crop_area": [0.0, 1.0]})).settings
    dataset = build.dataset(of.data)
    images = build.images(dataset, "train_fullsup", of.data)
    each = [score(build.trained_method(one.config, state, 2), images, of.evaluation).metrics for one in settings]
    assert [setting.metrics for setting in settings] == each
    assert len({metrics[METRIC] for metrics in each}) > 1


def test_rivals_are_scored_by_their_own_settings_beside_the_winner_as_it_was(folder: Path) -> None:
    other = config(normalizer=PAS)
    rivals = [rival(folder, 3, 0, config()), rival(folder, 5, 3, other)]
    each = [scored(1, config()), scored(0, config()), scored(3, other)]
    shares = shares_of_first([scores.replicates[METRIC] for scores in each])
    found = measure(request(folder, post_hoc=GRID, rivals=rivals))
    assert found.first == {"winner": shares[0], "3": shares[1], "5": shares[2]}
    chosen = shares_of_first(
        [scored(1, found.config).replicates[METRIC], *(one.replicates[METRIC] for one in each[1:])]
    )
    assert shares != chosen, "otherwise it could be the winner as chosen"


def test_trials_that_are_level_share_a_draw_and_undefined_draws_count_for_none() -> None:
    nan = float("nan")
    draws = [[5.0, 7.0, 7.0, nan], [5.0, 6.0, 8.0, 9.0], [4.0, 7.0, 1.0, 9.0]]
    shares = shares_of_first([np.array(one) for one in draws])
    assert shares == pytest.approx([1 / 3, 1 / 2, 1 / 6]) and sum(shares) == pytest.approx(1)


def test_thresholds_of_train_fullsup_give_the_fixed_numbers_of_test(folder: Path) -> None:
    chosen = measure(request(folder)).metrics
    found = measure(request(folder, "test", chosen=chosen)).metrics
    assert found == scored(1, config(), "test", chosen).metrics
    assert {name for name in found if "fixed" in name} and not [name for name in chosen if "fixed" in name]


def test_what_is_cut_off_leaves_no_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "write_gallery", cut)
    with pytest.raises(KeyboardInterrupt):
        measure(request(folder, pictures=True))
    assert sorted(path.name for path in (folder / "best").iterdir()) == ["config.yaml", "weights.pt"]
    measure(request(folder))
    assert (folder / "best" / "scores-train_fullsup.npz").exists()


def test_the_numbers_of_a_look_at_test_are_left_with_their_key(folder: Path) -> None:
    measured = measure(request(folder, split="test", look="5eed"))
    left = read_scores(folder / names.WINNER, "test")
    assert left.look == "5eed" and left.numbers == measured.record() and left.numbers["metrics"] == measured.metrics
    assert set(left.numbers["intervals"]) == set(left.replicates)
