"""Files with weights: containers and marks of wrappers, what is refused because it can run code, and the two doors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.plain_weights import PLAIN, Malicious
from wsol import plugins, weights_file
from wsol.errors import InputError
from wsol.network import Backbone

State = dict[str, Tensor]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {
            "architecture": "vgg16",
            "epoch": 9,
            "state_dict": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        },
        lambda state: {"model": {"state_dict": {f"module.{key}": value for key, value in state.items()}}},
        lambda state: {"model_state_dict": state},
    ],
    ids=["bare", "module", "state_dict", "model", "model_state_dict"],
)
def test_containers_and_prefixes_are_taken_off(wrap: Callable[[State], Any], zipped: bool, tmp_path: Path) -> None:
    torch.save(wrap(PLAIN), tmp_path / "last_checkpoint.pth.tar", _use_new_zipfile_serialization=zipped)
    found = weights_file.read(tmp_path / "last_checkpoint.pth.tar")
    assert list(found) == list(PLAIN)
    assert all(torch.equal(found[key], value) for key, value in PLAIN.items())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (Malicious(), r"it wants (posix|nt)\.mkdir"),
        (np.float64(3), r"it wants numpy\.\S+\.scalar"),
        (nn.Linear(2, 2), r"it wants torch\.nn\.modules\.linear\.Linear"),
    ],
    ids=["malicious", "numpy", "module"],
)
def test_what_needs_more_than_tensors_is_refused(
    content: object, wanted: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": PLAIN, "best": content}, "needy.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        InputError,
        match=rf"needy\.pth was refused: {wanted}, .*convert it in the environment of its repository: .*torch\.save",
    ):
        weights_file.read(Path("needy.pth"))
    assert not Path("code-of-the-file-ran").exists()


def test_a_plain_pickle_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("code.pth").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(InputError, match=r"code\.pth was refused"):
        weights_file.read(Path("code.pth"))
    assert not Path("code-of-the-file-ran").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("404: not found")
    (tmp_path / "empty.pth").touch()
    torch.save(PLAIN, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:500])
    for name in ("text", "empty", "cut"):
        with pytest.raises(InputError, match=rf"{name}\.pth (was refused|cannot be read).*download it again"):
            weights_file.read(tmp_path / f"{name}.pth")
    with pytest.raises(InputError, match=r"no checkpoint at .*absent\.pth"):
        weights_file.read(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="cannot be read"):
        weights_file.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it is a list"),
        ({"epoch": 3, "weights": PLAIN}, "has the entries epoch, weights"),
        ({"state_dict": {}}, "entries"),
    ],
)
def test_what_holds_no_state_dict_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"holds no state dict.*{message}"):
        weights_file.read(tmp_path / "other.pth")


# --- marks of wrappers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("module.{}", "`module.` (2 of 2)"),
        ("_orig_mod.{}", "`_orig_mod.` (2 of 2)"),
        ("module._orig_mod.{}", "`module.` (2 of 2), `_orig_mod.` (2 of 2)"),
        ("_orig_mod.module.{}", "`_orig_mod.` (2 of 2), `module.` (2 of 2)"),
        ("model.{}", "`model.` (2 of 2)"),
        ("model._orig_mod.{}", "`_orig_mod.` (2 of 2), `model.` (2 of 2)"),
        ("module.model.{}", "`module.` (2 of 2), `model.` (2 of 2)"),
    ],
)
def test_marks_of_wrappers_are_taken_off_and_said(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrapped.pth"
    torch.save({name.format(key): value for key, value in PLAIN.items()}, path)
    assert list(weights_file.read(path)) == list(PLAIN)
    assert capsys.readouterr().err == f"{path}: taken off the names of its weights: {said}\n"


def test_marks_on_a_part_of_the_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A head put in after wrapping, and a child that was wrapped alone, as the published AlexNet and VGG were."""
    path = tmp_path / "partly.pth"
    torch.save({"module.conv.weight": torch.ones(2), "features.module.0.bias": torch.ones(3), **PLAIN}, path)
    assert list(weights_file.read(path)) == ["conv.weight", "features.0.bias", *PLAIN]
    assert "`module.` (2 of 4)" in capsys.readouterr().err


def test_marks_stand_one_behind_the_other_also_behind_a_child(tmp_path: Path) -> None:
    torch.save({"body.module._orig_mod.weight": torch.ones(2)}, tmp_path / "a.pth")
    assert list(weights_file.read(tmp_path / "a.pth")) == ["body.weight"]
    torch.save({"model.body.weight": torch.ones(2), "model.body.model.bias": torch.ones(2)}, tmp_path / "b.pth")
    assert list(weights_file.read(tmp_path / "b.pth")) == ["body.weight", "body.model.bias"]


def test_names_of_modules_further_inside_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"stages.0.module.conv.weight": torch.ones(2)}, tmp_path / "inner.pth")
    assert list(weights_file.read(tmp_path / "inner.pth")) == ["stages.0.module.conv.weight"]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {**{f"model.{key}": value for key, value in PLAIN.items()}, "criterion.weight": torch.ones(2)},
            r"2 of its 3 names begin with `model\.`, others do not \(criterion\.weight\): keep the network alone",
        ),
        ({**PLAIN, "module.fc.weight": torch.ones(2)}, r"several weights are called fc\.weight: .*twice"),
    ],
)
def test_marks_that_leave_two_networks_are_refused(state: State, message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "both.pth")
    with pytest.raises(InputError, match=message):
        weights_file.read(tmp_path / "both.pth")


# --- the doors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}}])
def test_a_backbone_opens_what_an_import_opens(
    wrap: Callable[[State], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    state = {f"features.{key}": value for key, value in vgg16_features().items()}
    torch.save(wrap(state), tmp_path / "vgg.pth.tar")
    backbone = build_backbone(str(tmp_path / "vgg.pth.tar"))
    assert torch.equal(backbone.blocks.state_dict()["conv5_3.conv.weight"], state["features.28.weight"])
    assert torch.equal(
        build_backbone("~/vgg.pth.tar").blocks.state_dict()["conv5_3.conv.weight"], state["features.28.weight"]
    )


def test_a_backbone_refuses_what_an_import_refuses(tmp_path: Path) -> None:
    state = {f"features.{key}": value for key, value in vgg16_features().items()}
    state["features.0.bias"][0] = torch.nan
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(InputError, match=r"infinite, no numbers or beyond float32 in features\.0\.bias \(1 of 64\)"):
        build_backbone(str(tmp_path / "vgg.pth"))
    with pytest.raises(InputError, match=r"no weights at ~nobody-is-called-so/vgg\.pth"):
        build_backbone("~nobody-is-called-so/vgg.pth")


def vgg16_features() -> State:
    """torchvision's names below `features`."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        theirs = vgg16(weights=None).features.state_dict()
    return {key: torch.full(value.shape, 0.5) for key, value in theirs.items()}


def build_backbone(weights: str) -> Backbone:
    plugin = plugins.load("backbone", "vgg16")
    backbone: Backbone = plugin.build(plugin.Config(weights=weights))
    return backbone
