"""A campaign that is worked on, with all of its studies open."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from orchestrator.campaign.forecast import measure_cost, say_forecast
from orchestrator.campaign.interleaved import Interleaved
from orchestrator.campaign.leaderboard import Standing, group_table, write_leaderboard
from orchestrator.campaign.model import CampaignCell, Planned, campaign_in_words
from orchestrator.campaign.progress import CampaignProgress
from orchestrator.campaign.reruns import Rerun, planned_reruns, winning_trial
from orchestrator.cluster.plan import Plan
from orchestrator.cluster.remote import on_worker_node
from orchestrator.console import console
from orchestrator.experiment.load import Loaded
from orchestrator.formats import timestamp
from orchestrator.preflight.checks import require_model
from orchestrator.report.page import write_report
from orchestrator.runs import names
from orchestrator.runs.folder import open_experiment, write_trials
from orchestrator.runs.header import read_header, update_header
from orchestrator.runs.journal import open_study
from orchestrator.runs.tested import recorded_tests
from orchestrator.study.begin import begin_study
from orchestrator.study.study import Study
from orchestrator.trials.interrupt import interruptible
from orchestrator.winner.finish import finish_search
from orchestrator.winner.measure import measure
from orchestrator.winner.post_hoc import choice_in_words
from wsol.errors import InputError


class Running:
    """A campaign that is worked on, with all of its studies open.

    Args:
        folder: of the campaign.
        planned: its cells.
        plan: what a trial takes.
    """

    def __init__(self, folder: Path, planned: Planned, plan: Plan) -> None:
        self.folder, self.planned, self.plan = folder, planned, plan
        self.studies: dict[str, Study] = {}
        self.reruns: dict[str, list[tuple[Rerun, Study]]] = {}
        self.failures: dict[str, str] = {}
        for cell in planned.cells:
            self.studies[cell.name] = self._open(folder / cell.name, cell.loaded, "search", planned.published_points)
            self.studies[cell.name].gives_up = False

    def close(self) -> None:
        """Let other processes open the studies."""
        for study in [*self.studies.values(), *(study for pairs in self.reruns.values() for _, study in pairs)]:
            write_trials(study.folder, study.trials())
            study.close()

    def foretell(self) -> None:
        """Say what is left to do and how long it will take."""
        left = [(cell, self._left(cell)) for cell in self.planned.cells]
        trials = sum(trials for _, trials in left)
        console.print(f"{self.folder}: {campaign_in_words(self.planned)}, {trials} left")
        if trials:
            say_forecast(left, on_worker_node(self.plan, measure_cost), self.plan)

    def search(self, stage: list[CampaignCell], resources: dict[str, float]) -> None:
        """Train all trials of some cells, those of their best ones with several seeds as well."""
        from orchestrator.trials.tuner import run_trials

        for cell in stage:
            if cell.after is not None and (hindrance := self._hindrance(cell)):
                self.failures[cell.name] = hindrance
        studies = {cell.name: self.studies[cell.name] for cell in stage if cell.name not in self.failures}
        if not studies:
            return
        queue = Interleaved(self.folder, studies, self._after_search, self.planned.reruns_of_a_cell())
        with (
            interruptible(self.folder, finish_epochs=True) as stopped,
            CampaignProgress(queue, self.plan.concurrent, console) as progress,
        ):
            run_trials(queue, self.plan, progress, resources, stopped.is_set)

    def finish(self, stage: list[CampaignCell]) -> None:
        """Measure and test the winners of some cells, as many at once as trials; the leaderboard after each."""
        cells = [cell for cell in stage if cell.name not in self.failures]
        pool = ThreadPoolExecutor(max(self.plan.concurrent, 1))
        try:
            waiting = {pool.submit(self._conclude, cell): cell for cell in cells}
            for done in as_completed(waiting):
                if error := done.exception():
                    self.failures[waiting[done].name] = (
                        f"its winner could not be measured ({type(error).__name__}: {error})"
                    )
                self._show(waiting[done])
        finally:
            pool.shutdown(cancel_futures=True)

    def standings(self) -> list[Standing]:
        """How all cells stand."""
        return [Standing(cell, self._tested(cell), self.failures.get(cell.name, "")) for cell in self.planned.cells]

    def _left(self, cell: CampaignCell) -> int:
        """Trials of a cell that are not through, with those of its best ones that are trained again."""
        again = [
            study
            for header in (self.folder / cell.name).glob(names.HEADERS_OF_SEEDS)
            for study in [open_study(header.parent)]
        ]
        done = sum(trial.state.is_finished() for study in again for trial in study.get_trials(deepcopy=False))
        return self.studies[cell.name].unfinished() + max(self.planned.reruns_of_a_cell() - done, 0)

    def _hindrance(self, cell: CampaignCell) -> str | None:
        """Why a cell can not start from the winner that it is to start from."""
        if not (self.folder / str(cell.after) / names.WINNER_WEIGHTS).exists():
            return f"starts from the winner of {cell.after}, which has none"
        try:
            require_model(cell.experiment)
        except InputError as error:
            return str(error)
        return None

    def _after_search(self, name: str) -> dict[str, Study]:
        """The best trials of a cell, to be trained again."""
        if self.planned.reruns is not None:
            again = planned_reruns(self.studies[name], self.planned.reruns)
            self.reruns[name] = [(rerun, self._open(rerun.folder, rerun.loaded, "train", True)) for rerun in again]
        return {rerun.name: study for rerun, study in self.reruns.get(name, [])}

    def _open(self, folder: Path, loaded: Loaded, kind: str, points: bool) -> Study:
        """The study of a run folder, begun where there is none."""
        if (folder / names.HEADER).exists():
            return Study(folder, open_experiment(folder))
        facts = {"machine": self.plan.machine, "concurrent_trials": self.plan.concurrent, "campaign": str(self.folder)}
        return begin_study(folder, loaded, kind, None if points else [], **facts)

    def _conclude(self, cell: CampaignCell) -> None:
        """The winner of a cell: of its search, or, where its best trials were trained again, by their mean over
        seeds."""
        pairs = self.reruns.get(cell.name, [])
        self._measure(self.studies[cell.name], test=self.planned.reruns is None)
        for rerun, study in pairs:
            self._measure(study, test=rerun.trial == winning_trial(pairs))
        if self.studies[cell.name].best() is None or (pairs and winning_trial(pairs) is None):
            self.failures[cell.name] = f"no trial succeeded, see {self.folder / cell.name / names.TRIALS_TABLE}"

    def _measure(self, study: Study, *, test: bool) -> None:
        """Measure the winner of a run and test it, unless that is done."""
        if read_header(study.folder).ended and (not test or recorded_tests(study.folder)):
            return
        result = finish_search(study, study.folder, on_worker_node(self.plan, measure), test=test)
        if result is not None:
            write_report(study.folder)
            if result["post_hoc"]:
                chosen = choice_in_words(result["post_hoc"])
                console.print(f"{study.folder.name}: post-hoc settings chosen on train_fullsup: {chosen}")
        write_trials(study.folder, study.trials())
        update_header(study.folder, ended=timestamp())

    def _tested(self, cell: CampaignCell) -> list[Path]:
        """The runs of a cell that count and were tested."""
        pairs = self.reruns.get(cell.name, [])
        best = winning_trial(pairs)
        counting = (
            [study.folder for rerun, study in pairs if rerun.trial == best] if pairs else [self.folder / cell.name]
        )
        return [folder for folder in counting if recorded_tests(folder)]

    def _show(self, cell: CampaignCell) -> None:
        standings = self.standings()
        write_leaderboard(self.folder, self.planned, standings)
        tested = sum(bool(standing.folders) for standing in standings)
        console.print(
            f"\n{cell.name}: {self.failures.get(cell.name, 'tested')}  ({tested} of {len(standings)} cells)",
        )
        if any(standing.cell == cell and standing.folders for standing in standings):
            console.print(group_table(standings, cell))


@contextmanager
def opened_campaign(folder: Path, planned: Planned, plan: Plan) -> Iterator[Running]:
    running = Running(folder, planned, plan)
    try:
        yield running
    finally:
        running.close()
