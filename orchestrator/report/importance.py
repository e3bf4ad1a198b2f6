"""How much each searched parameter matters."""

from __future__ import annotations

import importlib
import logging
import math
import sys
import threading
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna


IMPORTANCE_MIN_TRIALS = 4


IMPORTANCE_SECONDS = 10.0


def importance(study: optuna.Study | None) -> dict[str, float]:
    """Search path -> share of the objective's variation among good trials (PED-ANOVA), largest first, summing to 1.

    Empty with fewer than four complete trials, when it cannot be computed, or when it takes longer than ten seconds.
    """
    found: dict[str, float] = {}

    def compute(study: optuna.Study) -> None:
        sign = -1 if study.directions[0].name == "MAXIMIZE" else 1  # the evaluator asks what makes a target low
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                evaluator = importances.PedAnovaImportanceEvaluator()
                found.update(
                    importances.get_param_importances(
                        study, evaluator=evaluator, target=lambda trial: sign * trial.values[0]
                    )
                )
        except Exception as error:  # a report without bars is better than none
            logging.getLogger(__name__).debug("no parameter importance: %s", error)

    if (
        study is None
        or sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < IMPORTANCE_MIN_TRIALS
    ):
        return {}
    importances = _optuna_importance()  # loading it does not count
    worker = threading.Thread(target=compute, args=(study,), daemon=True)
    worker.start()
    worker.join(IMPORTANCE_SECONDS)
    return {} if worker.is_alive() else {path: share for path, share in found.items() if math.isfinite(share)}


def _optuna_importance() -> ModuleType:
    """`optuna.importance` without scikit-learn, which takes longer than the whole report, and which only other
    evaluators need: whoever wants those in the same process still gets the whole of it."""
    import optuna

    if "sklearn" in sys.modules or "optuna.importance" in sys.modules:
        return importlib.import_module("optuna.importance")
    former = vars(optuna)["importance"]
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("optuna.importance")
    finally:
        vars(optuna)["importance"] = former
        for name in ["sklearn", *(name for name in sys.modules if name.startswith("optuna.importance"))]:
            sys.modules.pop(name, None)
