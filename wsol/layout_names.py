"""The names of the field's published networks: maps modules of ours to published ones.

All repositories descend from one code base and share its names; they differ in where they cut their networks, which is
called a variant here.
"""

from __future__ import annotations

from collections.abc import Iterable

Names = dict[str, str]
"""Module of our network -> published module; each includes everything below it."""


def _numbered(module: str, *indices: int) -> tuple[str, ...]:
    return tuple(f"{module}.{index}" for index in indices)


def _resnet50(variant: str, stride: int) -> Names:
    """Bottlenecks and head. `adl` counts the layers inserted behind block 0, `spg` and `bridging` cut a stage behind
    block 0."""
    stages = {1: _numbered("layer1", 0, 1, 2), 2: _numbered("layer2", 0, 1, 2, 3)}
    stages |= {3: _numbered("layer3", 0, 1, 2, 3, 4, 5), 4: _numbered("layer4", 0, 1, 2)}
    stages |= {
        "adl": {3: _numbered("layer3", 0, 2, 3, 4, 5, 6), 4: _numbered("layer4", 0, 2, 3)},
        "spg": {3: _numbered("SPG_A1", 0) + _numbered("SPG_A2", 0, 1, 2, 3, 4)},
        "bridging": {4: _numbered("layer4_1", 0) + _numbered("layer4_2", 0, 1)},
    }.get(variant, {})
    blocks = {f"layer{stage}_{index}": name for stage, names in stages.items() for index, name in enumerate(names)}
    return _network(
        {"stem.conv": "conv1", "stem.norm": "bn1", **blocks}, variant, "SPG_A4" if variant == "spg" else "fc"
    )


def _vgg16(variant: str, stride: int) -> Names:
    """Convolutions and head. Their numbers count pools too, which the large feature map (stride 8) drops, and the
    inserted layers of `adl`."""
    large, early = stride == 8, (0, 2, 5, 7, 10, 12, 14)
    convolutions = {
        "plain": _numbered("features", *early, 17, 19, 21, *((23, 25, 27) if large else (24, 26, 28))),
        "acol": _numbered("features", *early, 17, 19, 21, 24, 26, 28),
        "adl": _numbered("features", *early, 18, 20, 22, *((25, 27, 29) if large else (26, 28, 30))),
        "spg": _numbered("features", *early) + _numbered("SPG_A_1", 0, 2, 4) + _numbered("SPG_A_2", 0, 2, 4),
        "bridging": (
            _numbered("features.0", *early, 17, 19, 21) + _numbered("features.2", *((0, 2, 4) if large else (1, 3, 5)))
        ),
    }[variant]
    blocks = [
        f"conv{group}_{index}.conv"
        for group, count in enumerate((2, 2, 3, 3, 3), start=1)
        for index in range(1, count + 1)
    ]
    last = {"conv6.0.0": "SPG_A_3.0", "conv6.1.0": "SPG_A_3.2"} if variant == "spg" else {"conv6.conv": "conv6"}
    return _network(
        {**dict(zip(blocks, convolutions, strict=True)), **last}, variant, "SPG_A_4" if variant == "spg" else "fc"
    )


def _inception_v3(variant: str, stride: int) -> Names:
    """Blocks and head; every variant has the two extra convolutions and the classifier of SPG, but for the heads of
    `acol`."""
    stem = {
        f"conv_{index}": f"Conv2d_{index}_{kernel}"
        for index, kernel in zip(("1a", "2a", "2b", "3b", "4a"), KERNELS, strict=True)
    }
    mixed = {f"mixed_{index}": f"Mixed_{index}" for index in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")}
    extra = {"extra_1.conv": "SPG_A3_1b.0", "extra_2.conv": "SPG_A3_2b.0"}
    return _network({**stem, **mixed, **extra}, variant, "SPG_A4")


KERNELS = ("3x3", "3x3", "3x3", "1x1", "3x3")
"""Of the stem of Inception, in its names."""

TABLES = {"vgg16": _vgg16, "resnet50": _resnet50, "inception_v3": _inception_v3}

HEADS: dict[str, Names] = {
    "acol": {
        f"head.{branch.lower()}.{ours}": f"classifier_{branch}.{index}"
        for branch in "AB"
        for index, ours in ((0, "hidden.conv_1"), (2, "hidden.conv_2"), (4, "classifier.linear"))
    },
    "spg": {
        "head.b1.0": "SPG_B_1a.0",
        "head.b2.0": "SPG_B_2a.0",
        "head.shared.0.0": "SPG_B_shared.0",
        "head.shared.1": "SPG_B_shared.2",
        "head.fused.0.0": "SPG_C.0",
        "head.fused.1": "SPG_C.2",
    },
}
"""Heads beside the plain classifier, by variant."""


ENCODER, CLASSIFIER = "encoder.", "classification_head"
"""Prefixes of the backbone's and of the classifier's names in a network with a decoder."""


CONVOLUTIONS = {"0": (1, 0), "1": (1, 1), "3": (2, 0), "4": (2, 1)}
"""Layer of ours in two convolutions with batch norm -> which of them it is in, and the layer there."""

DECODER: Names = {
    **{f"decoder.center.{ours}": f"decoder.center.{unit - 1}.{layer}" for ours, (unit, layer) in CONVOLUTIONS.items()},
    **{
        f"decoder.levels.{level}.{ours}": f"decoder.blocks.{level}.conv{unit}.{layer}"
        for level in range(5)
        for ours, (unit, layer) in CONVOLUTIONS.items()
    },
    "decoder.head": "segmentation_head.0",
}
"""Of F-CAM, whose code is derived from segmentation_models_pytorch: by the names of that (0.2.0)."""


def with_decoder(network: Names) -> Names:
    """The names of a network below `encoder` and `classification_head`, and of the decoder beside it."""
    return {
        **{ours: f"{ENCODER}{name}" for ours, name in network.items()},
        "head.linear": CLASSIFIER,
        **DECODER,
    }


def _network(blocks: Names, variant: str, classifier: str) -> Names:
    return {
        **{f"backbone.blocks.{ours}": name for ours, name in blocks.items()},
        **HEADS.get(variant, {}),
        "head.linear": classifier,
    }


def places(ours: Iterable[str], table: Names) -> Names:
    """Published key -> our key, for every weight of ours; if the layout has no name for a weight, our own name is
    used."""
    found = {}
    for key in ours:
        module = next((module for module in table if key.startswith(f"{module}.")), None)
        found[key if module is None else table[module] + key.removeprefix(module)] = key
    return found
