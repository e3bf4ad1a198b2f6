"""CUB with small objects."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.faked_trees import (
    Faked,
    fake,
    images_of,
    know_archives,
    patterned,
    put,
)
from tests.support.tiny import Launch
from wsol import build
from wsol.config import TrainConfig
from wsol.data import metadata
from wsol.datasets import cub
from wsol.errors import InputError
from wsol.evaluation import evaluate, require_countable


def test_cub_with_small_objects(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("CUB", monkeypatch)
    names = [f"{k + 1:03}.Bird_{k + 1}/9{k:09}.jpg" for k in range(3)]
    small = patterned("small", names, kind="boxes")
    monkeypatch.setitem(cub.COUNTS, "small", {"images": 3, "boxes": 3})
    monkeypatch.setitem(cub.COUNTS, "test_and_small", {"images": 23, "boxes": 23})
    metadata.write(Path("source/metadata/CUB/small"), small)
    code, _, err = faked.prepare(launch, "test_images=both")
    assert (
        code == 2 and "CUBSmall.zip" in err and "data prepare cub --root data test_images=both --source source" in err
    )
    put(Path("source/CUBSmall.zip"), {f"CUBSmall/{name}": content for name, content in images_of(small).items()})
    assert faked.prepare(launch, "test_images=both")[0] == 0
    for setting, count in (("official", 20), ("small", 3), ("both", 23)):
        code, out, _ = launch("data", "check", "cub", f"test_images={setting}")
        assert code == 0 and f"cub test: {count} images" in out
    both = build.dataset(cub.Config(test_images="both")).split("test")
    assert both.name == "test" and both.image_ids[20:] == tuple(names)
    assert both.key != build.dataset(cub.Config()).split("test").key, "the images of both are cached beside each other"


CONFIG = {
    "method": {"name": "cam"},
    "backbone": {"name": "tiny", "stride": 8, "width": 4},
    "data": {"name": "cub", "image_size": 32, "resize_size": 36},
    "evaluation": {"metrics": [{"name": "max_box_acc"}], "test_metrics": [{"name": "pxap"}, {"name": "piou"}]},
}


def votes(level: int) -> bytes:
    """A segmentation whose upper half someone marked, and its first row everyone."""
    pixels = np.zeros((64, 96), np.uint8)
    pixels[:32], pixels[0] = level, 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> Faked:
    """CUB with the segmentations of all its images in the source: grey levels as of one, two, ... of five votes."""
    faked = fake("CUB", monkeypatch)
    for folder in ("train", "test"):
        monkeypatch.delitem(cub.COUNTS[folder], "masks", raising=False)
    ids = [
        name
        for folder in ("train", "test")
        for name in metadata.read(Path("source/metadata/CUB") / folder, annotated=folder == "test").image_ids
    ]
    names = [f"segmentations/{name.removesuffix('.jpg')}.png" for name in ids]
    put(Path("source/segmentations.tgz"), {name: votes(51 * (1 + k % 5)) for k, name in enumerate(names)})
    know_archives(cub, monkeypatch)
    return faked


@pytest.mark.parametrize("unpacked", [False, True])
def test_segmentations_are_taken_where_they_are(unpacked: bool, segmented: Faked, launch: Launch) -> None:
    if unpacked:
        with tarfile.open("source/segmentations.tgz") as archive:
            archive.extractall("source", filter="data")
        Path("source/segmentations.tgz").unlink()
    code, out, err = segmented.prepare(launch)
    assert code == 0, err
    assert "cub test: 20 images, 20 classes, 20 boxes, 20 masks\n" in out
    assert len(list(Path("data/CUB/segmentations").rglob("*.png"))) == 20, "those of the test images alone"
    assert launch("data", "check", "cub")[1].splitlines() == out.splitlines()[-3:]
    test = build.dataset(cub.Config()).split("test")
    for position in range(5):
        annotation = test.annotation(position, 32)
        assert len(annotation.boxes) == 1 and annotation.mask is not None
        assert annotation.mask[:16].all() and not annotation.mask[16:].any(), "whatever anyone marked, at every level"


def test_masks_of_test_are_scored_beside_boxes(segmented: Faked, launch: Launch) -> None:
    assert segmented.prepare(launch)[0] == 0
    config = TrainConfig.model_validate(CONFIG)
    dataset = build.dataset(config.data)
    method = build.trained_method(config, build.bare_method(config, 200).state_dict(), dataset.num_classes)
    images = {name: build.images(dataset, name, config.data) for name in ("train_fullsup", "test")}
    with torch.no_grad():
        found = {name: evaluate(method, store, config.evaluation) for name, store in images.items()}
    for name, store in images.items():
        require_countable(store.split, 32, config.evaluation)
        assert "max_box_acc" in found[name]
        assert ("pxap" in found[name], "piou" in found[name]) == (name == "test",) * 2
    assert 0 < found["test"]["piou"] <= 100 and found["test"]["piou"] >= 50 - 1e-9, "half of every image is the object"


def test_without_segmentations_it_is_said_what_to_get(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("CUB", monkeypatch)
    code, out, _ = faked.prepare(launch)
    how = (
        "for masks, put segmentations.tgz (39,272,883 bytes, the segmentations of CUB-200-2011, from"
        " https://data.caltech.edu/records/w9d68-gec53) into data/downloads and run `python launch.py data prepare cub"
        " --root data`"
    )
    assert code == 0 and f"cub test: 20 images, 20 classes, 20 boxes, 0 masks; {how}\n" in out
    assert f"0 masks; {how}\n" in launch("data", "check", "cub")[1]
    config = TrainConfig.model_validate(CONFIG)
    dataset = build.dataset(config.data)
    with pytest.raises(
        InputError, match=r"evaluation\.test_metrics: pxap on test: this image has no mask.*; for masks,"
    ):
        require_countable(dataset.split("test"), 32, config.evaluation)
    chosen_by = config.evaluation.model_copy(update={"metrics": config.evaluation.test_metrics, "test_metrics": []})
    with pytest.raises(InputError, match=r"evaluation\.metrics: pxap on train_fullsup: .*; CUBV2 has no masks"):
        require_countable(dataset.split("train_fullsup"), 32, chosen_by)
    assert launch("data", "check", "cub", "test_images=small")[0] == 2


def test_segmentations_that_are_lost_are_brought_again(segmented: Faked, launch: Launch) -> None:
    assert segmented.prepare(launch)[0] == 0
    lost = next(Path("data/CUB/segmentations").rglob("*.png"))
    lost.unlink()
    code, _, err = launch("data", "check", "cub")
    assert code == 2 and f"{lost}: no such file" in err
    assert segmented.prepare(launch)[0] == 0 and lost.is_file()
    Path("source/segmentations.tgz").write_bytes(b"cut short")
    assert segmented.prepare(launch)[0] == 0, "nothing more is wanted of it"
    lost.unlink()
    code, _, err = segmented.prepare(launch)
    assert code == 2 and "segmentations.tgz: has 9 bytes" in err
