"""How much each parameter matters, against Optuna's own evaluator."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import warnings
from pathlib import Path

import optuna
import pytest

from orchestrator.report.importance import importance
from tests.support.paths import ROOT
from tests.support.recorded_runs import complete_trial, make_run


def run_study(seed: int, trials: int, direction: str) -> optuna.Study:
    """Trials over every kind of range: logarithmic, in steps, of more whole numbers than the grid has steps, choices,
    one value, a parameter that only some trials have, one that has another range in some; few distinct values."""
    noise = random.Random(seed)

    def value(trial: optuna.Trial) -> float:
        reached = 3 * math.log10(trial.suggest_float("lr", 1e-5, 1e-1, log=True))
        reached += trial.suggest_int("size", 8, 64) / 40 + math.log(trial.suggest_int("width", 1, 1000, log=True))
        reached += trial.suggest_float("share", 0, 1, step=0.1) * noise.random()
        reached += trial.suggest_int("every", 2, 30, step=7) / 9 + trial.suggest_float("same", 2, 2)
        name = trial.suggest_categorical("name", ["x", "y", None, 3.5])
        reached += 4 * trial.suggest_float("only_y", -1, 1) if name == "y" else 0
        reached += trial.suggest_float("ranged", 0, 2 if name == "x" else 5)
        if noise.random() < 0.05:
            raise optuna.TrialPruned
        return round(reached, noise.choice([0, 3]))

    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(value, n_trials=trials)
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("trials", [6, 20, 100, 300])
@pytest.mark.parametrize("seed", range(3))
def test_the_shares_are_those_of_optuna(seed: int, trials: int, direction: str) -> None:
    pytest.importorskip("sklearn")
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study, sign = run_study(seed, trials, direction), -1 if direction == "maximize" else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator()
        expected = get_param_importances(study, evaluator=evaluator, target=lambda trial: sign * trial.values[0])
    found = importance(study)
    assert found == pytest.approx(expected, abs=1e-9) and sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_importance_asks_what_makes_trials_good() -> None:
    """`near` decides among the good trials only, `far` among the bad ones only."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(
        lambda trial: _plateau(trial.suggest_float("near", 0, 1), trial.suggest_float("far", 0, 1)), n_trials=200
    )
    assert next(iter(importance(study))) == "near"


def _plateau(near: float, far: float) -> float:
    return 10 + near if far > 0.3 else -10 * (1 - far)


def test_importance_needs_four_trials(tmp_path: Path) -> None:
    study = make_run(tmp_path / "a")
    for value in (50.0, 55.0, 60.0):
        complete_trial(study, value)
    assert importance(study) == {}
    complete_trial(study, 65.0)
    assert sum(importance(study).values()) == pytest.approx(1)


def test_equal_trials_make_all_parameters_alike() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: 0 * (trial.suggest_float("a", 0, 1) + trial.suggest_float("b", 0, 1)), n_trials=5)
    assert importance(study) == {"a": 0.5, "b": 0.5}


def test_the_report_does_not_load_scikit_learn(tmp_path: Path) -> None:
    study = make_run(tmp_path / "many")
    for value in range(8):
        complete_trial(study, 50.0 + value)
    code = f"""
import sys
from pathlib import Path
from orchestrator.report.importance import importance
from orchestrator.report.page import write_report
from orchestrator.runs.summary import read_summary
folder = Path({str(tmp_path / "many")!r})
before = dict(sys.modules)
write_report(folder)
assert importance(read_summary(folder).study) and "sklearn" not in sys.modules
assert all(sys.modules[name] is module for name, module in before.items())
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
