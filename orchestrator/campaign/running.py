"""A campaign in progress, with all of its studies open.

All state is in the run folders of the cells; opening the campaign again continues from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.campaign.forecast import Left, measure_cost, say_forecast
from orchestrator.campaign.leaderboard import Standing, group_table, write_leaderboard
from orchestrator.campaign.model import CampaignCell, Planned, campaign_in_words
from orchestrator.campaign.progress import CampaignProgress
from orchestrator.cluster.plan import Plan
from orchestrator.cluster.remote import on_worker_node
from orchestrator.console import console
from orchestrator.experiment.load import Loaded
from orchestrator.formats import timestamp
from orchestrator.preflight.checks import require_model
from orchestrator.report.page import write_report
from orchestrator.runs import names
from orchestrator.runs.folder import write_trials
from orchestrator.runs.header import read_header, update_header
from orchestrator.runs.journal import open_study
from orchestrator.runs.tested import looks_at_test, recorded_tests
from orchestrator.study.begin import open_or_begin
from orchestrator.study.interleaved import Interleaved
from orchestrator.study.reruns import Rerun, planned_reruns, reached_values, winning_trial
from orchestrator.study.study import Study
from orchestrator.trials.interrupt import interruptible
from orchestrator.winner.finish import finish_search
from orchestrator.winner.measure import measure
from orchestrator.winner.post_hoc import choice_in_words
from wsol.errors import InputError


@dataclass(slots=True)
class RunningCell:
    """A cell in progress.

    Attributes:
        cell: the cell.
        study: the study of its search.
        reruns: its best trials that are trained again, with their studies; empty before the search has ended, and if
            nothing is trained again.
        failure: why there will be no winner; else empty.
    """

    cell: CampaignCell
    study: Study
    reruns: list[tuple[Rerun, Study]] = field(default_factory=list)
    failure: str = ""

    def studies(self) -> list[Study]:
        """All studies of the cell that are open."""
        return [self.study, *(study for _, study in self.reruns)]

    def has_winner(self) -> bool:
        """Whether a trial succeeded, and also with another seed if trials are trained again."""
        return self.study.best() is not None and (not self.reruns or self.winning() is not None)

    def winning(self) -> int | None:
        """The trial that wins among those that are trained again."""
        return winning_trial(reached_values(self.reruns))

    def counting(self) -> list[Path]:
        """The runs that count: the search, or the runs of the winner with each seed."""
        best = self.winning()
        again = [study.folder for rerun, study in self.reruns if rerun.trial == best]
        return again if self.reruns else [self.study.folder]

    def standing(self) -> Standing:
        """The standing of the cell, with its runs that were tested and whose result is written; cells end in
        threads."""
        ended = [folder for folder in self.counting() if (folder / names.WINNER_RESULT).exists()]
        return Standing(self.cell, [folder for folder in ended if recorded_tests(folder)], self.failure)


class RunningCampaign:
    """A campaign in progress; see `opened_campaign`.

    Args:
        folder: the campaign's folder.
        planned: the checked campaign.
        plan: the resources of a trial.
    """

    def __init__(self, folder: Path, planned: Planned, plan: Plan) -> None:
        self.folder, self.planned, self.plan = folder, planned, plan
        self._cells: dict[str, RunningCell] = {}

    def open(self) -> None:
        """Open the studies of all cells, beginning those that have not begun.

        Raises:
            InputError: another process works on one of them, or its folder is damaged.
        """
        for cell in self.planned.cells:
            study = self._open(self.folder / cell.name, cell.loaded, "search", self.planned.published_points)
            study.gives_up = False
            self._cells[cell.name] = RunningCell(cell, study)

    def close(self) -> None:
        """Close the studies, so that other processes can open them."""
        for cell in self._cells.values():
            for study in cell.studies():
                write_trials(study.folder, study.trials())
                study.close()

    def foretell(self) -> None:
        """Print what is left to do and how long it will take."""
        left = [self._left(cell) for cell in self._cells.values()]
        trials = sum(one.trials + one.again for one in left)
        console.print(f"{self.folder}: {campaign_in_words(self.planned)}, {trials} left")
        if trials:
            say_forecast(left, on_worker_node(self.plan, measure_cost), self.plan)

    def search(self, stage: list[CampaignCell], resources: dict[str, float]) -> None:
        """Train all trials of some cells together, then their best trials again with several seeds.

        Args:
            stage: cells whose predecessors have ended.
            resources: what Ray has in all.
        """
        from orchestrator.trials.tuner import run_trials

        for cell in self._of(stage):
            cell.failure = self._hindrance(cell.cell) or ""
        studies = {cell.cell.name: cell.study for cell in self._of(stage) if not cell.failure}
        if not studies:
            return
        queue = Interleaved(self.folder, studies, self._after_search, self.planned.reruns_of_a_cell())
        with (
            interruptible(self.folder, finish_epochs=True) as stopped,
            CampaignProgress(queue, self.plan.concurrent, console) as progress,
        ):
            run_trials(queue, self.plan, progress, resources, stopped.is_set)

    def finish(self, stage: list[CampaignCell]) -> None:
        """Measure and test the winners of some cells, as many at once as trials run; write the leaderboard after
        each."""
        pool = ThreadPoolExecutor(max(self.plan.concurrent, 1))
        try:
            waiting = {pool.submit(self._conclude, cell): cell for cell in self._of(stage) if not cell.failure}
            for done in as_completed(waiting):
                if error := done.exception():
                    waiting[done].failure = f"its winner could not be measured ({type(error).__name__}: {error})"
                self._show(waiting[done])
        finally:
            pool.shutdown(cancel_futures=True)

    def standings(self) -> list[Standing]:
        """The standings of all cells."""
        return [cell.standing() for cell in self._cells.values()]

    def _of(self, stage: list[CampaignCell]) -> list[RunningCell]:
        return [self._cells[cell.name] for cell in stage]

    def _left(self, cell: RunningCell) -> Left:
        """The trials of a cell that are left, including its best trials that are trained again."""
        begun = [open_study(header.parent) for header in cell.study.folder.glob(names.HEADERS_OF_SEEDS)]
        done = sum(trial.state.is_finished() for study in begun for trial in study.get_trials(deepcopy=False))
        again = max(self.planned.reruns_of_a_cell() - done, 0)
        experiment = cell.cell.experiment
        return Left(cell.cell.name, experiment, cell.study.unfinished(), self.planned.again(cell.cell), again)

    def _hindrance(self, cell: CampaignCell) -> str | None:
        """Why a cell cannot start from the winner of its predecessor; None if it can."""
        if cell.after is None:
            return None
        if not (self.folder / cell.after / names.WINNER_WEIGHTS).exists():
            return f"starts from the winner of {cell.after}, and there is none"
        try:
            require_model(cell.experiment)
        except InputError as error:
            return str(error)
        return None

    def _after_search(self, name: str) -> dict[str, Study]:
        """The studies of a cell's best trials, to be trained again."""
        cell = self._cells[name]
        if self.planned.reruns is not None:
            cell.reruns = [
                (rerun, self._open(rerun.folder, rerun.loaded, "train", True))
                for rerun in planned_reruns(cell.study, self.planned.reruns, self.planned.reruns.set)
            ]
        return {rerun.name: study for rerun, study in cell.reruns}

    def _open(self, folder: Path, loaded: Loaded, kind: str, published_points: bool) -> Study:
        """Open the study of a run folder of this campaign, and begin it if there is none."""
        facts = {"machine": self.plan.machine, "concurrent_trials": self.plan.concurrent, "campaign": str(self.folder)}
        return open_or_begin(folder, loaded, kind, None if published_points else [], **facts)

    def _conclude(self, cell: RunningCell) -> None:
        """Measure and test the winner of a cell: that of its search, or the best of its trials over all seeds."""
        best = cell.winning()
        self._measure(cell.study, test=self.planned.reruns is None)
        for rerun, study in cell.reruns:
            self._measure(study, test=rerun.trial == best)
        if not cell.has_winner():
            cell.failure = f"no trial succeeded, see {cell.study.folder / names.TRIALS_TABLE}"
        for folder in cell.counting():
            if (looks := looks_at_test(folder)) and not recorded_tests(folder):
                again = f'python launch.py evaluate {folder} --split test --test-again "why"'
                cell.failure = f"its test was {looks[-1].in_words()}; for its numbers: {again}"

    def _measure(self, study: Study, *, test: bool) -> None:
        """Measure and test the winner of a run, unless that is done already."""
        if read_header(study.folder).ended and (not test or looks_at_test(study.folder)):
            return
        result = finish_search(study, study.folder, on_worker_node(self.plan, measure), test=test)
        if result is not None:
            write_report(study.folder)
            if choice := choice_in_words(result):
                console.print(f"{study.folder.name}: post-hoc settings chosen on train_fullsup: {choice}")
        write_trials(study.folder, study.trials())
        update_header(study.folder, ended=timestamp())

    def _show(self, cell: RunningCell) -> None:
        """Write the leaderboard, and print how a cell ended and its part of the leaderboard."""
        standings = self.standings()
        write_leaderboard(self.folder, self.planned, standings)
        tested = sum(bool(standing.folders) for standing in standings)
        console.print(f"\n{cell.cell.name}: {cell.failure or 'tested'}  ({tested} of {len(standings)} cells)")
        if cell.standing().folders:
            console.print(group_table(standings, cell.cell))


@contextmanager
def opened_campaign(folder: Path, planned: Planned, plan: Plan) -> Iterator[RunningCampaign]:
    """Open all studies of a campaign for the time of the block.

    Raises:
        InputError: another process works on one of them, or its folder is damaged.
    """
    campaign = RunningCampaign(folder, planned, plan)
    try:
        campaign.open()
        yield campaign
    finally:
        campaign.close()
