"""What ends every run: winner, final test, report, summary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.console import console
from orchestrator.formats import timestamp
from orchestrator.report.page import write_report
from orchestrator.report.tables import score_table
from orchestrator.runs.folder import write_trials
from orchestrator.runs.header import update_header
from orchestrator.runs.tested import recorded_tests, test_of_checkpoint
from orchestrator.study.study import Study
from orchestrator.trials.interrupt import interruptible
from orchestrator.winner.finish import finish_search
from orchestrator.winner.in_store import kept_in_store
from orchestrator.winner.measure import Measure
from wsol.errors import RunFailed


def conclude(study: Study, folder: Path, measure_at: Measure, *, test: bool) -> Path:
    """Winner, final test, report, summary."""
    with interruptible(folder), kept_in_store(study, folder):
        result = finish_search(study, folder, measure_at, test=test)
        update_header(folder, ended=timestamp())
        write_trials(folder, study.trials())
        report = write_report(folder)
    failed = study.failed()
    front = study.pareto_front()
    for line in _remarks(study):
        console.print(line)
    study.close()
    for trial in failed:
        console.print(f"trial {trial.number} failed: {trial.user_attrs.get('failure')}", style="red")
    if result is None:
        raise RunFailed(f"{folder}: no trial succeeded; the reasons are above and in {report}")
    tested = test_of_checkpoint(folder, result["checkpoint_sha256"])
    console.print(
        f"\nwinner: trial {result['trial']}, epoch {result['epoch']}, {result['objective']} {result['value']:.2f}"
    )
    if result["training_images"] != "all":
        console.print(f"trained on a part of train_weaksup: {result['training_images']}")
    scores = {"train_fullsup": result["train_fullsup"], **({"test": tested["metrics"]} if tested else {})}
    for split, metrics in scores.items():
        console.print(score_table(split, metrics, result["baseline"][split], result["intervals"][split]))
    if front:
        console.print(f"no other trial is better in all objectives than trial {', '.join(map(str, front))}")
    if not tested and recorded_tests(folder):
        again = f'python launch.py evaluate {folder} --split test --test-again "why"'
        console.print(f"test split:  was evaluated for another winner before; for this one:\n             {again}")
    elif not tested:
        console.print(
            f"test split:  untouched; when you are sure:\n             python launch.py evaluate {folder} --split test"
        )
    console.print(f"report:      {report}\ntensorboard: tensorboard --logdir {folder.parent}")
    return folder


def _remarks(study: Study) -> Iterator[str]:
    """What is to be said about trials that repeat others, here or in the run that is replayed."""
    for trial in study.trials():
        known, value = trial.user_attrs, f"{trial.values[0]:.4f}" if trial.values else "no value"
        if "repeats" in known:
            yield f"trial {trial.number} repeats trial {known['repeats']}: the same configuration, not trained again"
        if "replay_of" in known:
            yield f"{known['origin']}: {known['recorded']} recorded, {value} now"
