"""The contract that every data set keeps."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from wsol import plugins
from wsol.contract.found import file_of, usable
from wsol.data.dataset import SPLIT_FOLDERS, Sizes
from wsol.errors import InputError
from wsol.schema import DatasetConfig

every_dataset = pytest.mark.parametrize("name", usable("dataset"))


def settings_in(name: str, folder: Path) -> DatasetConfig:
    """The defaults with a root of its own; what has no default is taken for a folder."""
    config = plugins.load("dataset", name).Config
    needed = {key: str(folder / key) for key, field in config.model_fields.items() if field.is_required()}
    made: DatasetConfig = config(root=str(folder), **needed)
    return made


@every_dataset
def test_its_text_says_how_the_files_lie(name: str) -> None:
    assert "*Layout.*" in (plugins.load("dataset", name).__doc__ or ""), (
        f"{file_of('dataset', name)}: its docstring has no paragraph *Layout.*"
    )


@every_dataset
def test_what_prepare_makes_is_whole_and_what_it_cannot_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a connection: `prepare` makes the data set, or an InputError says what is missing; the same of `build`
    before that."""

    def no_connection(*_: object, **__: object) -> None:
        raise OSError("no connection in tests")

    monkeypatch.setattr(socket, "create_connection", no_connection)
    plugin, config = plugins.load("dataset", name), settings_in(name, tmp_path)
    with suppress(InputError):
        plugin.build(config).split("test")
    try:
        plugin.prepare(config, None, lambda line: None)
    except InputError as error:
        assert len(str(error)) > 40, "what is missing, where it belongs, what to do"
        return
    data = plugin.build(config)
    splits = {split: data.split(split) for split in SPLIT_FOLDERS}
    assert set(splits["train_weaksup"].labels.tolist()) == set(range(data.num_classes)), (
        "every class has images in train_weaksup"
    )
    for split in splits.values():
        assert split.image_path(len(split) - 1).is_file()
    for split in (splits["train_fullsup"], splits["test"]):
        annotation = split.annotation(0, 32)
        assert len(annotation.boxes) or annotation.mask is not None, f"{split.name} needs boxes or masks"
    if hasattr(plugin, "sizes"):
        assert plugin.sizes(config) == Sizes(data.num_classes, **{split: len(part) for split, part in splits.items()})
