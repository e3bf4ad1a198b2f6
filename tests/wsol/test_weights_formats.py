"""Files with weights: safetensors, files that are something else, damage, and values that are none."""

from __future__ import annotations

import gzip
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.plain_weights import PLAIN
from wsol import weights_file
from wsol.errors import InputError

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
