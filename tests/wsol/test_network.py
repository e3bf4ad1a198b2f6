"""The seam of backbones and heads: taps, re-entry, inserted blocks, class maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from wsol import plugins
from wsol.network import Backbone, BlockInfo, CamHead, Classifier

IMAGES = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    tiny = plugins.load("backbone", "tiny")
    built: Backbone = tiny.build(tiny.Config(width=4)).eval()
    return built


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def test_names_and_channels(backbone: Backbone) -> None:
    assert backbone.block_names == ["conv1", "conv2", "conv3", "conv4"]
    assert backbone.channels == 32
    assert backbone.info["conv2"] == BlockInfo(8, 4)


def test_taps_are_the_outputs_of_the_named_blocks_only(backbone: Backbone) -> None:
    features, taps = backbone(IMAGES, iter(["conv4", "conv2"]))  # any iterable
    assert set(taps) == {"conv2", "conv4"}
    assert taps["conv4"] is features
    assert torch.equal(taps["conv2"], backbone.blocks["conv2"](backbone.blocks["conv1"](IMAGES)))
    assert backbone(IMAGES)[1] == {}


@pytest.mark.parametrize("block", ["conv1", "conv2", "conv3", "conv4"])
def test_re_entry_goes_on_behind_the_block(backbone: Backbone, block: str) -> None:
    features, taps = backbone(IMAGES, backbone.block_names)
    again, later = backbone(IMAGES, backbone.block_names, after=(block, taps[block]))
    assert torch.equal(again, features)
    assert list(later) == backbone.block_names[backbone.block_names.index(block) + 1 :]


def test_re_entry_uses_the_changed_activation(backbone: Backbone) -> None:
    features, taps = backbone(IMAGES, ["conv2"])
    changed, _ = backbone(IMAGES, after=("conv2", taps["conv2"] * 0))
    assert not torch.equal(changed, features)
    assert torch.equal(changed[0], changed[1])


def test_inserted_blocks_run_and_change_no_other_key(backbone: Backbone) -> None:
    plain, (_, taps) = set(backbone.state_dict()), backbone(IMAGES, ["conv2"])
    backbone.insert_after("conv2", Double())
    features, changed = backbone(IMAGES, ["conv2"])
    assert set(backbone.state_dict()) - plain == {"inserted.conv2.scale"}
    assert torch.equal(changed["conv2"], 2 * taps["conv2"])  # a tap is behind the inserted module
    assert torch.equal(
        backbone(IMAGES, after=("conv2", changed["conv2"]))[0], features
    )  # and re-entry does not run it again


def test_unknown_blocks_are_named(backbone: Backbone) -> None:
    message = "no block layer9; it has conv1, conv2, conv3, conv4"
    with pytest.raises(ValueError, match=message):
        backbone(IMAGES, ["layer9"])
    with pytest.raises(ValueError, match=message):
        backbone(IMAGES, after=("layer9", IMAGES))
    with pytest.raises(ValueError, match=message):
        backbone.insert_after("layer9", nn.Identity())


def test_class_map_equals_the_loop_over_images() -> None:
    head, features, labels = CamHead(5, 3), torch.randn(4, 5, 2, 6), torch.tensor([2, 0, 2, 1])
    maps = head.class_map(features, labels)
    assert maps.shape == (4, 2, 6)
    for image in range(4):
        expected = (
            sum(head.linear.weight[labels[image], channel] * features[image, channel] for channel in range(5)) / 5
        )
        torch.testing.assert_close(maps[image], expected)


def test_mean_of_the_class_map_is_the_logit() -> None:
    head, features, labels = CamHead(5, 3), torch.randn(2, 5, 4, 4), torch.tensor([1, 0])
    nn.init.normal_(head.linear.bias)
    logits = head(features)[[0, 1], labels]
    torch.testing.assert_close(head.class_map(features, labels).mean(dim=(1, 2)) * 5 + head.linear.bias[labels], logits)


def test_where_the_published_classifier_is_a_convolution_its_output_is_the_class_map() -> None:
    """It has the bias, which a normalizer that only divides does not take away again."""
    torch.manual_seed(0)
    module = plugins.load("backbone", "inception_v3")
    network = Classifier(module.build(module.Config(weights="none")), CamHead(1024, 3))
    head, features, labels = network.head, torch.randn(2, 1024, 4, 4), torch.tensor([1, 0])
    assert isinstance(head, CamHead)
    nn.init.normal_(head.linear.bias)
    published = conv2d(features, head.linear.weight[:, :, None, None], head.linear.bias)[[0, 1], labels]
    torch.testing.assert_close(head.class_map(features, labels) * 1024, published, rtol=1e-4, atol=1e-4)


def test_classifier_passes_taps_on(backbone: Backbone) -> None:
    activations = Classifier(backbone, CamHead(32, 7))(IMAGES, ["conv1"])
    assert activations.features.shape == (2, 32, 2, 2)
    assert activations.logits.shape == (2, 7)
    assert activations.taps["conv1"].shape == (2, 4, 8, 8)
