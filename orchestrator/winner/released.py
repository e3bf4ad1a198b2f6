"""Makes a run folder of a released checkpoint, as if it had been trained here, so that the same verbs score it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrator.formats import timestamp, to_yaml
from orchestrator.runs import names
from orchestrator.runs.folder import create_run, require_no_run
from orchestrator.runs.header import write_header
from orchestrator.runs.lock import locked_new
from orchestrator.runs.result import write_result
from orchestrator.winner.finish import measured_result
from orchestrator.winner.measure import measure
from orchestrator.winner.result import write_config
from wsol.files import sha256, write_text

if TYPE_CHECKING:
    from orchestrator.experiment.load import Loaded
    from wsol.config import TrainConfig


def import_checkpoint(layout: str, file: Path | None, loaded: Loaded, folder: Path) -> None:
    """Make a run folder of a checkpoint and measure it on train_fullsup, where its post-hoc settings are chosen; test
    stays untouched.

    Args:
        layout: the repository whose names the weights have, a key of `wsol.layouts.LAYOUTS`; or `imagenet`, the
            backbone's own published classifier.
        file: the checkpoint; None with `imagenet`, whose file is the one of `backbone.weights` if that names one.
        loaded: the experiment whose `trial` says method, backbone and data set; its `search` is ignored.
        folder: the run folder; must not hold a run yet.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
    """
    from wsol.stock import own_file

    require_no_run(folder)
    experiment = loaded.experiment.model_copy(
        update={"search": {}, "study": loaded.experiment.study.model_copy(update={"trials": 1})}
    )
    weights = _weights(layout, file, experiment.trial)
    read = file or own_file(experiment.trial.backbone)
    source = {"layout": layout, **({} if read is None else {"file": str(read), "sha256": sha256(Path(read))})}
    with TemporaryDirectory() as staging:  # so that what fails leaves no folder behind
        digest = _export(weights, experiment.trial, Path(staging))
        result = measured_result(experiment, Path(staging), measure, digest)
        with locked_new(folder):
            header = create_run(
                folder, dataclasses.replace(loaded, experiment=experiment), "import", imported=source, trials=0
            )
            shutil.copytree(Path(staging) / names.WINNER, folder / names.WINNER, dirs_exist_ok=True)
            write_config(
                experiment,
                folder,
                f"The method of the imported {layout if read is None else Path(read).name}",
                result.config,
            )
            write_result(folder, dataclasses.replace(result, imported=source))
            write_header(folder, dataclasses.replace(header, ended=timestamp()))  # last: it makes the folder a run


def _weights(layout: str, file: Path | None, config: TrainConfig) -> dict[str, Any]:
    """The state dict of the configured method with the weights of the file; also checks the data set."""
    from wsol import build, layouts, weights_file
    from wsol.evaluation import require_countable
    from wsol.stock import stock_method

    dataset = build.dataset(config.data)
    if file is None:
        method = stock_method(config, dataset.class_names)
    else:
        state = weights_file.read(file)
        method = build.bare_method(config, dataset.num_classes)
        layouts.fill(method, layout, state, str(file))
    for split in ("train_fullsup", "test"):
        require_countable(build.split(dataset, split, config.data), config.data.image_size, config.evaluation)
    return method.state_dict()


def _export(weights: dict[str, Any], config: TrainConfig, folder: Path) -> str:
    """Write the files of a run that `measure` reads; returns the SHA-256 of the weights."""
    from wsol.checkpoint import write_state

    (folder / names.WINNER).mkdir()
    write_text(folder / names.WINNER_CONFIG, to_yaml(config.model_dump(mode="json")))
    return write_state(folder / names.WINNER_WEIGHTS, {"method": weights})
