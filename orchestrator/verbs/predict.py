"""`predict`: class and boxes of images without annotations, from the winner of a run.

read_result     has the score thresholds that were chosen on train_fullsup
find_photos     the images, in a sorted order; nothing is written until the winner is open
open_model      the winner
predictions_of  a stream: files are read, the network runs, boxes are found and pictures drawn side by side
new_predictions the tables, image by image
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from orchestrator.console import console
from orchestrator.formats import duration
from orchestrator.preflight.photos import Photos, find_photos, in_words
from orchestrator.preflight.place import require_no_foreign_files, require_writable
from orchestrator.runs.result import WinnerResult, read_result
from orchestrator.winner.exported import Model, open_model
from orchestrator.winner.predictions import MAPS, OVERLAYS, RESULTS, TABLE, Predictions, draw, new_predictions
from wsol import build
from wsol.errors import InputError, RunFailed, counted
from wsol.pace import Progress
from wsol.prediction import BoxRule, Failed, Prediction, box_rule, predict_photos, read_photos


def predict(
    folder: Path, places: Sequence[Path], out: Path, *, maps: bool = False, threshold: float | None = None
) -> Path:
    """Predict classes and boxes of images with the exported winner of a run; returns the folder of the results.

    Args:
        folder: the folder of a finished run.
        places: image files, or folders that are searched for images.
        out: folder of the results, new or empty.
        maps: write the raw maps as well.
        threshold: score threshold of the boxes, in [0, 1); None: the one chosen on train_fullsup.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
        RunFailed: none of the images could be read; the tables say why.
        KeyboardInterrupt: the user stopped it; the tables hold what was predicted until then.
    """
    result = read_result(folder)
    require_writable(out)
    require_no_foreign_files(out, lambda _: False)
    photos = find_photos(places, out)
    model = open_model(folder, result)
    rule = _rule(folder, model, result, threshold)
    console.print(_plan_in_words(folder, model, photos, rule))
    begun = time.monotonic()
    with new_predictions(out, model.class_names) as predictions:
        try:
            for found in _followed(predictions_of(model, photos, rule, out, maps=maps), len(photos.names)):
                predictions.add(found)
        except KeyboardInterrupt:
            console.print(f"\ninterrupted; the tables in {out} have {_share(predictions.images, photos)}")
            raise
    _require_one(predictions, out)
    console.print(_end_in_words(predictions, out, time.monotonic() - begun, maps=maps))
    return out


def predictions_of(
    model: Model, photos: Photos, rule: BoxRule, out: Path, *, maps: bool
) -> Iterator[Prediction | Failed]:
    """Yield the prediction of every image, in order, as soon as its pictures are written.

    Args:
        model: the winner.
        photos: the images.
        rule: how boxes are found in a map.
        out: folder of the results.
        maps: write the raw maps as well.
    """
    data, evaluation = model.config.data, model.config.evaluation
    files = read_photos(
        photos.names, photos.folder, data.image_size, threads=data.workers, ahead=2 * evaluation.batch_size
    )
    return predict_photos(model.method, files, evaluation, rule, partial(draw, folder=out, maps=maps))


def _rule(folder: Path, model: Model, result: WinnerResult, threshold: float | None) -> BoxRule:
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"--threshold {threshold:g}: scores lie in [0, 1); choose one there, such as 0.3")
    evaluation = model.config.evaluation
    rule = box_rule(build.metrics(evaluation), result.metric, result.train_fullsup, threshold)
    if rule is None:
        names = ", ".join(metric.name for metric in evaluation.metrics)
        raise InputError(
            f"{folder}: none of its metrics ({names}) chose a score threshold on train_fullsup; give one, such as"
            " --threshold 0.3"
        )
    return rule


def _plan_in_words(folder: Path, model: Model, photos: Photos, rule: BoxRule) -> str:
    count = counted(len(photos.names), "image")
    left_out = f"; left out, not named like images: {in_words(photos.left_out)}" if photos.left_out else ""
    contours = "of all contours" if rule.contours == "all" else "of the largest contour"
    trained = ", on whose images it was trained" if model.config.selects_blindly else ""
    source = f"that of {rule.source} on train_fullsup{trained}" if rule.source else "as given"
    return (
        f"{folder}: {model.config.method.name} on {model.config.backbone.name}, {len(model.class_names)} classes\n"
        f"{count} of {photos.folder}{left_out}\n"
        f"boxes {contours} at score threshold {rule.threshold:.4g} ({source})"
    )


def _followed(stream: Iterator[Prediction | Failed], total: int) -> Iterator[Prediction | Failed]:
    """Pass predictions on, print a line for each that failed, and show the progress."""
    with Progress("predicting", total, "images", console.print) as progress:
        for done, found in enumerate(stream, start=1):
            if isinstance(found, Failed):
                progress.clear()
                console.print(f"{found.name}: {found.reason}")
            progress.show(done)
            yield found


def _share(done: int, photos: Photos) -> str:
    return f"{done} of {counted(len(photos.names), 'image')}"


def _require_one(predictions: Predictions, out: Path) -> None:
    if predictions.failed == predictions.images:
        raise RunFailed(f"{out / TABLE}: none of the images has a prediction, for the reasons above")


def _end_in_words(predictions: Predictions, out: Path, seconds: float, *, maps: bool) -> str:
    rate = f"{predictions.images / seconds:.3g} a second"
    failed = f"; {predictions.failed} failed, see the column error" if predictions.failed else ""
    lines = [
        f"{counted(predictions.images, 'image')} in {duration(seconds)}, {rate}; {predictions.boxes} boxes{failed}",
        f"tables:   {out / TABLE}, {out / RESULTS} (COCO's result format)",
        f"overlays: {out / OVERLAYS}/<image>.png",
    ]
    return "\n".join(
        [*lines, f"maps:     {out / MAPS}/<image>.npy, raw, as large as the network makes them"][: 3 + maps]
    )
