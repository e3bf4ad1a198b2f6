"""How many epochs a search would save if trials that differ only in what acts later trained their common epochs once.

    python -m benchmarks.prefix_sharing

For every space of CropCAM and Bridging the Gap, 30 random trials are drawn with 50 seeds. Two trials have in common the
epochs before either's crops or losses begin, if all values outside `method` agree. This is an upper bound: some values
of `method` act from the first step on. The second column leaves out that learning rates differ, which they always do
where they are drawn from a range.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.paths import Values
from wsol.config import TrainConfig

TRIALS, SEEDS = 30, 50
SPACES = sorted(Path("search_spaces").glob("crop*.yaml")) + sorted(Path("search_spaces").glob("bridging*.yaml"))


def main() -> None:
    """Print a line for each space."""
    print(f"{'space':<28}{'epochs':>7}{'shared':>9}{'rates alike':>13}")
    for path in SPACES:
        experiment = load_experiment(path).experiment
        shares = [[shared(experiment, seed, rates) for seed in range(SEEDS)] for rates in (False, True)]
        own, alike = (f"{np.mean(found):.1%}" for found in shares)
        print(f"{path.stem:<28}{experiment.trial.training.epochs:>7}{own:>9}{alike:>13}", flush=True)


def shared(experiment: Experiment, seed: int, rates_alike: bool) -> float:
    """The share of a search's epochs that an earlier trial has trained already."""
    space, base = experiment.space(), experiment.base()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    points = [space.suggest(study.ask(), base) for _ in range(TRIALS)]
    starts = [first_epoch(experiment.configure(point)) for point in points]
    early = [outside_method(point, rates_alike) for point in points]
    saved = 0
    for place in range(TRIALS):
        saved += max((min(starts[place], starts[k]) - 1 for k in range(place) if early[k] == early[place]), default=0)
    return saved / (TRIALS * experiment.trial.training.epochs)


def first_epoch(config: TrainConfig) -> int:
    """The epoch (1-based) in which what is put off begins; 1 if nothing is."""
    method = config.method.model_dump()
    warmup = round(method.get("warmup_fraction", 0) * config.training.epochs) + 1
    return max(int(method.get("start_epoch", 1)), warmup)


def outside_method(point: Values, rates_alike: bool) -> Values:
    """The values of a point that act from the first step on."""
    return {
        path: value
        for path, value in point.items()
        if not path.startswith("method.") and not (rates_alike and path == "optim.lr")
    }


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    main()
