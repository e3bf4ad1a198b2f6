"""The seam of transformers: what can be tapped, where a pass can be entered again, what is inserted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wsol import plugins
from wsol.contract import networks as small_networks
from wsol.contract.found import backbone as make
from wsol.deployed import Deployed
from wsol.network import CamHead, Classifier
from wsol.tokens import TokenBackbone, Tokens, join

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 48).reshape(2, 3, 32, 48).sin()


@pytest.fixture
def backbone() -> TokenBackbone:
    torch.manual_seed(0)
    built = make("deit", size="micro")
    assert isinstance(built, TokenBackbone)
    return built


def test_grid_and_prefix_are_parts_of_the_tokens() -> None:
    values = torch.arange(2 * 8 * 3).reshape(2, 8, 3)  # two tokens before a grid of 2x3
    tokens = Tokens(values, (2, 3))
    assert torch.equal(tokens.prefix, values[:, :2])
    assert torch.equal(tokens.grid[1, :, 1, 2], values[1, 7]) and torch.equal(tokens.grid[0, :, 0, 1], values[0, 3])
    assert torch.equal(join(tokens.prefix, tokens.grid).values, values)
    assert torch.equal(tokens.with_grid(tokens.grid * 0).prefix, tokens.prefix)


def test_names_sizes_and_what_attention_blocks_offer(backbone: TokenBackbone) -> None:
    assert backbone.block_names == ["patch_embed", "blocks_0", "blocks_1", "blocks_2", "norm"]
    assert backbone.attention_blocks == backbone.block_names[1:4]
    assert backbone.map_names == [*backbone.block_names, "blocks_0.norm1", "blocks_1.norm1", "blocks_2.norm1"]
    wanted = ["blocks_1", *(f"blocks_1.{inner}" for inner in ("prefix", "norm1", "class_row", "attention"))]
    features, taps = backbone(IMAGES, [*wanted, "norm.prefix"])
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == {
        "blocks_1": (2, 48, 2, 3),
        "blocks_1.prefix": (2, 1, 48),
        "blocks_1.norm1": (2, 48, 2, 3),
        "blocks_1.class_row": (2, 3, 7),
        "blocks_1.attention": (2, 3, 7, 7),
        "norm.prefix": (2, 1, 48),
    }
    torch.testing.assert_close(taps["blocks_1.class_row"], taps["blocks_1.attention"][:, :, 0])
    torch.testing.assert_close(taps["blocks_1.attention"].sum(3), torch.ones(2, 3, 7))
    assert torch.equal(features, backbone(IMAGES)[0]), "what is tapped changes nothing"


@torch.no_grad()
def test_attention_is_what_the_block_mixes_by(backbone: TokenBackbone) -> None:
    attention = backbone.blocks["blocks_0"].attn
    tokens = torch.randn(2, 7, 48)
    _, taps = backbone(IMAGES, ["blocks_0.norm1", "blocks_0.attention", "patch_embed", "patch_embed.prefix"])
    embedded = join(taps["patch_embed.prefix"], taps["patch_embed"]).values
    normed = backbone.blocks["blocks_0"].norm1(embedded)
    torch.testing.assert_close(Tokens(normed, (2, 3)).grid, taps["blocks_0.norm1"])
    values = attention.qkv(normed)[:, :, 96:].reshape(2, 7, 3, 16).transpose(1, 2)
    mixed = attention.proj((taps["blocks_0.attention"] @ values).transpose(1, 2).flatten(2))
    after = embedded + mixed
    after = after + backbone.blocks["blocks_0"].mlp(backbone.blocks["blocks_0"].norm2(after))
    torch.testing.assert_close(backbone(IMAGES, ["blocks_0"])[1]["blocks_0"], Tokens(after, (2, 3)).grid)
    assert tokens.shape == embedded.shape


@pytest.mark.parametrize("block", ["patch_embed", "blocks_0", "blocks_1", "blocks_2", "norm"])
@torch.no_grad()
def test_re_entry_takes_the_class_token_of_the_same_pass(backbone: TokenBackbone, block: str) -> None:
    features, taps = backbone(IMAGES, [block, f"{block}.prefix"])
    again, _ = backbone(torch.zeros_like(IMAGES), after=(block, taps[block], taps[f"{block}.prefix"]))
    torch.testing.assert_close(again, features)
    with backbone.replaced_output(block, taps[block], taps[f"{block}.prefix"]):
        torch.testing.assert_close(backbone(torch.zeros_like(IMAGES))[0], features)
        rows = backbone(IMAGES, backbone.class_rows())[1]
    expected = backbone(IMAGES, backbone.class_rows())[1]
    for name, row in rows.items():  # those before the block are of the images, those behind of what replaced it
        torch.testing.assert_close(row, expected[name])
    changed, _ = backbone(IMAGES, after=(block, taps[block], torch.randn_like(taps[f"{block}.prefix"])))
    assert torch.allclose(changed, features) == (block in ("blocks_2", "norm")), "an attention behind it reads it"


def test_re_entry_without_the_class_token_is_refused(backbone: TokenBackbone) -> None:
    grid = backbone(IMAGES, ["blocks_1"])[1]["blocks_1"]
    with pytest.raises(ValueError, match=r"tokens travel beside this backbone's maps.*<block>\.prefix"):
        backbone(IMAGES, after=("blocks_1", grid))


class Half(nn.Module):
    def forward(self, grid: Tensor, row: Tensor | None = None) -> Tensor:
        self.row = row
        return grid / 2


@torch.no_grad()
def test_what_is_inserted_changes_the_grid_and_keeps_the_class_token(backbone: TokenBackbone) -> None:
    plain = backbone(IMAGES, ["blocks_1", "blocks_1.prefix", "blocks_1.class_row"])[1]
    half = Half()
    backbone.insert_after("blocks_1", half, reads="class_row")
    features, taps = backbone(IMAGES, ["blocks_1", "blocks_1.prefix"])
    torch.testing.assert_close(taps["blocks_1"], plain["blocks_1"] / 2)
    assert torch.equal(taps["blocks_1.prefix"], plain["blocks_1.prefix"])
    assert half.row is not None and torch.equal(half.row, plain["blocks_1.class_row"])
    assert set(taps) == {"blocks_1", "blocks_1.prefix"}
    again = backbone(IMAGES, after=("blocks_1", taps["blocks_1"], taps["blocks_1.prefix"]))[0]
    torch.testing.assert_close(again, features)  # it is not run again


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("blocks_9", "no block blocks_9; it has patch_embed"),
        ("blocks_1.norm2", "no norm2 of block blocks_1 to tap; there is prefix, norm1, class_row, attention"),
        ("norm.attention", "no attention of block norm to tap; there is prefix"),
    ],
)
def test_unknown_taps_are_named(backbone: TokenBackbone, tap: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone(IMAGES, [tap])
    with pytest.raises(ValueError, match=message), backbone.shared_pass(IMAGES, [tap]):
        pass


@pytest.mark.parametrize("watched", [["blocks_1"], ["blocks_1.norm1"], ["blocks_2", "blocks_1"], ["norm"]])
def test_a_shared_pass_has_the_gradients_of_a_plain_one(backbone: TokenBackbone, watched: list[str]) -> None:
    head = CamHead(48, 3)
    nn.init.normal_(head.linear.weight)
    network = Classifier(backbone, head)

    def gradients() -> list[Tensor]:
        activations = network(IMAGES, watched)
        return list(
            torch.autograd.grad(activations.logits.square().sum(), [activations.taps[name] for name in watched])
        )

    plain = gradients()
    with backbone.shared_pass(IMAGES, watched, ["blocks_0.class_row"]):
        shared = gradients()
        _, taps = backbone(IMAGES, ["blocks_0.class_row", *watched])
    for one, other in zip(plain, shared, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().sum() > 0
    assert not taps["blocks_0.class_row"].requires_grad


def test_class_rows_train_what_makes_them(backbone: TokenBackbone) -> None:
    _, taps = backbone(IMAGES, backbone.class_rows())
    sum(tap[..., 0].sum() for tap in taps.values()).backward()  # type: ignore[union-attr]
    for block in backbone.attention_blocks:
        assert backbone.blocks[block].attn.qkv.weight.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["cam", "ts_cam", "scm"])
@torch.no_grad()
def test_a_traced_pass_takes_any_number_of_images(name: str) -> None:
    deployed = Deployed(small_networks.make(name, "deit").eval(), plugins.load("extractor", "cam").Config())
    traced = torch.jit.trace(deployed, torch.rand(2, 3, 32, 48), check_trace=False)  # type: ignore[no-untyped-call]
    images = torch.rand(3, 3, 32, 48)
    for found, expected in zip(traced(images), deployed(images), strict=True):
        torch.testing.assert_close(found, expected)
