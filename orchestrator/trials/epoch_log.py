"""TensorBoard of one trial: its scalars and the maps of a few fixed images, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.pictures.overlays import Overlays
from orchestrator.runs import names
from wsol.checkpoint import Record
from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.method import Method


class EpochLog:
    """TensorBoard scalars of one trial and its maps of a few fixed images, in its folder.

    Args:
        folder: of the trial; `config.yaml` is written there too.
        config: of the trial.
        writes: False on all workers but one.
    """

    def __init__(self, folder: Path, config: TrainConfig, *, writes: bool) -> None:
        self.writer = None
        self.overlays = Overlays(config)
        if writes:
            from torch.utils.tensorboard import SummaryWriter

            from orchestrator.formats import to_yaml

            folder.mkdir(parents=True, exist_ok=True)
            (folder / names.TRIAL_CONFIG).write_text(to_yaml(config.model_dump(mode="json")))
            self.writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def __enter__(self) -> EpochLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.close()  # type: ignore[no-untyped-call]

    def __call__(self, method: Method, record: Record) -> None:
        """Write every value of an epoch, and draw its maps."""
        self.maps(method, record)
        self.scalars(record)

    def scalars(self, record: Record) -> None:
        """Write every value of an epoch."""
        if self.writer is not None:
            for name, value in record.items():
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
