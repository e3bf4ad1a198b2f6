"""The end of every run: winner, final test, report, summary.

finish_search   the winner is exported, measured on train_fullsup, and of a search tested once
write_report    the page with all of it
print           what was found: remarks and failures, the winner, its scores, what can be done next
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.console import console
from orchestrator.formats import printed_columns, timestamp
from orchestrator.report.page import write_report
from orchestrator.report.tables import score_table
from orchestrator.runs import names
from orchestrator.runs.folder import write_trials
from orchestrator.runs.header import read_header, update_header
from orchestrator.runs.looks import FINISHED
from orchestrator.runs.result import WinnerResult, mean_optimism
from orchestrator.runs.tested import final_test_of, looks_at_test
from orchestrator.study.confirmed import confirming_reruns, failures_of
from orchestrator.study.study import Study
from orchestrator.trials.interrupt import interruptible
from orchestrator.winner.finish import finish_search
from orchestrator.winner.in_store import kept_in_store
from orchestrator.winner.measure import Measure
from orchestrator.winner.post_hoc import choice_in_words
from wsol.errors import RunFailed, counted


def conclude(study: Study, measure_at: Measure) -> Path:
    """Finish a run whose trials have ended; returns its folder.

    Args:
        study: the run's study. The winner of a search is tested once; a training keeps the post-hoc settings of its
            file.
        measure_at: where the winner is measured.

    Raises:
        RunFailed: no trial succeeded, or a store does not answer.
        InputError: the winner's checkpoint is missing, or scores differently than its trial reported.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    folder, kind = study.folder, read_header(study.folder).kind
    with interruptible(folder), kept_in_store(study, folder):
        result = finish_search(study, folder, measure_at, test=kind == "search", choose=kind != "train")
        update_header(folder, ended=timestamp())
        write_trials(folder, study.trials())
        report = write_report(folder)
    for line in _remarks(study):
        console.print(line)
    if result and not result.confirmed and confirming_reruns(study):
        console.print("no training with another seed succeeded: the trial with the highest value wins")
    for trial in study.failed():
        console.print(f"trial {trial.number} failed: {trial.user_attrs.get('failure')}", style="red")
    if result is None:
        raise RunFailed(f"{folder}: no trial succeeded; the reasons are above and in {report}")
    _print_winner(folder, result)
    if kind == "train" and study.experiment.post_hoc and not result.post_hoc:
        choose = f"python launch.py evaluate {folder} --experiment {folder / names.EXPERIMENT}"
        console.print(
            f"post-hoc settings of the file are kept; to choose them on train_fullsup:\n             {choose}"
        )
    if front := study.pareto_front():
        console.print(f"no other trial is better in all objectives than trial {', '.join(map(str, front))}")
    for line in _about_test(folder, result):
        console.print(line)
    console.print(f"report:      {report}  (all metrics)\ntensorboard: tensorboard --logdir {folder.parent}")
    return folder


def _print_winner(folder: Path, result: WinnerResult) -> None:
    """Print the winner: its trial, post-hoc settings and headline scores. All scores would not fit a screen."""
    console.print(f"\nwinner: trial {result.trial}, epoch {result.epoch}, {result.objective} {result.value:.2f}")
    if choice := choice_in_words(result):
        console.print(f"post-hoc settings chosen on train_fullsup: {choice}")
    for line in _confirmed(result):
        console.print(line)
    if result.training_note:
        console.print(result.training_note)
    tested = final_test_of(folder, result.checkpoint_sha256)
    scores = {"train_fullsup": result.train_fullsup, **({"test": tested.metrics} if tested else {})}
    for split, metrics in scores.items():
        shown = {name: metrics[name] for name in printed_columns(result.objective.partition("/")[2], metrics)}
        console.print(score_table(split, shown, result.baseline[split], result.intervals[split]))


def _confirmed(result: WinnerResult) -> Iterator[str]:
    """The trials that were trained again with other seeds, a line of at most 80 columns each."""
    if result.confirmed:
        too_high = mean_optimism(result.confirmed)
        yield f"with other seeds, which chose the winner ({too_high:.2f} points too high when selected):"
    for one in result.confirmed:
        sure = "" if one.first is None else f"; the best: {one.first:.0%}"
        reached = f"{one.mean:6.2f} over {counted(len(one.seeds), 'seed')}" if one.seeds else "failed with all seeds"
        yield f"  trial {one.trial:>3}  {reached}, {one.value:.2f} when selected{sure}"


def _about_test(folder: Path, result: WinnerResult) -> Iterator[str]:
    """The lines that say what the user can do about the test split."""
    if final_test_of(folder, result.checkpoint_sha256):
        return
    if looks := looks_at_test(folder):
        again = f'python launch.py evaluate {folder} --split test --test-again "why"'
        before = "for another winner before" if looks[-1].state == FINISHED else looks[-1].in_words()
        yield f"test split:  was evaluated {before}; for this one:\n             {again}"
    else:
        sure = f"python launch.py evaluate {folder} --split test"
        yield f"test split:  untouched; when you are sure:\n             {sure}"


def _remarks(study: Study) -> Iterator[str]:
    """Remarks on trials that repeat others, in this run or in the run that is replayed, and on those that failed with
    another seed."""
    for rerun in confirming_reruns(study):
        for reason in failures_of(rerun):
            yield f"trial {rerun.trial} failed with seed {rerun.seed}: {reason}"
    for trial in study.trials():
        known, value = trial.user_attrs, f"{trial.values[0]:.4f}" if trial.values else "no value"
        if "repeats" in known:
            yield f"trial {trial.number} repeats trial {known['repeats']}: the same configuration, not trained again"
        if "replay_of" in known:
            yield f"{known['origin']}: {known['recorded']} recorded, {value} now"
