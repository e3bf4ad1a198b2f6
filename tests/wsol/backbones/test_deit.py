"""DeiT: the recorded networks, positions of other sizes, weights from files and from timm, stochastic depth."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support import recorded_tokens, vectors
from wsol.backbones import deit as plugin
from wsol.contract.extracting import extractor
from wsol.contract.found import backbone as make
from wsol.errors import InputError
from wsol.network import Backbone
from wsol.tokens import TokenBackbone

PARAMETERS = {"tiny": 5_717_416, "small": 22_050_664, "base": 86_567_656}
"""With a linear classifier of 1000 classes."""


def assert_as_recorded(found: Tensor, recorded: np.ndarray, tolerance: float = 1e-4) -> None:
    """Within a share of the largest recorded value."""
    assert found.shape == recorded.shape
    np.testing.assert_allclose(found.numpy(), recorded, rtol=0, atol=tolerance * np.abs(recorded).max())


# --- recorded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*vectors.files("deit_forward", "width*"), *vectors.files("deit_forward", "deit_*")])
@torch.no_grad()
def test_recorded_networks(path: Path) -> None:
    arrays = vectors.load(path)
    backbone = recorded_tokens.recorded_backbone(arrays)
    images = recorded_tokens.recorded_images(arrays, len(arrays["logits"]), int(arrays["img_size"]))
    wanted = "attention" if "attention" in arrays else "class_row"
    attention = [f"{block}.{wanted}" for block in backbone.attention_blocks]
    features, taps = backbone(images, [*attention, "norm.prefix"])
    tokens = features.flatten(2).transpose(1, 2)
    if "patch_tokens" in arrays:
        assert_as_recorded(tokens, arrays["patch_tokens"])
    else:
        assert_as_recorded(tokens[:, :8], arrays["patch_tokens_first8"])
    assert_as_recorded(taps["norm.prefix"][:, 0], arrays["class_token"])
    recorded = arrays.get("attention", arrays.get("attention_class_row"))
    assert recorded is not None
    assert_as_recorded(torch.stack([taps[name] for name in attention]), recorded)
    method = recorded_tokens.ClassTokenMethod(backbone, arrays)
    assert_as_recorded(method.activate(images, torch.zeros(len(images), dtype=torch.int64)).logits, arrays["logits"])


@pytest.mark.parametrize("path", vectors.files("deit_forward", "pos_embed_resize*"))
def test_positions_of_another_grid_by_both_conventions(path: Path) -> None:
    arrays = vectors.load(path)
    positions = torch.from_numpy(arrays.pop("pos_embed"))
    assert {key.partition("_")[0] for key in arrays} == {"timm", "deit"}
    for key, recorded in arrays.items():
        how, _, size = key.partition("_")
        height, width = map(int, size.split("x"))
        found = plugin.resized_positions(positions, (height, width), how)  # type: ignore[arg-type]
        assert_as_recorded(found, recorded, 1e-5)
    assert plugin.resized_positions(positions, (6, 6), "timm") is positions


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "x_grad_cam"])
@pytest.mark.parametrize("path", vectors.files("deit_forward", "grad_cam_tokens*"))
def test_gradients_where_the_last_attention_reads(path: Path, name: str) -> None:
    arrays, network = vectors.load(path), vectors.load(path.with_name("width48_depth3_heads3_96.npz"))
    assert arrays["key_salt"] == network["key_salt"]
    method = recorded_tokens.ClassTokenMethod(recorded_tokens.recorded_backbone(network), network).eval()
    images, labels = recorded_tokens.recorded_images(arrays, 2, 96), torch.from_numpy(arrays["labels"])
    found = extractor(name, block="blocks_2.norm1")(method, images, labels)
    assert_as_recorded(found.maps, np.maximum(arrays[f"{name}_map"], 0))
    taps = method.activate(images, labels, ["blocks_2.norm1"])
    (gradient,) = torch.autograd.grad(taps.logits.gather(1, labels[:, None]).sum(), taps.taps["blocks_2.norm1"])
    assert_as_recorded(taps.taps["blocks_2.norm1"].detach(), arrays["tokens_norm1"])
    assert_as_recorded(gradient, arrays["gradient_norm1"])
    # The classifier reads the class token alone, which nothing behind these takes from the grid.
    assert (extractor(name, block="blocks_2")(method, images, labels).maps == 0).all()
    with pytest.raises(InputError, match="does not classify by the output of its block"):
        extractor(name, block="norm")(method, images, labels)


# --- sizes and positions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_of_each_size(size: str) -> None:
    with torch.device("meta"):
        backbone = plugin.deit(plugin.SIZES[size])
    width = plugin.SIZES[size].width
    assert sum(p.numel() for p in backbone.parameters()) + 1000 * width + 1000 == PARAMETERS[size]
    assert [tuple(p.shape) for p in backbone.undecayed()] == [(1, 1, width), (1, 197, width)]


def test_positions_follow_the_image_by_the_chosen_convention() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 3, 32, 64)
    built = {how: make("deit", position_resize=how) for how in ("timm", "deit")}
    built["deit"].load_state_dict(built["timm"].state_dict())
    features = {how: backbone(images)[0] for how, backbone in built.items()}
    assert features["timm"].shape == (1, 48, 2, 4)
    assert not torch.allclose(features["timm"], features["deit"])
    with pytest.raises(InputError, match=r"images of 40x64 pixels cannot be cut into patches of 16x16; set a multiple"):
        built["timm"](torch.randn(1, 3, 40, 64))


# --- stochastic depth -------------------------------------------------------------------------------------------------


def test_branches_are_left_out_image_by_image_and_more_of_late_blocks() -> None:
    backbone = make("deit", drop_path=0.5)
    assert [backbone.blocks[f"blocks_{index}"].drop_path.rate for index in range(3)] == [0.0, 0.25, 0.5]
    layer = plugin.DropPath(0.25)
    torch.manual_seed(0)
    branch = layer(torch.ones(4000, 2, 3))
    assert set(branch[:, 0, 0].tolist()) == {0.0, branch.amax().item()} and branch.amax() == pytest.approx(4 / 3)
    assert torch.equal(branch, branch[:, :1, :1].expand_as(branch))
    assert branch[:, 0, 0].mean() == pytest.approx(1, abs=0.03)
    assert torch.equal(layer.eval()(torch.ones(4, 2, 3)), torch.ones(4, 2, 3))


# --- weights ----------------------------------------------------------------------------------------------------------


def published_state() -> dict[str, Tensor]:
    """What a published file of the smallest network would hold."""
    backbone = make("deit")
    state = {recorded_tokens.published_name(key): value for key, value in backbone.blocks.state_dict().items()}
    return {**state, "head.weight": torch.ones(1000, 48), "head.bias": torch.ones(1000)}


def assert_filled(backbone: Backbone, state: dict[str, Tensor]) -> None:
    assert isinstance(backbone, TokenBackbone)
    for key, value in backbone.blocks.state_dict().items():
        assert torch.equal(value, state[recorded_tokens.published_name(key)]), key
    assert backbone.imagenet_classifier is None, "it reads the class token"
    assert backbone.class_token_classifier is not None and (backbone.class_token_classifier[1] == 1).all()


def test_a_published_file_is_taken_as_it_is(tmp_path: Path) -> None:
    state = published_state()
    torch.save({"model": state}, tmp_path / "deit.pth")
    assert_filled(make("deit", weights=str(tmp_path / "deit.pth")), state)
    for key in ("cls_token", "blocks.1.attn.qkv.bias"):
        torch.save({name: value for name, value in state.items() if name != key}, tmp_path / "less.pth")
        with pytest.raises(InputError, match="lacks weights of this network"):
            make("deit", weights=str(tmp_path / "less.pth"))
    torch.save({**state, "dist_token": torch.zeros(1, 1, 48)}, tmp_path / "distilled.pth")
    with pytest.raises(InputError, match="no place for: dist_token"):
        make("deit", weights=str(tmp_path / "distilled.pth"))


def test_published_files_are_facebooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state, asked = published_state(), list[str]()
    torch.save({"model": state}, tmp_path / "deit.pth")
    monkeypatch.setattr(plugin, "PUBLISHED", {"micro": "deit_micro-00000000"})
    monkeypatch.setattr(plugin._weights, "from_url", lambda url: asked.append(url) or tmp_path / "deit.pth")
    assert_filled(make("deit", weights="imagenet"), state)
    assert asked == ["https://dl.fbaipublicfiles.com/deit/deit_micro-00000000.pth"]


def test_weights_through_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    state, asked = published_state(), list[tuple[str, bool]]()

    class Loaded(nn.Module):
        def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
            return state

    def create(model: str, pretrained: bool) -> nn.Module:
        asked.append((model, pretrained))
        return Loaded()

    monkeypatch.setattr(plugin, "PUBLISHED", {"micro": "deit_micro_patch16_224-00000000"})
    monkeypatch.setattr(timm, "create_model", create)
    assert_filled(make("deit", weights="timm"), state)
    assert asked == [("deit_micro_patch16_224", True)]

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"timm cannot load deit_micro_patch16_224 \(no route to host\)"):
        make("deit", weights="timm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'wsol-search\[timm\]'"):
        make("deit", weights="timm")


@pytest.mark.parametrize("weights", ["imagenet", "timm"])
def test_the_smallest_size_has_no_published_weights(weights: str) -> None:
    with pytest.raises(InputError, match=r"micro has no published weights; set `weights: none`, or one of tiny, small"):
        make("deit", weights=weights)
