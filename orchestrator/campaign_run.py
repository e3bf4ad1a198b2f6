"""The official protocol as one command: all cells of a campaign are searched together, their winners tested once, and
ranked.

    for every stage (cells that start from others' winners come after those):
        all searches at once       `Interleaved`: each of them goes on, and so does each machine; then the best trials
        with several seeds winners                    measured on train_fullsup, the one that counts tested; leaderboard
        after each

Nothing is remembered but in the cells' run folders: whoever starts it again goes on from there.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from orchestrator import cluster, final, provenance, runs
from orchestrator.campaign import FILE, CampaignCell, Planned, Reruns, described, is_campaign_folder, load_campaign
from orchestrator.campaign_forecast import forecast_end, forecast_table, measure_cost, measured, need
from orchestrator.campaign_progress import CampaignProgress
from orchestrator.experiment import Loaded, load_experiment
from orchestrator.ground import check_data, check_model, console, interruptible, on_ray
from orchestrator.interleave import Interleaved
from orchestrator.journal import open_study
from orchestrator.leaderboard import Standing, group_table, write_leaderboard
from orchestrator.measure import measure
from orchestrator.report import write_report
from orchestrator.reruns import Rerun, planned_reruns, winner
from orchestrator.space import require_packages
from orchestrator.study import Study
from wsol.errors import InputError, RunFailed
from wsol.files import write_text


def protocol(
    path: Path, overrides: list[str], run: Path | None = None, address: str | None = None, *, dry_run: bool = False
) -> Path:
    """Run a campaign from its beginning or from where it was left; returns its folder.

    Args:
        path: a campaign file.
        overrides: `KEY=VALUE`; of a campaign that has begun, only the resources may change.
        run: the folder, `runs/<file name>` by default.
        address: of a Ray cluster; None starts Ray on this machine.
        dry_run: only say what it would take; nothing is written or started.

    Raises:
        InputError: something the user can mend; nothing was written.
        RunFailed: a cell has no winner; all others are done.
        KeyboardInterrupt: stopped by the user; resumable.
    """
    folder = run or Path("runs") / path.stem
    planned = load_campaign(path, overrides, folder)
    require_packages(planned.cells[0].experiment.study.sampler)
    for note in dict.fromkeys(f"{cell.method}: {note}" for cell in planned.cells for note in cell.loaded.notes):
        console.print(f"note: {note}", markup=False)
    if dry_run:
        _dry_run(folder, planned)
        return folder
    if is_campaign_folder(folder):
        _require_same(folder, planned)
    else:
        _begin(folder, planned, address)
    return _run(folder, planned, address)


def resume_campaign(folder: Path, overrides: list[str], address: str | None = None) -> Path:
    """Go on with a campaign; `overrides` may change its resources.

    Raises:
        InputError: they change something else, or something the user can mend.
        RunFailed: a cell has no winner; all others are done.
        KeyboardInterrupt: stopped by the user; resumable.
    """
    for override in overrides:
        if not override.startswith("resources."):
            raise InputError(
                f"command line: {override}: a resumed campaign can only change resources.*; for other settings start a"
                " new one"
            )
    return _run(folder, _read(folder, overrides), address)


def _begin(folder: Path, planned: Planned, address: str | None) -> None:
    """Check what can be checked, write down the cells; the file that makes the folder a campaign comes last."""
    runs.require_no_run(folder)
    if address is None:
        _plan_here(planned)  # refuse before Ray starts
    _check(planned.stages()[0])
    for cell in planned.cells:
        (folder / cell.name).mkdir(parents=True, exist_ok=True)
        runs.write_experiment(
            folder / cell.name, cell.experiment, f"A cell of {planned.source}. From {cell.loaded.source}."
        )
    cells = [
        {key: getattr(cell, key) for key in ("name", "method", "backbone", "dataset", "after")}
        for cell in planned.cells
    ]
    command = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    facts = {
        "started": runs.now(),
        "ended": None,
        "command": command,
        "git": provenance.git(),
        "versions": provenance.versions(),
    }
    write_text(
        folder / FILE,
        json.dumps(
            {"name": planned.name, "source": planned.source, "cells": cells, **planned.identity(), **facts}, indent=1
        ),
    )


def _check(cells: list[CampaignCell]) -> None:
    """What can be checked before anything is written, each data set once."""
    checked: list[object] = []
    for cell in cells:
        trial = cell.experiment.trial
        if cell.experiment.resources.storage:
            raise InputError(
                f"{cell.name}: resources.storage: a campaign needs a folder that all nodes see; leave it out, or"
                " `search` cells alone"
            )
        if (trial.data, trial.evaluation) not in checked:
            check_data(cell.experiment)
            checked.append((trial.data, trial.evaluation))
        check_model(cell.experiment)


def _read(folder: Path, overrides: list[str]) -> Planned:
    """The campaign of a folder, with other resources."""
    header = json.loads((folder / FILE).read_text())
    cells = []
    for known in header["cells"]:
        loaded = load_experiment(folder / known["name"] / "experiment.yaml", overrides)
        cells.append(CampaignCell(**known, loaded=Loaded(loaded.experiment, header["source"], known["name"])))
    reruns = None if header["reruns"] is None else Reruns.model_validate(header["reruns"])
    return Planned(header["name"], header["source"], cells, reruns, header["published_points"])


def _require_same(folder: Path, planned: Planned) -> None:
    """Raises InputError if a folder holds another campaign than this one."""
    header, identity = json.loads((folder / FILE).read_text()), planned.identity()
    if any(header[key] != identity[key] for key in identity):
        hashes = {**header["hashes"], **identity["hashes"]}
        other = [name for name in hashes if header["hashes"].get(name) != identity["hashes"].get(name)]
        what = (
            f"{', '.join(other[:3])}{' ...' if len(other) > 3 else ''} differ"
            if other
            else "its reruns or published points differ"
        )
        raise InputError(
            f"{folder}: holds a campaign of {header['source']} that is another one by now ({what}); go on with it as it"
            f" was by `python launch.py resume {folder}`, or begin this one in another folder with --run"
        )


def _plan_here(planned: Planned) -> cluster.Plan:
    return cluster.plan(planned.cells[0].experiment.resources, planned.trials(), cluster.local_resources())


def _dry_run(folder: Path, planned: Planned) -> None:
    plan = _plan_here(planned)
    console.print(f"{planned.source}: {described(planned)}\nwould go to {folder}")
    left = [(cell, cell.experiment.study.trials + planned.reruns_of_a_cell()) for cell in planned.cells]
    _say_forecast(left, measure_cost, folder, plan)


def _say_forecast(
    left: list[tuple[CampaignCell, int]], measure_at: final.Measure, folder: Path, plan: cluster.Plan
) -> None:
    """What the trials that are left need; the cells that have some are measured."""
    needs = {
        cell.name: need(cell.experiment, measured(cell.experiment, measure_at, folder), trials)
        for cell, trials in left
        if trials
    }
    console.print(forecast_table(needs, plan))
    for line in forecast_end(needs, plan):
        console.print(line)


def _run(folder: Path, planned: Planned, address: str | None) -> Path:
    with cluster.connected(address) as resources:
        plan = cluster.plan_there(planned.cells[0].experiment.resources, planned.trials(), resources)
        with _opened(folder, planned, plan) as running:
            with interruptible(folder):
                running.foretell()
            for stage in planned.stages():
                running.search(stage, resources)
                with interruptible(folder):
                    running.finish(stage)
            standings = running.standings()
    failed = [f"{standing.cell.name}: {standing.failure}" for standing in standings if standing.failure]
    write_text(
        folder / FILE,
        json.dumps({**json.loads((folder / FILE).read_text()), "ended": None if failed else runs.now()}, indent=1),
    )
    console.print(f"\nleaderboard: {folder / 'leaderboard.html'}\ntensorboard: tensorboard --logdir {folder}")
    if failed:
        raise RunFailed("\n".join([f"{len(failed)} of {len(planned.cells)} cells have no winner", *failed]))
    return folder


class Running:
    """A campaign that is worked on, with all of its studies open.

    Args:
        folder: of the campaign.
        planned: its cells.
        plan: what a trial takes.
    """

    def __init__(self, folder: Path, planned: Planned, plan: cluster.Plan) -> None:
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
            runs.write_trials(study.folder, study.trials())
            study.close()

    def foretell(self) -> None:
        """Say what is left to do and how long it will take."""
        left = [(cell, self._left(cell)) for cell in self.planned.cells]
        trials = sum(trials for _, trials in left)
        console.print(f"{self.folder}: {described(self.planned)}, {trials} left")
        if trials:
            _say_forecast(left, on_ray(self.plan, measure_cost), self.folder, self.plan)

    def search(self, stage: list[CampaignCell], resources: dict[str, float]) -> None:
        """Train all trials of some cells, those of their best ones with several seeds as well."""
        from orchestrator.tuning import run_trials

        for cell in stage:
            if cell.after is not None and (hindrance := self._hindrance(cell)):
                self.failures[cell.name] = hindrance
        studies = {cell.name: self.studies[cell.name] for cell in stage if cell.name not in self.failures}
        if not studies:
            return
        queue = Interleaved(self.folder, studies, self._after_search, self.planned.reruns_of_a_cell())
        with (
            interruptible(self.folder, patient=True) as stopped,
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
            for header in (self.folder / cell.name / "seeds").glob("*/study.json")
            for study in [open_study(header.parent)]
        ]
        done = sum(trial.state.is_finished() for study in again for trial in study.get_trials(deepcopy=False))
        return self.studies[cell.name].unfinished() + max(self.planned.reruns_of_a_cell() - done, 0)

    def _hindrance(self, cell: CampaignCell) -> str | None:
        """Why a cell can not start from the winner that it is to start from."""
        if not (self.folder / str(cell.after) / "best" / "weights.pt").exists():
            return f"starts from the winner of {cell.after}, which has none"
        try:
            check_model(cell.experiment)
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
        if (folder / "study.json").exists():
            return Study(folder, runs.open_experiment(folder))
        facts = {"machine": self.plan.machine, "concurrent_trials": self.plan.concurrent, "campaign": str(self.folder)}
        return Study.create(folder, loaded.experiment, runs.create(folder, loaded, kind, facts), None if points else [])

    def _conclude(self, cell: CampaignCell) -> None:
        """The winner of a cell: of its search, or, where its best trials were trained again, by their mean over
        seeds."""
        pairs = self.reruns.get(cell.name, [])
        self._measure(self.studies[cell.name], test=self.planned.reruns is None)
        for rerun, study in pairs:
            self._measure(study, test=rerun.trial == winner(pairs))
        if self.studies[cell.name].best() is None or (pairs and winner(pairs) is None):
            self.failures[cell.name] = f"no trial succeeded, see {self.folder / cell.name / 'trials.csv'}"

    def _measure(self, study: Study, *, test: bool) -> None:
        """Measure the winner of a run and test it, unless that is done."""
        if runs.read_header(study.folder)["ended"] and (not test or runs.tested(study.folder)):
            return
        if final.finish(study, study.folder, on_ray(self.plan, measure), test=test) is not None:
            write_report(study.folder)
        runs.write_trials(study.folder, study.trials())
        runs.update_header(study.folder, ended=runs.now())

    def _tested(self, cell: CampaignCell) -> list[Path]:
        """The runs of a cell that count and were tested."""
        pairs = self.reruns.get(cell.name, [])
        best = winner(pairs)
        counting = (
            [study.folder for rerun, study in pairs if rerun.trial == best] if pairs else [self.folder / cell.name]
        )
        return [folder for folder in counting if runs.tested(folder)]

    def _show(self, cell: CampaignCell) -> None:
        standings = self.standings()
        write_leaderboard(self.folder, self.planned, standings)
        tested = sum(bool(standing.folders) for standing in standings)
        console.print(
            f"\n{cell.name}: {self.failures.get(cell.name, 'tested')}  ({tested} of {len(standings)} cells)",
            markup=False,
        )
        if any(standing.cell == cell and standing.folders for standing in standings):
            console.print(group_table(standings, cell))


@contextmanager
def _opened(folder: Path, planned: Planned, plan: cluster.Plan) -> Iterator[Running]:
    running = Running(folder, planned, plan)
    try:
        yield running
    finally:
        running.close()
