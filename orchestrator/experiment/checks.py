"""Finds mistakes in an experiment beyond the types of single values: in paths, ranges, points, objectives, workers,
schedulers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.experiment.branches import in_words, plugin_branches
from orchestrator.experiment.grace import grace_epochs
from orchestrator.experiment.messages import at, reason
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.paths import has_path
from orchestrator.experiment.post_hoc import MOST_SETTINGS, nothing_left, post_hoc_settings
from orchestrator.experiment.search_checks import drawing_problems, invalid, search_problems
from orchestrator.experiment.space import Number, known_value
from orchestrator.experiment.yaml_nodes import KeyPath
from orchestrator.experiment.yaml_reader import Document
from wsol import plugins
from wsol.errors import InputError

POST_HOC = ("evaluation.extractor", "evaluation.interpolation", "evaluation.normalizer", "method.")
"""The paths that change no weight begin with one of these."""

ONE_OBJECTIVE = ("cma_es",)
"""Samplers that take only one objective."""

Problem = tuple[KeyPath, str]
"""A place in the file, and what is wrong there."""


def problems(document: Document, experiment: Experiment) -> list[str]:
    """All mistakes that prevent a run from beginning, one line each."""
    found = [*_search_problems(experiment), *_point_problems(experiment)]
    found = [
        *(found or _whole_space_problems(experiment)),
        *_post_hoc_problems(experiment),
        *_study_problems(experiment),
    ]
    return _lines(document, found)


def later_problems(document: Document, experiment: Experiment) -> list[str]:
    """All mistakes that a run without other problems would meet later, one line each. Run folders made before these
    were checked may have some, and are opened nevertheless."""
    drawing = [(("search", path), text) for path, text in drawing_problems(experiment)]
    settings = [] if drawing else _setting_problems(experiment)
    return _lines(document, [*drawing, *settings, *_metric_problems(experiment), *_objective_problems(experiment)])


def _lines(document: Document, found: list[Problem]) -> list[str]:
    return list(dict.fromkeys(at(document, path, text) for path, text in found))


def _search_problems(experiment: Experiment) -> Iterator[Problem]:
    yield from ((("search", path), text) for path, text in search_problems(experiment))


def _point_problems(experiment: Experiment) -> Iterator[Problem]:
    """Every named point must be a valid configuration inside the search ranges."""
    names = [point.name for point in experiment.points]
    for index, point in enumerate(experiment.points):
        place: KeyPath = ("points", index)
        if names.index(point.name) != index:
            yield (*place, "name"), f"there are two points called {point.name!r}"
        try:
            plain = experiment.plain(point.values)
            drawn = experiment.space().point(plain)
        except KeyError as error:
            yield (*place, "values"), str(error.args[0])
            continue
        except ValueError as error:
            yield (*place, "values"), reason(error)
            continue
        yield from (((*place, "values"), text) for text in invalid(experiment, point.values))
        for path, value in drawn.items():
            distribution = experiment.search[path]
            ends = {other: known_value(other, drawn, plain) for other in distribution.bounds.values()}
            are_numbers = all(isinstance(end, Number) for end in ends.values())  # if not, the search has that problem
            if are_numbers and not distribution.within(ends).contains(value):
                yield (*place, "values", path), f"{value!r} lies outside of the search range"


def _post_hoc_problems(experiment: Experiment) -> Iterator[Problem]:
    """Every post-hoc path must exist and change no weight, and every value must be valid."""
    for path, values in experiment.post_hoc.items():
        place: KeyPath = ("post_hoc", path)
        if not path.startswith(POST_HOC):
            yield place, f"cannot be chosen after training; what can begins with {', '.join(POST_HOC)}"
            continue
        for value in values:
            try:
                yield from ((place, f"{value!r} is not allowed: {text}") for text in invalid(experiment, {path: value}))
            except KeyError as error:
                yield place, str(error.args[0])


def _whole_space_problems(experiment: Experiment) -> Iterator[Problem]:
    """Checks that need a space without other mistakes."""
    epochs = experiment.trial.training.epochs
    is_needless = epochs == 1 or experiment.study.trials == 1  # nothing could be stopped anyway, and nobody expects it
    if experiment.study.scheduler != "none" and not is_needless and (grace := grace_epochs(experiment)) >= epochs:
        decay = "" if experiment.study.grace_epochs else ", first decay of the learning rate unless grace_epochs is set"
        reason = f"no trial may be stopped before epoch {grace} (warm-up, start epochs{decay})"
        yield ("study", "scheduler"), f"{reason}, and training has {epochs}: use none"
    if experiment.study.sampler == "grid":
        try:
            experiment.space().grid(experiment.base())
        except InputError as error:
            place, _, text = str(error).partition(": ")
            yield tuple(place.split(".", 1)), text


def _setting_problems(experiment: Experiment) -> Iterator[Problem]:
    """Post-hoc settings must be settings of every plugin that the winner can have, and allowed together."""
    paths = list(experiment.post_hoc)
    for path in paths:
        if around := [other for other in paths if path.startswith(f"{other}.")]:
            yield ("post_hoc", path), f"is a part of {around[0]}, which is chosen as a whole: give its values there"
            return
    if math.prod(len(values) for values in experiment.post_hoc.values()) > MOST_SETTINGS:
        yield ("post_hoc",), f"has more than {MOST_SETTINGS:,} combinations, each of which is scored: give fewer values"
        return
    for branch in plugin_branches(experiment, paths):
        where, plain = f" where {in_words(branch)}" if branch else "", experiment.plain(branch)
        if missing := [path for path in paths if not has_path(plain, path)]:
            yield ("post_hoc", missing[0]), f"cannot be chosen{where}: there is no such setting"
            return
        for path, values in experiment.post_hoc.items() if branch else ():  # without one, `problems` has asked
            for value in values:
                yield from (
                    (("post_hoc", path), f"{value!r} is not allowed{where}: {text}")
                    for text in invalid(experiment, {**branch, path: value})
                )
    try:
        post_hoc_settings(experiment.trial, experiment.post_hoc)
    except ValueError as error:
        yield ("post_hoc",), f"has values that are not allowed together: {reason(error)}"


def _metric_problems(experiment: Experiment) -> Iterator[Problem]:
    """Two metrics with the same name are refused: results are stored by name, so one would be lost."""
    names = [metric.name for metric in experiment.trial.evaluation.on("test").metrics]
    for name in names:
        if names.count(name) > 1:
            yield (
                ("trial", "evaluation", "metrics"),
                f"{name} stands there twice; their values would have the same name: keep one",
            )


def _objective_problems(experiment: Experiment) -> Iterator[Problem]:
    """An objective must be one of the numbers that its metric gives. The names of these are found without data, from a
    metric whose sums are all one."""
    evaluation = experiment.trial.evaluation
    for objective in experiment.study.objectives:
        _, metric, *rest = objective.split("/")
        settings = next((settings for settings in evaluation.metrics if settings.name == metric), None)
        if settings is None or not rest:
            continue
        counted = plugins.build("metric", settings, evaluation.threshold_step)
        counted.merge({name: sums + 1 for name, sums in counted.state().items()})
        known = [f"train_fullsup/{name}" for name in counted.compute()]
        if objective not in known:
            hint = plugins.did_you_mean(objective, known)
            yield ("study", "objective"), f"{metric} gives no {objective!r}{hint}; it gives {', '.join(known)}"


def _blind_problems(experiment: Experiment) -> Iterator[Problem]:
    """No trial may be chosen by images that all of them trained on."""
    if experiment.trial.selects_blindly and experiment.study.trials > 1:
        yield ("study", "trials"), f"{nothing_left(experiment.trial)}: set it to 1, for the published point"


def _confirm_problems(experiment: Experiment) -> Iterator[Problem]:
    """Trials are confirmed by seeds that have selected none of them, in folders that this process sees."""
    place, confirm = ("study", "confirm"), experiment.study.confirm
    if confirm is None:
        return
    if "seed" in experiment.search:
        yield place, "trials that search the seed cannot be trained again with other seeds: leave one of both out"
    tried = {experiment.trial.seed, *(point.values["seed"] for point in experiment.points if "seed" in point.values)}
    if known := sorted(tried & {*confirm.seeds}):
        yield (*place, "seeds"), f"the search itself trains with seed {known[0]} and selects by it: give other seeds"
    if experiment.resources.storage:
        yield place, "needs a folder that all nodes see: leave it out, or resources.storage"


def _race_problems(experiment: Experiment) -> Iterator[Problem]:
    """Trials race on single images, so the metric of the objective must have a number for each."""
    if experiment.study.scheduler != "race":
        return
    evaluation, name = experiment.trial.evaluation, experiment.study.objectives[0].split("/")[1]
    settings = next((metric for metric in evaluation.metrics if metric.name == name), None)
    if settings is not None and not plugins.build("metric", settings, evaluation.threshold_step).by_image:
        yield ("study", "scheduler"), f"race compares single images, for which {name} has no numbers: use another one"
    if experiment.study.post_hoc == "every_trial":
        text = "race compares single images under one setting, and every_trial chooses another in every epoch"
        yield ("study", "scheduler"), f"{text}: use another scheduler, or post_hoc: winner"


def _study_problems(experiment: Experiment) -> Iterator[Problem]:
    study, trial = experiment.study, experiment.trial
    yield from _blind_problems(experiment)
    if study.post_hoc == "every_trial" and not experiment.post_hoc:
        yield (
            ("study", "post_hoc"),
            "every_trial has nothing to choose from: give values in post_hoc, or set it to winner",
        )
    measured = {metric.name: metric for metric in trial.evaluation.metrics}
    for metric in (objective.split("/")[1] for objective in study.objectives):
        if metric not in measured:
            hint = plugins.did_you_mean(metric, list(measured))
            yield (
                (
                    "study",
                    "objective",
                ),
                f"trial.evaluation.metrics does not measure {metric!r}{hint}; it measures {', '.join(measured)}",
            )
        elif not plugins.build("metric", measured[metric], trial.evaluation.threshold_step).higher_is_better:
            yield (
                ("study", "objective"),
                f"{metric!r} is better when lower, and searches look for high values; choose another",
            )
    if len(study.objectives) > 1 and (study.sampler in ONE_OBJECTIVE or study.scheduler != "none"):
        yield (
            (
                "study",
                "objective",
            ),
            f"several objectives need scheduler: none, and a sampler other than {' and '.join(ONE_OBJECTIVE)}",
        )
    yield from _confirm_problems(experiment)
    yield from _race_problems(experiment)
    workers, batch = experiment.resources.workers, trial.training.batch_size
    if workers > batch:
        yield (
            (
                "resources",
                "workers",
            ),
            f"{workers} workers cannot share out a global batch of {batch} (trial.training.batch_size)",
        )
