"""Weights of a backbone from files: names, shapes, what is missing."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.plain_weights import Malicious
from wsol import weights_file
from wsol.contract.found import backbone as make
from wsol.errors import InputError


def torchvision_state(name: str) -> dict[str, Tensor]:
    """All names and shapes of a torchvision network, with zeros."""
    from torchvision import models

    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        theirs: nn.Module = getattr(models, name)(weights=None)
    return {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in theirs.state_dict().items()}


def published_like(tmp_path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """A file with torchvision's names of ResNet-50, changed."""
    state = torchvision_state("resnet50")
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_a_file_fills_every_block_and_keeps_the_classifier(tmp_path: Path) -> None:
    path = published_like(tmp_path, lambda state: state["fc.weight"].fill_(3))
    backbone = make("resnet50", weights=str(path))
    assert all((value == 0).all() for value in backbone.state_dict().values())
    assert backbone.imagenet_classifier is not None
    assert (backbone.imagenet_classifier[0] == 3).all()


def test_a_file_without_batch_counts_or_with_another_classifier_is_fine(tmp_path: Path) -> None:
    def change(state: dict[str, Tensor]) -> None:
        for key in [key for key in state if key.endswith("num_batches_tracked")]:
            del state[key]
        state["fc.weight"], state["fc.bias"] = torch.zeros(7, 2048), torch.zeros(7)

    assert make("resnet50", weights=str(published_like(tmp_path, change))).imagenet_classifier is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer3.1.conv2.weight"), r"lacks weights.*layer3_1\.conv2\.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), r"no place for: extra"),
        (lambda state: state.update({"layer1.0.conv9.weight": torch.zeros(1)}), r"no place for.*layer1_0\.conv9"),
        (
            lambda state: state.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}),
            r"other shapes: stem\.conv\.weight \(64, 1, 7, 7\)",
        ),
        (lambda state: state.update(note="text"), r"not a state dict"),
    ],
)
def test_a_file_with_other_weights_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make("resnet50", weights=str(published_like(tmp_path, change)))


def test_unreadable_files_are_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    torch.save({"a": Malicious()}, tmp_path / "zipped.pt")
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "empty.pt").touch()
    torch.save({"a": torch.zeros(1000)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:500])
    for name, message in (
        ("code", "refused"),
        ("zipped", "refused"),
        ("text", "text.pt"),
        ("empty", "cannot be read"),
        ("cut", "cut.pt"),
    ):
        with pytest.raises(InputError, match=message):
            weights_file.read(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="no weights at"):
        make("resnet50", weights=str(tmp_path / "absent.pt"))
    assert not (tmp_path / "code-of-the-file-ran").exists()


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "inception_v3"])
def test_offline_says_where_to_put_the_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        InputError, match=rf"no route to host.*put the file at {re.escape(str(tmp_path))}.*\.pth.*weights: <file>"
    ):
        make(name, weights="imagenet")


def test_a_wrong_file_in_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet50-0676ba61.pth").write_bytes(b"half a download")
    with pytest.raises(InputError, match="SHA-256"):
        make("resnet50", weights="imagenet")


@pytest.mark.parametrize("name", ["vgg16", "inception_v3"])
def test_torchvisions_own_keys_fit(name: str, tmp_path: Path) -> None:
    """Everything torchvision has is either taken or named as ignored, and exactly the extra convolutions stay
    random."""
    state = {key: value for key, value in torchvision_state(name).items() if not key.startswith("classifier.")}
    ignored = {"classifier.0.weight": torch.zeros(1)} if name == "vgg16" else {}  # the real ones are half a gigabyte
    torch.save({**state, **ignored}, tmp_path / "weights.pt")
    backbone = make(name, weights=str(tmp_path / "weights.pt"))
    random = {key.split(".")[0] for key, value in backbone.blocks.state_dict().items() if value.float().abs().sum() > 0}
    assert random == ({"conv6"} if name == "vgg16" else {"extra_1", "extra_2"})
    assert backbone.imagenet_classifier is None
