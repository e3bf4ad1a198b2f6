"""Writes complete event files for TensorBoard: the HParams tab with every trial, its parameters, how it ended and its
metrics at the best epoch; and the precision-recall curve of a winner on masks. `trials/epoch_log.py` logs epoch by
epoch.

The process that owns the study writes them, so that the table also has trials whose process died, and those that repeat
another. No list of all parameters is written: TensorBoard collects it from the trials, so that conditional parameters
and several studies fit in one table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

    from wsol.config import TrainConfig
    from wsol.ops.boxes import Floats


BEGIN, END = "!begin", "~end"
"""Endings of file names. TensorBoard reads the files of a folder in the order of their names, each once: the file that
is logged to must come in between."""


METRIC = "trial_best/"
"""Prefix of the metrics at the best epoch, single points for the HParams table. TensorBoard sorts by name, and the
curves should come first."""


CURVE_POINTS = 101


PIXELS = 1_000_000
"""The number of pixels to which the counts of a curve are scaled."""


def write_begin(folder: Path, config: TrainConfig, values: Mapping[str, Any]) -> None:
    """Write that a trial begins, perhaps again.

    Args:
        folder: the trial's folder.
        config: what is trained; names of method and backbone, and the seed, are parameters of every trial.
        values: search path -> value.
    """
    from tensorboard.plugins.hparams import plugin_data_pb2

    for file in [*folder.glob(f"*{BEGIN}"), *folder.glob(f"*{END}")]:
        file.unlink()
    session = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    common = {"method.name": config.method.name, "backbone.name": config.backbone.name, "seed": config.seed}
    for name, value in {**common, **values}.items():
        _set(session.hparams[name], value)
    _write(folder, BEGIN, [_plugin_value(session_start_info=session)])


def write_end(folder: Path, succeeded: bool, metrics: Mapping[str, float], epoch: int) -> None:
    """Write that a trial has ended.

    Args:
        folder: the trial's folder.
        succeeded: False where it failed; one that the scheduler stopped did not fail.
        metrics: its metrics at the best epoch; empty where it has none.
        epoch: the best one.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
    session = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    scalars = [
        Summary.Value(tag=METRIC + name, simple_value=float(value))
        for name, value in metrics.items()
        if name != "epoch"
    ]
    _write(folder, END, [_plugin_value(session_end_info=session), *scalars], epoch)


def write_pixel_curve(folder: Path, split: str, precision: Floats, recall: Floats) -> None:
    """Write the tab of PR curves: how many pixels are right and wrong at each score threshold.

    Args:
        folder: where the file goes, in place of a former one of this split.
        split: names the curve.
        precision: (T,) in percent over score thresholds from 0 on, where every pixel is predicted.
        recall: likewise.
    """
    from torch.utils.tensorboard.summary import pr_curve_raw

    for file in folder.glob(f"*pixels-{split}"):
        file.unlink()
    places = np.linspace(0, len(precision) - 1, CURVE_POINTS).round().astype(int)
    right, found = precision[places] / 100, recall[places] / 100
    objects = PIXELS * precision[0] / 100
    true = objects * found
    false = np.where(right > 0, true * (1 / np.maximum(right, 1e-12) - 1), 0.0)
    counts = true, false, PIXELS - objects - false, objects - true
    summary = pr_curve_raw(f"pixels/{split}", *counts, right, found, CURVE_POINTS)  # type: ignore[no-untyped-call]
    _write(folder, f"pixels-{split}", list(summary.value))


def _set(slot: Any, value: Any) -> None:
    """Set the field of a protobuf value that fits the type of a value."""
    if isinstance(value, bool):
        slot.bool_value = value
    elif isinstance(value, int | float):
        slot.number_value = value
    else:
        slot.string_value = str(value)


def _plugin_value(**session: Any) -> Summary.Value:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    kind = metadata.SESSION_START_INFO_TAG if "session_start_info" in session else metadata.SESSION_END_INFO_TAG
    content = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **session)
    return Summary.Value(tag=kind, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)


def _write(folder: Path, ending: str, values: list[Summary.Value], step: int = 0) -> None:
    """Write a complete event file, without the thread that TensorBoard's own writer starts."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    with (folder / f"events.out.tfevents.{int(now):010d}.{ending}").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        writer.write(Event(wall_time=now, step=step, summary=Summary(value=values)).SerializeToString())
        writer.flush()
