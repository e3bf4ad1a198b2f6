"""Files with weights: what is opened, what is taken off, and what is refused in one line."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsol import plugins, weights_file
from wsol.errors import InputError
from wsol.network import Backbone

State = dict[str, Tensor]

PLAIN = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


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


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("code-of-the-file-ran",)


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


# --- formats ----------------------------------------------------------------------------------------------------------


def test_safetensors_are_opened(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    for name in ("model.safetensors", "renamed.pth"):
        safetensors.save_file({f"model.{key}": value for key, value in PLAIN.items()}, tmp_path / name)
        found = weights_file.read(tmp_path / name)
        assert set(found) == set(PLAIN) and all(torch.equal(found[key], PLAIN[key]) for key in PLAIN)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-3])
    with pytest.raises(InputError, match=r"cut\.safetensors cannot be read.*download it again"):
        weights_file.read(tmp_path / "cut.safetensors")


def test_safetensors_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(PLAIN, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(InputError, match="pip install safetensors"):
        weights_file.read(tmp_path / "model.safetensors")


def write_page(path: Path) -> None:
    path.write_text("\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>")


def write_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.pth", "weights")


def write_tar(path: Path) -> None:
    path.with_name("model.pth").write_text("weights")
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("model.pth"), "model.pth")


def write_oldest(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages"):
            archive.addfile(tarfile.TarInfo(name))


def write_script(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_page, "it is a web page.*download it again"),
        (write_pointer, "a pointer of Git LFS to the weights: run `git lfs pull`"),
        (write_zip, r"a zip archive of weights/model\.pth; unpack it"),
        (write_tar, r"a tar archive of model\.pth; unpack it"),
        (write_oldest, r"the oldest format of torch\.save"),
        (write_script, r"a TorchScript program: torch\.save\(torch\.jit\.load"),
        (lambda path: path.write_bytes(gzip.compress(b"weights")), "compressed with gzip; unpack it"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n rest"), "an HDF5 file, as Keras writes"),
        (lambda path: np.save(path.open("wb"), np.ones(3)), "a NumPy array"),
        (lambda path: path.write_text('{"message": "Not Found"}'), "text that begins with .*Not Found"),
        (lambda path: path.write_text("é" * 400), "text that begins with 'é"),
        (lambda path: path.touch(), "it is empty; download it again"),
        (lambda path: path.write_bytes(bytes(2000)), "full of zeros; download it again"),
    ],
    ids=[
        *("page", "pointer", "zip", "tar", "oldest", "script", "gzip", "hdf5", "numpy", "json", "letters", "empty"),
        "zeros",
    ],
)
def test_what_is_something_else_is_said(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    write(tmp_path / "last_checkpoint.pth.tar")
    with pytest.raises(InputError, match=rf"^[^\n]*last_checkpoint\.pth\.tar (was refused|cannot be read).*{message}"):
        weights_file.read(tmp_path / "last_checkpoint.pth.tar")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    """Bytes changed at random places of both formats, and files cut anywhere: read as it was, or refused."""
    random, path = np.random.default_rng(0), tmp_path / "damaged.pth"
    for zipped in (True, False):
        torch.save({"state_dict": PLAIN}, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for _ in range(150):
            content = bytearray(whole)
            for place in random.integers(0, len(content), 3):
                content[place] = random.integers(256)
            path.write_bytes(bytes(content[: random.integers(1, len(content))] if random.random() < 0.3 else content))
            try:
                found = weights_file.read(path)
            except InputError as error:
                assert "\n" not in str(error) and "weights_only" not in str(error)
            else:
                assert all(isinstance(value, Tensor) for value in found.values())


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [(torch.nan, "1 of 6"), (-torch.inf, "1 of 6"), (1e300, "1 of 6")],
    ids=["nan", "infinite", "beyond float32"],
)
def test_weights_that_are_not_finite_are_refused(value: float, shown: str, tmp_path: Path) -> None:
    weight = torch.ones(2, 3, dtype=torch.float64)
    weight[1, 2] = value
    torch.save({"state_dict": {**PLAIN, "fc.weight": weight}}, tmp_path / "broken.pth")
    with pytest.raises(InputError, match=rf"broken\.pth holds numbers that are infinite.*fc\.weight \({shown}\)"):
        weights_file.read(tmp_path / "broken.pth")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(2, 3).to_sparse(),
        torch.ones(2, 3, dtype=torch.complex64),
        torch.ones(2, 3, dtype=torch.int8),
        torch.empty(2, 3, device="meta"),
    ],
    ids=["sparse", "complex", "whole", "meta"],
)
def test_weights_of_another_kind_are_refused(weight: Tensor, tmp_path: Path) -> None:
    torch.save({**PLAIN, "fc.weight": weight}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth (holds weights that are sparse.*fc\.weight|was refused|cannot be)"):
        weights_file.read(tmp_path / "odd.pth")


def test_half_precision_is_fine(tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in PLAIN.items()}, tmp_path / "half.pth")
    assert weights_file.read(tmp_path / "half.pth")["fc.bias"].dtype == torch.float16


def test_an_own_checkpoint_is_recognised(tmp_path: Path) -> None:
    torch.save({"method": PLAIN}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="a checkpoint of this program: `evaluate` and `initial_run`"):
        weights_file.read(tmp_path / "weights.pt")


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
