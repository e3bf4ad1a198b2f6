"""The three published data sets with faked images: prepared from their archives, checked, trained on and scored."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.support.faked_trees import (
    NOWHERE,
    PLUGINS,
    fake,
)
from tests.support.tiny import Launch
from wsol import build
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS
from wsol.datasets import _prepare, cub
from wsol.evaluation import evaluate
from wsol.training import train

METRICS = {"CUB": "max_box_acc_v2", "ILSVRC": "max_box_acc_v2", "OpenImages": "pxap"}


@pytest.mark.parametrize("name", PLUGINS)
def test_from_archives_to_a_score(name: str, real: bool, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake(name, monkeypatch, real=real, classes=1000)
    code, _, err = faked.prepare(launch)
    assert code == 0, err
    left = sorted(
        path.name
        for path in Path("data").rglob("*")
        if path.name.startswith(".") or path.name.endswith((".part", ".tmp"))
    )
    assert not left, "nothing temporary stays"
    shutil.rmtree("source")
    again, out_again, _ = launch("data", "prepare", faked.name)
    checked, out_checked, _ = launch("data", "check", faked.name)
    assert again == checked == 0 and out_again == out_checked, "the second time there is nothing to do but to check"
    assert [line.split(":")[0] for line in out_checked.splitlines()] == [
        f"{faked.name} {split}" for split in SPLIT_FOLDERS
    ]

    config = TrainConfig.model_validate(
        {
            "method": {"name": "cam"},
            "backbone": {"name": "tiny", "stride": 8, "width": 4},
            "data": {"name": faked.name, "image_size": 32, "resize_size": 36},
            "training": {"epochs": 1, "batch_size": 500},
            "evaluation": {"threshold_step": 0.1, "metrics": [{"name": METRICS[name]}]},
        }
    )
    train(config, Path("trial"), f"train_fullsup/{METRICS[name]}")
    best = Checkpoints(Path("trial"))
    dataset = build.dataset(config.data)
    method = build.trained_method(config, best.load(best.best)["method"], dataset.num_classes)
    scored = evaluate(method, build.images(dataset, "test", config.data), config.evaluation)
    assert 0 < scored[METRICS[name]] <= 100


BY_HAND = {
    "CUB": ["CUBV2.tar (size not known"],
    "ILSVRC": ["ILSVRC2012_img_val.tar (6,744,924,160 bytes", "ILSVRC2012_img_train.tar (147,897,477,120 bytes"],
    "OpenImages": ["OpenImages_annotations.zip (size not known", "OpenImages_images.zip (size not known"],
}


@pytest.mark.parametrize("name", PLUGINS)
def test_all_files_behind_a_login_are_named_at_once(name: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fake(name, patch)
        counts = PLUGINS[name].COUNTS
    monkeypatch.setattr(PLUGINS[name], "COUNTS", counts)
    monkeypatch.setattr(_prepare, "RAW", NOWHERE)
    for path in Path("source").glob("*.*"):
        path.unlink()
    plugin_name = PLUGINS[name].Config.model_fields["name"].default
    code, _, err = launch("data", "prepare", plugin_name, "--source", "source")
    assert code == 2
    assert (
        f"{plugin_name} needs {len(BY_HAND[name])} file(s) that cannot be downloaded from here. Put into source:" in err
    )
    assert all(f"\n  {line}" in err for line in BY_HAND[name])
    assert err.endswith(f"then run again:\n  python launch.py data prepare {plugin_name} --root data --source source\n")
    assert not Path("data", name).exists() and not Path("data/downloads").exists(), "nothing was begun"


@pytest.fixture
def server() -> Iterator[str]:
    """Serves the folder `served`."""
    handler = partial(SimpleHTTPRequestHandler, directory="served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_address[1]}"
        opened.shutdown()


def test_what_needs_no_login_is_downloaded(launch: Launch, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    fake("CUB", monkeypatch)
    shutil.copytree("source/metadata", "served/clovaai/wsolevaluation/HEAD/metadata")
    shutil.copy("source/CUB_200_2011.tgz", "served")
    monkeypatch.setattr(_prepare, "RAW", server)
    monkeypatch.setattr(cub, "CUB", replace(cub.CUB, url=f"{server}/CUB_200_2011.tgz"))
    code, _, err = launch("data", "prepare", "cub")
    assert (
        code == 2
        and "Put into data/downloads:\n  CUBV2.tar" in err
        and err.endswith("\n  python launch.py data prepare cub --root data\n")
    )
    Path("data/downloads").mkdir()
    shutil.copy("source/CUBV2.tar", "data/downloads")
    code, out, err = launch("data", "prepare", "cub")
    assert code == 0 and "downloaded data/downloads/CUB_200_2011.tgz" in out, err


def test_without_a_network_the_metadata_is_asked_for(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("OpenImages", monkeypatch)
    shutil.rmtree("source/metadata")
    code, _, err = faked.prepare(launch)
    assert code == 2 and "no metadata of OpenImages (http://127.0.0.1:1/" in err
    assert (
        "Get the folder metadata/OpenImages of https://github.com/clovaai/wsolevaluation, put it into"
        " source/metadata/OpenImages" in err
    )


@pytest.mark.skipif("WSOL_METADATA" not in os.environ, reason="needs published metadata")
@pytest.mark.parametrize("name", PLUGINS)
def test_published_counts(name: str) -> None:
    plugin, place = PLUGINS[name], Path(os.environ["WSOL_METADATA"]) / name
    assert (place / "val").is_dir(), f"WSOL_METADATA has no {name}/val: nothing would be compared"
    for split, folder in SPLIT_FOLDERS.items():
        root = place / folder
        if root.is_dir():
            data = metadata.read(root, annotated=folder != "train")
            expected = plugin.COUNTS[folder if plugin is cub else split]
            found = {
                "images": len(data.image_ids),
                "classes": len(np.unique(data.labels)),
                "boxes": sum(map(len, data.boxes or ())),
                "masks": sum(len(paths) for paths, _ in data.masks or ()),
            }
            assert {key: found[key] for key in expected} == expected
