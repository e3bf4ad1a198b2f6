"""Score what exists already: a finished run, maps from elsewhere, a released checkpoint, or a baseline."""

from __future__ import annotations

from pathlib import Path

from orchestrator.console import console
from orchestrator.experiment.load import load_and_print_notes
from orchestrator.preflight.place import default_folder, require_maps_folder, require_new_run_folder, require_writable
from orchestrator.report.page import write_report
from orchestrator.report.tables import score_table, settings_table
from orchestrator.runs import names
from orchestrator.runs.result import read_result
from orchestrator.runs.saved_maps import record_look_at_maps, write_origin
from orchestrator.runs.tested import looks_at_test
from orchestrator.winner.finish import evaluate_test
from orchestrator.winner.in_store import push_evaluation
from orchestrator.winner.measure import MeasureRequest, measure
from orchestrator.winner.post_hoc import adopt_best, choice_in_words, score_settings
from wsol.errors import InputError


def evaluate(folder: Path, split: str, test_again: str | None, save_maps: Path | None = None) -> dict[str, float]:
    """Score the exported winner of a run. The test split is scored once, unless a reason is given, which is recorded.
    The raw maps can be saved at the same time.

    Raises:
        InputError: the run has no winner, there is no such split, test was evaluated before and no reason is given, or
            the folder of the run or of the maps cannot be written.
    """
    require_scored_split(split)
    if test_again is not None and split != "test":
        raise InputError("--test-again: is for the test split; add --split test")
    if test_again is not None and not test_again.strip():
        raise InputError('--test-again: say why, as in --test-again "the reviewers asked"; it is recorded')
    result = read_result(folder)
    require_writable(folder)
    if save_maps is not None:
        require_maps_folder(save_maps)
        write_origin(save_maps, folder, split, result.checkpoint_sha256)
    if split == "test":
        measured = evaluate_test(folder, measure, result, test_again, save_maps)
        write_report(folder)
        push_evaluation(folder)
    else:
        measured = measure(MeasureRequest(folder, split, result.checkpoint_sha256, save_maps=save_maps))
    console.print(score_table(split, measured.metrics, measured.baseline, measured.intervals))
    if save_maps:
        console.print(f"maps:  {save_maps}/<image_id>.npy, raw, as large as the network makes them")
    return measured.metrics


def require_scored_split(split: str) -> None:
    """Raises InputError unless a split is one that has annotations."""
    if split not in ("train_fullsup", "test"):
        raise InputError(f"--split {split}: use train_fullsup or test")


def evaluate_settings(folder: Path, path: Path | None, overrides: list[str]) -> Path:
    """Score the winner of a run on train_fullsup under many post-hoc settings; returns the file with all their metrics.

    Args:
        folder: the run folder.
        path: a search-space file, whose `post_hoc` section is used; None: only `overrides`.
        overrides: `post_hoc.PATH=[VALUE, ...]`.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
    """
    metric = read_result(folder).metric
    require_writable(folder)
    settings = score_settings(folder, path, overrides)
    console.print(settings_table(f"train_fullsup, {folder}", settings, metric))
    if looks_at_test(folder):
        console.print("the test split was evaluated before; the run keeps the setting that it was evaluated with")
    else:
        console.print(f"used from now on: {adopt_best(folder, settings)}, see {folder / names.WINNER_CONFIG}")
        write_report(folder)
    push_evaluation(folder)
    console.print(f"all metrics: {folder / names.POST_HOC}")
    return folder / names.POST_HOC


def evaluate_maps(maps: Path, path: Path, overrides: list[str], split: str) -> dict[str, float]:
    """Score maps from elsewhere against the annotations of a data set.

    Args:
        maps: a folder with `<image_id>.npy`, (h, w) of any size, for every image of the split.
        path: a search-space file; the data set and the evaluation settings of its `trial` are used.
        overrides: `KEY=VALUE`.
        split: `train_fullsup` or `test`.

    Raises:
        InputError: the user can correct what is wrong.
    """
    require_scored_split(split)
    from wsol import build, supervision
    from wsol.scoring import map_sizes, score_files

    config = load_and_print_notes(path, overrides, ignores_search=True).experiment.trial
    part, side = supervision.scored_split(build.dataset(config.data), split, config), config.data.image_size
    sizes = map_sizes(maps, part)
    console.print(
        f"{len(part)} maps of {maps} on {split} of {config.data.name}, normalizer {config.evaluation.normalizer.name}"
    )
    for (height, width), number in sorted(sizes.items()):
        how = f"resized to {side} x {side} ({config.evaluation.interpolation})"
        resized = "as they are" if (height, width) == (side, side) else how
        console.print(f"  {number} of {height} x {width}, {resized}")
    scores = score_files(maps, part, side, config.evaluation)
    console.print(score_table(split, scores.metrics, {}, scores.intervals()))
    if split == "test":
        console.print(record_look_at_maps(maps))
    return scores.metrics


def evaluate_import(layout: str, file: Path | None, path: Path, overrides: list[str], run: Path | None) -> Path:
    """Make a run folder of a released checkpoint and score it on train_fullsup; returns the folder.

    Args:
        layout: the repository whose names the weights have, one of `wsol/layouts.py`; or `imagenet`, the backbone's own
            published classifier.
        file: the checkpoint; None with `imagenet`.
        path: a search-space file, whose `trial` says method, backbone and data set.
        overrides: `KEY=VALUE`.
        run: the run folder; must not hold a run. None: `runs/<name of the checkpoint>`, or `runs/imagenet-<network>`,
            followed by the name of the file if `backbone.weights` names one.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
    """
    from orchestrator.winner.released import import_checkpoint
    from wsol.stock import model_name, own_file

    loaded = load_and_print_notes(path, overrides, ignores_search=True)
    network, weights = model_name(loaded.experiment.trial.backbone), own_file(loaded.experiment.trial.backbone)
    stock = [layout, network, *([] if weights is None else [_stem(Path(weights))])]
    folder = run or default_folder("-".join(stock) if file is None else _stem(file))
    require_new_run_folder(folder)
    import_checkpoint(layout, file, loaded, folder)
    result = read_result(folder)
    split = "train_fullsup"
    what = file or f"the classifier of {weights or f'the published {network}'}"
    console.print(f"imported {what} ({layout}) into {folder}")
    if digest := (result.imported or {}).get("sha256"):
        console.print(f"sha-256:     {digest}")
    if choice := choice_in_words(result):
        console.print(f"post-hoc settings chosen on train_fullsup: {choice}")
    console.print(score_table(split, result.train_fullsup, result.baseline[split], result.intervals[split]))
    console.print(f"report:      {write_report(folder)}")
    console.print(
        f"test split:  untouched; when you are sure:\n             python launch.py evaluate {folder} --split test"
    )
    return folder


def _stem(file: Path) -> str:
    """The name of a file up to its first dot."""
    return file.name.partition(".")[0]


def evaluate_baseline(metadata: Path, grid: int) -> dict[str, float]:
    """Score the centre Gaussian. It needs only metadata, no images and no network.

    Args:
        metadata: folder with the four text files of a split.
        grid: side of the evaluation grid in pixels.

    Returns:
        metric name -> percent.

    Raises:
        InputError: the metadata cannot be read, or has masks instead of boxes.
    """
    from wsol import build
    from wsol.baseline import center_gaussian, score_constant_map
    from wsol.config import EvaluationConfig
    from wsol.data.metadata import read
    from wsol.types import Annotation

    config = EvaluationConfig.model_validate({"metrics": [{"name": "max_box_acc_v2"}, {"name": "max_box_acc"}]})
    data = read(metadata, annotated=True)
    if data.boxes is None or data.sizes is None:
        raise InputError(f"{metadata}: has masks, not boxes; the box metrics cannot be computed")
    annotations = (Annotation((int(w), int(h)), boxes) for (w, h), boxes in zip(data.sizes, data.boxes, strict=True))
    scores = score_constant_map(
        center_gaussian((grid, grid), grid / 4), annotations, build.metrics(config), config.threshold_step
    )
    console.print(f"centre Gaussian on {len(data.image_ids)} images of {metadata}, grid {grid}")
    console.print(score_table("centre Gaussian", scores, {}))
    return scores
