"""The winner for elsewhere: loaded back, every format gives the same on 20 images."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.runs.result import read_result
from orchestrator.winner.export import NEEDS, open_export
from orchestrator.winner.exported import Model, open_model
from tests.support.tiny import Launch
from wsol.extractor import predicted_classes

RUN = Path("runs/tiny")


@pytest.fixture
def model(space_file: Path, launch: Launch) -> Model:
    """The winner of a finished run in an empty working directory."""
    code, _, err = launch("train", str(space_file), "training.epochs=1", "method=has")
    assert code == 0, err
    return open_model(RUN, read_result(RUN))


def outputs(model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and raw maps of the predicted classes; images are RGB in [0, 1]."""
    backbone, method = model.method.network.backbone, model.method.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.pixel_mean, backbone.pixel_std))
    seen = (images - mean) / std
    with torch.no_grad():
        scores = method.score_maps(seen, predicted_classes(method, seen))
    return scores.logits, scores.maps


def images() -> Tensor:
    return torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", ["hub", "safetensors"])
def test_weights_are_loaded_back(form: str, model: Model, launch: Launch) -> None:
    assert launch("evaluate", str(RUN), "--split", "test")[0] == 0
    code, out, err = launch("export", str(RUN), "--format", form)
    folder = Path(f"runs/tiny-{form}")
    assert code == 0 and f"{folder}/model.safetensors" in out, err
    again = open_export(folder if form == "hub" else folder / "model.safetensors")
    assert again.config == model.config and list(again.class_names) == list(model.class_names)
    for ours, theirs in zip(outputs(model, images()), outputs(again, images()), strict=True):
        assert torch.equal(ours, theirs)
    if form == "hub":
        tested = json.loads((RUN / "test.json").read_text())["evaluations"][0]
        card, facts = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
        assert card.startswith("---\nlibrary_name: wsol-search\n") and tested["time"] in card
        assert f"{tested['metrics']['max_box_acc_v2']:.2f} |" in card and facts["test"] == tested["metrics"]


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_one_network_gives_the_same(form: str, model: Model, launch: Launch) -> None:
    code, _, err = launch("export", str(RUN), "--format", form, "--out", "models")
    assert code == 0, err
    assert json.loads(Path("models/model.json").read_text())["image_side"] == 32
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession("models/model.onnx", providers=["CPUExecutionProvider"])
        found = [torch.from_numpy(one) for one in session.run(["logits", "maps"], {"images": images().numpy()})]
    else:
        with torch.no_grad():
            found = torch.jit.load("models/model.pt")(images())
    for ours, theirs in zip(outputs(model, images()), found, strict=True):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert np.ptp(outputs(model, images())[1].numpy()) > 1e-3


def test_what_cannot_be_exported_is_one_line(model: Model, launch: Launch) -> None:
    text = (RUN / "best" / "config.yaml").read_text()
    assert "extractor:\n    name: cam\n    clip_negative_weights: false" in text
    gradients = text.replace("name: cam\n    clip_negative_weights: false", "name: grad_cam")
    (RUN / "best" / "config.yaml").write_text(gradients)
    code, _, err = launch("export", str(RUN), "--format", "torchscript")
    assert code == 2 and "maps of grad_cam need more than a pass of the network" in err and len(err.splitlines()) == 1
    assert not Path("runs/tiny-torchscript").exists()
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    code, _, err = launch("export", str(RUN), "--format", "hub", "--out", "full")
    assert code == 2 and "full: holds other files" in err
    code, _, err = launch("export", "runs/nothing")
    assert code == 2 and len(err.splitlines()) == 1


@pytest.mark.parametrize("form", [form for form, packages in NEEDS.items() if packages])
def test_a_package_that_is_missing_is_one_line(form: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = launch("export", "runs/nothing", "--format", form)
    assert code == 2 and f"{NEEDS[form][0]} is not installed: pip install 'wsol-search[export]'" in err


def test_a_file_of_others_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from wsol.errors import InputError

    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="was not written by"):
        open_export(tmp_path)
