"""The verbs of data sets: prepare and check."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.console import console
from orchestrator.experiment.messages import describe
from orchestrator.experiment.yaml_reader import parse_scalar
from orchestrator.preflight.place import require_no_foreign_files, require_writable
from wsol import plugins
from wsol.errors import InputError
from wsol.files import exists, is_dir
from wsol.schema import DatasetConfig

if TYPE_CHECKING:
    from wsol.data.dataset import Dataset

Model = TypeVar("Model", bound=BaseModel)


def prepare_data(name: str, root: Path, settings: list[str], source: Path | None) -> None:
    """Prepare a data set; its file in `wsol/datasets` says what is needed. Or convert annotations in another format
    into a data set; see `wsol/data/imports`.

    Args:
        name: the name of a data set, or of an annotation format.
        root: the folder that holds the data sets; with annotations, the folder of the new data set.
        settings: `KEY=VALUE` of its `Config`.
        source: an archive or a folder that the user already has; None: nothing.

    Raises:
        InputError: there is no such data set, setting or source, or an archive is missing or damaged.
    """
    from wsol.data.imports.making import FORMATS

    if name in FORMATS:
        _import_annotations(name, root.expanduser(), settings, source)
        return
    config = _dataset_config(name, root, settings, more=FORMATS)
    given = source and source.expanduser()
    if given is not None and not exists(given):
        raise InputError(f"--source {given}: there is no such file or folder")
    require_writable(Path(config.root))
    plugins.load("dataset", name).prepare(config, given, console.print)


def check_data(name: str, root: Path, settings: list[str], pictures: Path | None = None) -> None:
    """Verify a prepared data set. Further arguments: see `prepare_data`.

    Args:
        pictures: a folder for a sheet of annotated images of each split.

    Raises:
        InputError: there is no such data set or setting, a file of it is missing or wrong, or the folder cannot be
            written.
    """
    from wsol import build
    from wsol.data.imports.making import FORMATS
    from wsol.data.tree import check_tree

    if name in FORMATS:
        raise InputError(
            f"{name}: is an annotation format; check the data set made from it: `data check folder --root {root}`"
        )
    if pictures is not None:
        require_writable(pictures)
    config = _dataset_config(name, root, settings)
    dataset = build.dataset(config)
    check_tree(dataset, console.print)
    if pictures is not None:
        _draw_sheets(dataset, config, pictures)


def _draw_sheets(dataset: Dataset, config: DatasetConfig, folder: Path) -> None:
    from orchestrator.pictures.drawing import save_jpeg
    from orchestrator.pictures.sheet import sheet
    from wsol.data.dataset import SPLIT_FOLDERS

    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLIT_FOLDERS:
        save_jpeg(folder / f"{split}.jpg", sheet(dataset.split(split), config))
        console.print(f"look at it: {folder / split}.jpg")


def _import_annotations(name: str, root: Path, settings: list[str], source: Path | None) -> None:
    """Convert annotations into a data set of kind `folder`, and say how to go on."""
    from wsol.data.imports.making import make, reader

    if source is not None:
        raise InputError(f"--source {source}: {name} takes annotations={source} instead")
    try:
        config = _validated(reader(name).Config, settings, {})
    except InputError as error:
        example = f"python launch.py data prepare {name} {reader(name).EXAMPLE} --root data/mine"
        raise InputError(f"{error}\nfor example: {example}") from None
    require_writable(root)
    require_no_foreign_files(root, lambda _: False)
    make(name, config, root, console.print)
    _print_next_steps(root)


def _print_next_steps(root: Path) -> None:
    place, masks = shlex.quote(str(root)), is_dir(root / "masks")
    console.print(f"{root}: a data set `folder`; images is a link to {(root / 'images').resolve()}, nothing is copied")
    console.print(f"check it again: python launch.py data check folder --root {place}")
    console.print(f"search it: python launch.py init {place}, or these lines as a file in search_spaces/:")
    console.print(f"  extends: cam_cub.yaml{'   # or cam_openimages.yaml, which scores the masks' if masks else ''}")
    console.print(f"  trial: {{data: {{name: folder, root: {json.dumps(str(root))}}}}}")


def _dataset_config(name: str, root: Path, settings: list[str], more: tuple[str, ...] = ()) -> DatasetConfig:
    """The settings of a data set, parsed from a command line; `more` are further names that a message lists."""
    try:
        plugin = plugins.load("dataset", name)
    except ValueError as error:
        raise InputError(str(error) + (f"; and annotations of {', '.join(more)}" if more else "")) from None
    config: DatasetConfig = _validated(plugin.Config, settings, {"name": name, "root": str(root)})
    return config


def _validated(model: type[Model], settings: list[str], given: dict[str, Any]) -> Model:
    values = {key: parse_scalar(text) for key, _, text in (setting.partition("=") for setting in settings)}
    try:
        return model.model_validate({**given, **values})
    except ValidationError as error:
        problems = [
            (".".join(map(str, e["loc"])), describe(e, lambda: list(model.model_fields))) for e in error.errors()
        ]
        raise InputError("\n".join(f"command line: {path}: {text}" for path, text in problems)) from None
