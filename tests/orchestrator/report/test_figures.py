"""The figures of trials and of the search space."""

from __future__ import annotations

from datetime import UTC, datetime

import optuna

from orchestrator.report.figure import short_names
from orchestrator.report.figures_effort import Search, effort_figure
from orchestrator.report.figures_space import contour_figure, fronts_figure, parallel_figure, slices_figure
from orchestrator.report.figures_trials import busy_share, history_figure
from orchestrator.runs.summary import TrialRow


def test_trials_that_ran_together_on_a_host_have_rows_of_their_own() -> None:
    at = [datetime(2026, 1, 5, 10, minute, tzinfo=UTC) for minute in range(6)]
    spans = [(0, 2, "a:1"), (1, 3, "a:2"), (2, 4, "a:9"), (1, 5, "b:1"), (5, None, "a:3")]
    rows = [
        TrialRow(n, "complete", started=at[b], ended=None if e is None else at[e], worker=w)
        for n, (b, e, w) in enumerate(spans)
    ]
    rows.sort(key=lambda trial: trial.started or at[0])
    assert busy_share(rows, at[5]) == {0: "a #1", 1: "a #2", 3: "b #1", 2: "a #1", 4: "a #1"}


def test_the_front_of_several_objectives() -> None:
    pairs = [(1.0, 9.0), (5.0, 5.0), (4.0, 4.0), (9.0, 1.0), (5.0, 4.0)]
    rows = [TrialRow(number, "complete", pair[0], pair) for number, pair in enumerate(pairs)]
    (figure,) = fronts_figure(rows, ["a", "b"], ["A", "B"])
    assert figure.spec["data"][1]["y"] == [9.0, 5.0, 1.0]
    assert "of 3 trials no other is better in all 2 objectives" in figure.caption


def test_the_contour_takes_parameters_that_vary_together() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for value in range(6):
        trial = study.ask()
        name = trial.suggest_categorical("name", ["x", "y"])
        trial.suggest_float("fixed", 1.0, 1.0)
        trial.suggest_float("lr", 0.001, 1.0, log=True)
        if name == "y":
            trial.suggest_float("only_y", 0, 1)
        study.tell(trial, value)
    figure = contour_figure(study, ["name", "only_y", "fixed", "lr"], "value")
    assert figure is not None and figure.title == "lr and name" and figure.caption.startswith("6 complete trials")
    assert len(figure.spec["data"][1]["x"]) == 6
    assert contour_figure(study, ["name", "fixed"], "value") is None


def test_a_few_whole_numbers_are_the_ticks_of_their_axes() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for value in range(6):
        trial = study.ask()
        trial.suggest_categorical("stride", [8, 16])
        trial.suggest_float("lr", 0.001, 1.0)
        study.tell(trial, value)
    contour = contour_figure(study, ["stride", "lr"], "value")
    rows = [TrialRow(trial.number, "complete", trial.value, params=trial.params) for trial in study.trials]
    stride, lr = slices_figure(rows, ["stride", "lr"], frozenset(), None, "value")
    parallel = parallel_figure(rows, ["stride", "lr"], frozenset(), "value")
    assert contour is not None and parallel is not None
    assert contour.title == "lr and stride" and contour.spec["layout"]["yaxis"]["tickvals"] == [8, 16]
    assert (
        stride.spec["layout"]["xaxis"]["tickvals"] == parallel.spec["data"][0]["dimensions"][0]["tickvals"] == [8, 16]
    )
    assert "tickvals" not in lr.spec["layout"]["xaxis"] and "tickvals" not in contour.spec["layout"]["xaxis"]


def test_short_names_are_the_shortest_that_differ() -> None:
    paths = ["optim.lr", "method.name", "evaluation.normalizer.name", "a.weight", "b.weight", "seed"]
    assert list(short_names(paths).values()) == [
        "lr",
        "method.name",
        "normalizer.name",
        "a.weight",
        "b.weight",
        "seed",
    ]


def test_best_so_far_follows_the_direction() -> None:
    rows = [TrialRow(number, "complete", value) for number, value in enumerate((3.0, 1.0, 2.0))]
    for maximize, expected in ((True, [3.0, 3.0, 3.0]), (False, [3.0, 1.0, 1.0])):
        figure = history_figure(rows, "loss", maximize)
        assert figure is not None
        assert figure.spec["data"][0]["y"] == expected


def test_effort_counts_the_epochs_of_all_trials_in_the_order_they_ended() -> None:
    def row(number: int, state: str, value: float | None, epochs: int) -> TrialRow:
        ended = datetime(2026, 1, 5, 10, 10 - number, tzinfo=UTC)  # the later number ended first
        return TrialRow(
            number, state, value, curve=dict.fromkeys(range(1, epochs + 1), value or 0.0), epochs=epochs, ended=ended
        )

    one = Search(
        "a",
        "tpe + asha",
        [row(0, "complete", 5.0, 4), row(1, "pruned", 9.0, 1), row(2, "complete", 3.0, 4), row(3, "failed", None, 2)],
    )
    two = Search("b", "random", [row(0, "complete", 4.0, 4)])
    figure = effort_figure([one, two], "loss", True)
    assert figure is not None
    lines = {line["name"]: (line["x"], line["y"]) for line in figure.spec["data"]}
    assert lines == {"a (tpe + asha)": ([6, 7, 11], [3.0, 3.0, 5.0]), "b (random)": ([4], [4.0])}
    alone = effort_figure([one], "loss", True)
    assert alone is not None and effort_figure([two], "loss", True) is None
    events = {trace["name"]: (trace["x"], trace["y"]) for trace in alone.spec["data"][1:]}
    assert events == {"new leader": ([6, 11], [3.0, 5.0]), "stopped": ([7], [3.0])}
    assert alone.caption.endswith(
        "11 epochs trained, 1 trial stopped (a cross each), 2 leaders (a point each): the last one, trial 0, after 11"
        " epochs."
    )
