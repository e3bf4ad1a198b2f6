"""Checkpoints of the field's repositories: the names of their weights, and the way from such a file into a `Method`.

All of them descend from one code base and share its names; they differ in which networks they hold and where they cut
them. A file may wrap its state dict in containers (`{"epoch": ..., "state_dict": ...}`) and prefix its names (`module.`
of DataParallel). Every weight must find its place and every place its weight; only three things may differ: batch
norm's counts of batches (old files have none, nothing reads them), Inception's auxiliary classifier (training only),
and a classifier that is a 1x1 convolution (K, C, 1, 1), which is the linear layer (K, C).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsol import plugins
from wsol.errors import InputError, first_line, listed
from wsol.method import Method

Names = dict[str, str]
"""Module of our network -> published module; both stand for everything below them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the checkpoints of a repository hold.

    Attributes:
        backbones: the networks it has.
        variants: the ways it cuts them, as in `_resnet50`, `_vgg16` and `_inception_v3`.
    """

    backbones: tuple[str, ...]
    variants: tuple[str, ...]


LAYOUTS = {
    "wsolevaluation": Layout(("vgg16", "resnet50", "inception_v3"), ("plain", "adl", "acol", "spg")),
    "bridging_gap": Layout(("vgg16", "resnet50"), ("bridging",)),
    "da_wsol": Layout(("resnet50", "inception_v3"), ("plain", "adl")),
    "bag_cams": Layout(("resnet50", "inception_v3"), ("plain", "adl")),
    "small_object": Layout(("vgg16", "resnet50", "inception_v3"), ("plain", "bridging", "adl", "acol", "spg")),
    "rethinking_cam": Layout(("vgg16",), ("plain",)),
    "f_cam": Layout(("vgg16", "resnet50", "inception_v3"), ("plain",)),
}
"""By repository. Of `f_cam` the classifier of its first stage; the names of its decoder are not known here."""

CONTAINERS = ("state_dict", "model_state_dict", "model")
SIGNS = {"vgg16": "features.", "resnet50": "layer1.0.", "inception_v3": "Mixed_5b."}
"""How the names of a network are recognised."""

IGNORED = ("AuxLogits.",)


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, name -> tensor of any shape on the CPU, out of its containers and without
    prefixes.

    No code of the file is run.

    Raises:
        InputError: there is no such file, it is damaged or no checkpoint, or it needs more than reading tensors and
            plain values.
    """
    content = _open(path)
    for _ in CONTAINERS:  # they may be nested
        content = next(
            (
                content[name]
                for name in CONTAINERS
                if isinstance(content, Mapping) and isinstance(content.get(name), Mapping)
            ),
            content,
        )
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        found = (
            f"has the entries {listed(str(key) for key in content)}"
            if isinstance(content, Mapping)
            else f"is a {type(content).__name__}"
        )
        raise InputError(
            f"{path} holds no state dict, a mapping from names to tensors, neither directly nor as"
            f" {', '.join(CONTAINERS)}: it {found}; save the model's state_dict()"
        )
    state = dict(content)
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def fill(method: Method, layout: str, state: Mapping[str, Tensor], source: str) -> None:
    """Put published weights into a method, in place; all of them or, where something does not fit, none.

    Args:
        method: as configured, with any weights.
        layout: a key of `LAYOUTS`.
        state: as `read` returns it.
        source: what the messages call the file.

    Raises:
        InputError: the layout is unknown or has no such network, or the weights are those of another network, method or
            number of classes; the message lists what is missing, unexpected or of another shape.
    """
    name = method.network.backbone.name
    _require_layout(layout, name)
    _require_architecture(state, name, source)
    state = {key: value for key, value in state.items() if not key.startswith(IGNORED)}
    ours = method.network.state_dict()
    stride = method.network.backbone.stride
    tables = (TABLES[name](variant, stride) for variant in LAYOUTS[layout].variants)
    places = min((_places(ours, table) for table in tables), key=lambda places: len(set(places) ^ set(state)))
    problems = _missing(method, places, state) + _unexpected(places, state)
    if problems:
        raise InputError(
            f"{source} does not fit the configured {type(method).__name__} on {name} in the layout {layout}:"
            f" {'; '.join(problems)}. Check trial.method, trial.backbone (also its stride) and the layout against what"
            " was trained"
        )
    found = {places[key]: _as_linear(value, ours[places[key]]) for key, value in state.items()}
    _require_shapes(found, ours, {our: key for key, our in places.items()}, method.network.num_classes, source)
    method.network.load_state_dict(found, strict=False)  # strict but for the counts of batches, as checked above


# --- names ------------------------------------------------------------------------------------------------------------


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


def _network(blocks: Names, variant: str, classifier: str) -> Names:
    return {
        **{f"backbone.blocks.{ours}": name for ours, name in blocks.items()},
        **HEADS.get(variant, {}),
        "head.linear": classifier,
    }


def _places(ours: Iterable[str], table: Names) -> Names:
    """Published key -> our key, of every weight of ours; where the layout has no name for one, ours stands for it."""
    places = {}
    for key in ours:
        module = next((module for module in table if key.startswith(f"{module}.")), None)
        places[key if module is None else table[module] + key.removeprefix(module)] = key
    return places


# --- what does not fit ------------------------------------------------------------------------------------------------


def _require_layout(layout: str, backbone: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(
            f"unknown layout {layout!r}{plugins.did_you_mean(layout, list(LAYOUTS))}; there are {', '.join(LAYOUTS)}"
        )
    if backbone not in LAYOUTS[layout].backbones:
        allowed = ", ".join(LAYOUTS[layout].backbones)
        raise InputError(
            f"the layout {layout} has no network {backbone!r}: set trial.backbone to the one of {allowed} that was"
            " trained"
        )


def _require_architecture(state: Mapping[str, Tensor], backbone: str, source: str) -> None:
    found = next((name for name, sign in SIGNS.items() if any(key.startswith(sign) for key in state)), None)
    if found is None:
        raise InputError(f"{source} holds none of the networks {', '.join(SIGNS)}; its names are {listed(state)}")
    if found != backbone:
        names = listed(key for key in state if key.startswith(SIGNS[found]))
        raise InputError(f"{source} holds a {found} ({names}), configured is {backbone}: set trial.backbone to {found}")


def _missing(method: Method, places: Names, state: Mapping[str, Tensor]) -> list[str]:
    ours = method.network.state_dict()
    missing = {
        key: ours[our] for key, our in places.items() if key not in state and not key.endswith(".num_batches_tracked")
    }
    inside = {id(parameter) for parameter in method.network.parameters()}
    missing |= {
        name: parameter for name, parameter in method.named_parameters() if id(parameter) not in inside
    }  # no layout has a name for them
    return _listed("missing", missing)


def _unexpected(places: Names, state: Mapping[str, Tensor]) -> list[str]:
    return _listed("unexpected", {key: value for key, value in state.items() if key not in places})


def _listed(problem: str, weights: Mapping[str, Tensor]) -> list[str]:
    shown = listed(f"{key} {tuple(value.shape)}" for key, value in weights.items())
    return [f"{len(weights)} {problem}: {shown}"] if weights else []


def _require_shapes(
    found: Mapping[str, Tensor], ours: Mapping[str, Tensor], names: Names, num_classes: int, source: str
) -> None:
    """`names`: our key -> published key."""
    wrong = {
        key: (tuple(value.shape), tuple(ours[key].shape))
        for key, value in found.items()
        if value.shape != ours[key].shape
    }
    if not wrong:
        return
    what = listed(f"{names[key]} {shape}, expected {expected}" for key, (shape, expected) in wrong.items())
    rows = {shape[:1] for shape, _ in wrong.values()}
    if len(rows) == 1 and all(
        key.startswith("head.") and s[1:] == e[1:] and e[0] == num_classes for key, (s, e) in wrong.items()
    ):
        raise InputError(
            f"{source} was trained for {rows.pop()[0]} classes, the configured data set has {num_classes} ({what}): "
            "set trial.data to the data set it was trained on"
        )
    raise InputError(
        f"{source} holds weights of other shapes: {what}. Check trial.method and trial.backbone against what was"
        " trained"
    )


def _as_linear(value: Tensor, ours: Tensor) -> Tensor:
    return value.flatten(1) if value.ndim == 4 and ours.ndim == 2 and value.shape[2:] == (1, 1) else value


def _open(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no checkpoint at {path}: give the path of a released checkpoint") from None
    except pickle.UnpicklingError as error:
        raise InputError(_refusal(path, error)) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a checkpoint: {first_line(error)}; download it again") from None


def _refusal(path: Path, error: Exception) -> str:
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted is None:
        return f"{path} was refused, it cannot be read as tensors alone: {first_line(error)}; download it again"
    return (
        f"{path} was refused: it wants {wanted[1]}, and a file that may call functions can run any code. If you trust"
        " it, convert it in the environment of its repository: content = torch.load(file); torch.save({k: v for k, v"
        ' in content["state_dict"].items()}, "weights.pt") (or content.state_dict(), where it holds a whole model),'
        " and import weights.pt"
    )
