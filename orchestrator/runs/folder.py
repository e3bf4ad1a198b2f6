"""The run folder: what is written where, so that a search can be resumed, reported and repeated from the folder alone.

experiment.yaml  study.json  study.journal    what was asked for, with what; the trials
packages.txt     code.diff                    what was installed; what was changed since the commit, if anything
trials/0000/     config.yaml, checkpoints, TensorBoard events
trials.csv       best.yaml                    the trials as a table; the winner as a file for `train`
best/            config.yaml, weights.pt, result.json, pictures
test.json        every evaluation on the test split that ever was
report.html
"""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.foreign import packages_of, require_installed, requirements, to_install
from orchestrator.experiment.load import Loaded, parse_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.formats import csv_cell, settings_in_words, timestamp, to_yaml
from orchestrator.runs import names
from orchestrator.runs.header import FORMAT, RunHeader, read_header, update_header
from orchestrator.runs.provenance import command, git, versions, write_provenance
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from wsol.config import TrainConfig


def create_run(folder: Path, loaded: Loaded, kind: str, **facts: Any) -> RunHeader:
    """Make a folder, which this process has locked, the run folder of an experiment; returns its header.

    Args:
        folder: holds no run, see `orchestrator.runs.lock.owned_new`.
        loaded: the experiment, after overrides.
        kind: see `RunHeader`.
        facts: entries of the header that only the caller knows.
    """
    experiment = loaded.experiment
    write_experiment(folder, experiment, f"The experiment of this run, complete. From {loaded.source}.")
    write_provenance(folder)
    header = RunHeader(
        study_name=folder.resolve().name,
        name=loaded.name,
        kind=kind,
        source=loaded.source,
        objective=experiment.study.objectives[0],
        objectives=tuple(experiment.study.objectives),
        trials=experiment.study.trials,
        sampler=experiment.study.sampler,
        scheduler=experiment.study.scheduler,
        seed=experiment.study.seed,
        workers=experiment.resources.workers,
        started=timestamp(),
        command=command(),
        git=git(),
        versions=versions(packages_of(experiment)),
        plugins=requirements(experiment) or None,
    )
    return dataclasses.replace(header, **facts)


def change_study(folder: Path, experiment: Experiment) -> None:
    """Record the bounds of a study that were changed on resume; its resources stay as they were at the beginning."""
    study = {"study": experiment.study}
    title = f"The experiment of this run, complete. Its study was changed on resume, {timestamp()}."
    write_experiment(folder, open_experiment(folder).model_copy(update=study), title)
    update_header(folder, trials=experiment.study.trials, ended=None)


def write_experiment(folder: Path, experiment: Experiment, title: str) -> None:
    """Write `experiment.yaml`."""
    write_text(
        folder / names.EXPERIMENT,
        f"# {title}\n{to_install(experiment)}{to_yaml(experiment.model_dump(mode='json', exclude_defaults=False))}",
    )


def require_no_run(folder: Path) -> None:
    """Raises InputError if a folder holds a run."""
    if (folder / names.HEADER).exists():
        raise InputError(
            f"{folder}: holds a run already; go on with `python launch.py resume {folder}` or choose another folder"
            " with --run"
        )


def open_experiment(folder: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        InputError: the folder holds no run, or one of another version.
    """
    path = folder / names.EXPERIMENT
    if not path.exists() or not (folder / names.HEADER).exists():
        raise InputError(f"{folder}: holds no run (no {names.EXPERIMENT} and {names.HEADER})")
    header = read_header(folder)
    made = f"{folder} was made by commit {(header.git or {}).get('commit', 'unknown')}"
    if header.format != FORMAT:
        raise InputError(
            f"{made}, its format is {header.format}, this program reads {FORMAT}: go on with the version that made it,"
            " or start a new run"
        )
    require_plugins(folder, header)
    try:
        return parse_experiment(path.read_text(), str(path))
    except InputError as error:
        raise InputError(f"{error}\n{made}: go on with the version that made it, or correct the file") from None


def require_plugins(folder: Path, header: RunHeader | None = None) -> None:
    """Raises InputError where a plugin that a run uses is of a package that is not installed here.

    Args:
        folder: of the run; a folder without a header asks for nothing.
        header: of the run, where it was read already.
    """
    if header is None and (folder / names.HEADER).exists():
        header = read_header(folder)
    try:
        require_installed((header and header.plugins) or {})
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def record_plugins(folder: Path, config: TrainConfig) -> None:
    """Add the plugins of other packages that a run uses from now on to its header."""
    if used := requirements(config):
        update_header(folder, plugins={**(read_header(folder).plugins or {}), **used})


TRIAL_FACTS = (
    *("best_epoch", "epochs", "seconds", "started", "ended", "config_hash", "failure", "hung", "restarts"),
    *("preemptions", "origin", "repeats", "retry_of"),
)
"""What the study records of a trial apart from its metrics; these are columns of `trials.csv`."""


def write_trials(folder: Path, trials: list[FrozenTrial]) -> None:
    """Write `trials.csv`: a row per trial with its state, value, parameters, metrics at the best epoch, failure, and
    the origin of its point; and the post-hoc setting of the best epoch, if trials choose one. A metric with the name of
    another column is called `best_epoch/NAME`."""
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    metrics = list(dict.fromkeys(name for trial in trials for name in trial.user_attrs.get("metrics", {})))
    chosen = ["post_hoc"] if any("post_hoc" in trial.user_attrs for trial in trials) else []
    columns = ["trial", "state", "value", *parameters, *TRIAL_FACTS, *chosen]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(columns + [f"best_epoch/{name}" if name in columns else name for name in metrics])
    for trial in trials:
        cells = [trial.number, trial.state.name.lower(), (trial.values or [None])[0]]
        cells += [trial.params.get(name) for name in parameters]
        cells += [trial.user_attrs.get(name) for name in TRIAL_FACTS]
        cells += [settings_in_words(trial.user_attrs[name]) if name in trial.user_attrs else None for name in chosen]
        cells += [trial.user_attrs.get("metrics", {}).get(name) for name in metrics]
        writer.writerow(map(csv_cell, cells))
    write_text(folder / names.TRIALS_TABLE, table.getvalue())


def trial_folder(folder: Path, number: int) -> Path:
    """The folder that holds the files of a trial."""
    return folder / names.TRIALS / f"{number:04d}"


def is_campaign_folder(folder: Path) -> bool:
    """Whether a folder holds a campaign, not a run."""
    return (folder / names.CAMPAIGN).exists()
