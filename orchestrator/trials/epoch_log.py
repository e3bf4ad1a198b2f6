"""Logs one trial to TensorBoard, epoch by epoch: its scalars, and the maps of a few fixed images as they get better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiment.paths import value_at_path
from orchestrator.experiment.post_hoc import Setting
from orchestrator.pictures.overlays import Overlays
from orchestrator.runs import names
from wsol.checkpoint import SETTING, Record

if TYPE_CHECKING:
    from wsol.method import Method


class EpochLog:
    """Writes the TensorBoard scalars of one trial, and its maps of a few fixed images, into its folder.

    Args:
        folder: the trial's folder; `config.yaml` is written there too.
        settings: the settings that every epoch is scored under, the trial's own first; see `post_hoc_settings`.
        writes: False on all workers but one.
    """

    def __init__(self, folder: Path, settings: Sequence[Setting], *, writes: bool) -> None:
        self.writer, self.settings = None, settings
        self.overlays = Overlays([config for _, config in settings])
        if writes:
            from torch.utils.tensorboard import SummaryWriter

            from orchestrator.formats import to_yaml

            folder.mkdir(parents=True, exist_ok=True)
            (folder / names.TRIAL_CONFIG).write_text(to_yaml(settings[0][1].model_dump(mode="json")))
            self.writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def __enter__(self) -> EpochLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.close()  # type: ignore[no-untyped-call]

    def __call__(self, method: Method, record: Record) -> None:
        """Write every value of an epoch. Its maps are drawn if its weights are the best so far, and at the end: in a
        short epoch, drawing takes as long as training."""
        is_last = int(record["epoch"]) == self.settings[0][1].training.epochs
        if is_last or not record["objective_now"] < record["objective"]:
            self.maps(method, record)
        self.scalars(record)

    def scalars(self, record: Record) -> None:
        """Write every value of an epoch."""
        if self.writer is not None:
            for name, value in {**record, **chosen_numbers(self.settings, record)}.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, int(record["epoch"]))  # type: ignore[no-untyped-call]
            self.writer.flush()  # type: ignore[no-untyped-call]

    def maps(self, method: Method, record: Record) -> None:
        """Draw the maps of an epoch."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self.writer is not None:
            pictures = self.overlays(method, record)
            images = (
                (f"score_maps/{name}", Summary.Image(encoded_image_string=jpeg, height=side, width=side))
                for name, jpeg, side in pictures
            )
            values = [Summary.Value(tag=tag, image=image) for tag, image in images]
            self.writer._get_file_writer().add_summary(Summary(value=values), int(record["epoch"]))  # type: ignore[no-untyped-call]


def chosen_numbers(settings: Sequence[Setting], record: Record) -> Record:
    """The numeric values of the post-hoc setting that an epoch was scored under, by dotted path; empty if none was
    chosen."""
    if SETTING not in record:
        return {}
    _, config = settings[int(record[SETTING])]
    found: dict[str, object] = {}
    for path in settings[-1][0]:  # any but the trial's own has all paths
        value = value_at_path(config.model_dump(), path)
        found |= {f"{path}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {path: value}
    return {f"post_hoc/{path}": float(value) for path, value in found.items() if isinstance(value, int | float)}
