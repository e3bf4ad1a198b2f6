"""The run folder that is made of a released checkpoint. Reading and names: `tests/wsol`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from orchestrator.experiment.load import Loaded, load_experiment
from orchestrator.report.page import write_report
from orchestrator.runs.header import read_header
from orchestrator.runs.tested import recorded_tests
from orchestrator.verbs.evaluate import evaluate, evaluate_import
from orchestrator.verbs.resume import resume
from orchestrator.winner.released import import_checkpoint
from tests.support import published_networks
from tests.support.published_decoder import Unet
from tests.support.tiny import TINY
from wsol.checkpoint import read_state
from wsol.errors import InputError
from wsol.files import sha256

State = dict[str, Tensor]
Change = Callable[[State], Any]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """CAM with VGG-16 on a few rendered images, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    trial = {**TINY["trial"], "backbone": {"name": "vgg16", "stride": 8, "weights": "imagenet"}}  # type: ignore[dict-item]
    grid = {"evaluation.normalizer": [{"name": "min_max"}, {"name": "max"}]}
    (tmp_path / "vgg.yaml").write_text(yaml.safe_dump({**TINY, "trial": trial, "post_hoc": grid}))
    return load_experiment(tmp_path / "vgg.yaml")


def save_checkpoint(change: Change = lambda state: None) -> Path:
    """A checkpoint as the evaluation's code writes it, for two classes."""
    state = published_networks.state("vgg16_cam_large_True")
    state.update({key: state[key][:2].clone() for key in ("fc.weight", "fc.bias")})
    change(state)
    torch.save({"architecture": "vgg16", "epoch": 49, "state_dict": state, "optimizer": {}}, "last_checkpoint.pth.tar")
    return Path("last_checkpoint.pth.tar")


def test_an_imported_checkpoint_is_a_run(loaded: Loaded) -> None:
    file, folder = save_checkpoint(), Path("runs/imported")
    evaluate_import("wsolevaluation", file, Path("vgg.yaml"), [], folder)

    header, result = read_header(folder), json.loads((folder / "best" / "result.json").read_text())
    source = {"layout": "wsolevaluation", "file": str(file), "sha256": sha256(file)}
    assert header.kind == "import" and header.imported == result["imported"] == source and header.ended
    assert result["checkpoint_sha256"] == sha256(folder / "best" / "weights.pt")
    assert result["value"] == result["post_hoc"][0]["value"] and len(result["post_hoc"]) == 2
    weights = read_state(folder / "best" / "weights.pt")["method"]
    assert torch.equal(
        weights["network.backbone.blocks.conv5_1.conv.weight"],
        published_networks.state("vgg16_cam_large_True")["features.23.weight"],
    )
    assert not load_experiment(folder / "best.yaml").experiment.search
    assert load_experiment(folder / "best.yaml").experiment.trial.backbone.weights == "imagenet"

    again = evaluate(folder, "train_fullsup", None)
    assert again == result["train_fullsup"] and again["max_box_acc_v2"] == max(
        entry["value"] for entry in result["post_hoc"]
    )
    evaluate(folder, "test", None)
    assert recorded_tests(folder)[0].checkpoint_sha256 == result["checkpoint_sha256"]
    with pytest.raises(InputError, match="already evaluated"):
        evaluate(folder, "test", None)
    page = write_report(folder).read_text()
    assert 'class="badge finished"' in page and f"{result['value']:.2f}" in page and "Imported model" in page
    with pytest.raises(InputError, match="nothing to resume"):
        resume(folder, [])
    with pytest.raises(InputError, match="holds a run already"):
        import_checkpoint("wsolevaluation", file, loaded, folder)


def test_a_trained_decoder_is_imported_and_scored(loaded: Loaded) -> None:
    """F-CAM, whose `initial_run` is not read: the file has the classifier too."""
    trial = yaml.safe_load(Path("vgg.yaml").read_text())["trial"]
    trial |= {"method": {"name": "f_cam"}, "initial_run": "runs/elsewhere"}
    trial["evaluation"] |= {"normalizer": {"name": "none"}}
    Path("f_cam.yaml").write_text(yaml.safe_dump({**TINY, "trial": trial}))
    torch.manual_seed(0)
    state = {**published_networks.state("vgg16_cam_large_True"), **Unet("vgg16").state_dict()}
    state.update({f"classification_head.fc.{part}": state.pop(f"fc.{part}")[:2].clone() for part in ("weight", "bias")})
    parts = ("decoder.", "segmentation_head.", "classification_head.")
    whole = {key if key.startswith(parts) else f"encoder.{key}": value for key, value in state.items()}
    torch.save(whole, "best_model.pt")
    evaluate_import("f_cam", Path("best_model.pt"), Path("f_cam.yaml"), [], Path("runs/f_cam"))
    weights = read_state(Path("runs/f_cam/best/weights.pt"))["method"]
    assert torch.equal(weights["decoder.levels.1.3.weight"], whole["decoder.blocks.1.conv2.0.weight"])
    assert torch.equal(weights["base.network.head.linear.weight"], whole["classification_head.fc.weight"])
    result = json.loads(Path("runs/f_cam/best/result.json").read_text())
    assert evaluate(Path("runs/f_cam"), "train_fullsup", None) == result["train_fullsup"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("fc.bias"), r"last_checkpoint\.pth\.tar does not fit .*missing: fc\.bias"),
        (
            lambda state: state.update({"fc.weight": torch.zeros(200, 1024), "fc.bias": torch.zeros(200)}),
            "trained for 200 classes.* has 2",
        ),
    ],
)
def test_what_does_not_fit_writes_nothing(change: Change, message: str, loaded: Loaded) -> None:
    with pytest.raises(InputError, match=message):
        import_checkpoint("wsolevaluation", save_checkpoint(change), loaded, Path("runs/imported"))
    assert not Path("runs").exists()


def test_an_interrupted_import_writes_nothing(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(request: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.winner.released.measure", stop)
    with pytest.raises(KeyboardInterrupt):
        import_checkpoint("wsolevaluation", save_checkpoint(), loaded, Path("runs/imported"))
    assert not Path("runs").exists()
