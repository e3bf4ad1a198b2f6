"""Checkpoints of the field's repositories: the names of their weights, and how they are loaded into a `Method`.

All of them descend from one code base and share its names; they differ in which networks they hold and where they cut
them. A file may wrap its state dict in containers (`{"epoch": ..., "state_dict": ...}`) and prefix its names (`module.`
of DataParallel). Every weight must have a place and every place a weight. Only three things may differ: batch norm's
counts of batches (old files have none, and nothing reads them), Inception's auxiliary classifier (training only), and a
classifier that is a 1x1 convolution (K, C, 1, 1), which is the linear layer (K, C).

A network with a decoder, F-CAM's, has three parts: `encoder`, `classification_head` and the decoder with its
`segmentation_head`. The name of the classifier inside of its part varies, so its only weight and bias are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from wsol import plugins
from wsol.errors import InputError, listed
from wsol.layout_names import CLASSIFIER, ENCODER, TABLES, Names, places, with_decoder
from wsol.method import Method


@dataclass(frozen=True, slots=True)
class Layout:
    """The content of a repository's checkpoints.

    Attributes:
        backbones: the networks that the repository has.
        variants: the ways in which it cuts them into modules, as in `_resnet50`, `_vgg16` and `_inception_v3`.
        decoder: whether it also has files with a decoder.
    """

    backbones: tuple[str, ...]
    variants: tuple[str, ...]
    decoder: bool = False

    def tables(self, backbone: str, stride: int) -> list[Names]:
        """Our names -> published ones, of every network that a file can hold."""
        networks = [TABLES[backbone](variant, stride) for variant in self.variants]
        return networks + ([with_decoder(network) for network in networks] if self.decoder else [])


LAYOUTS = {
    "wsolevaluation": Layout(("vgg16", "resnet50", "inception_v3"), ("plain", "adl", "acol", "spg")),
    "bridging_gap": Layout(("vgg16", "resnet50"), ("bridging",)),
    "da_wsol": Layout(("resnet50", "inception_v3"), ("plain", "adl")),
    "bag_cams": Layout(("resnet50", "inception_v3"), ("plain", "adl")),
    "small_object": Layout(("vgg16", "resnet50", "inception_v3"), ("plain", "bridging", "adl", "acol", "spg")),
    "rethinking_cam": Layout(("vgg16",), ("plain",)),
    "f_cam": Layout(("vgg16", "resnet50"), ("plain",), decoder=True),
}
"""By repository. Of `f_cam` the classifier of its first stage, and the whole network with its decoder; its names were
not compared with a published file. Its Inception-v3 pads every convolution of 3x3 and ours does not, so its weights
would fit and make other maps."""

SIGNS = {"vgg16": "features.", "resnet50": "layer1.0.", "inception_v3": "Mixed_5b."}
"""The names by which a network is recognised."""

IGNORED = ("AuxLogits.",)


def fill(method: Method, layout: str, state: Mapping[str, Tensor], source: str) -> None:
    """Load published weights into a method, in place: all of them or, if something does not fit, none.

    Args:
        method: the method as configured, with any weights.
        layout: a key of `LAYOUTS`.
        state: the state dict as `wsol.weights_file.read` returns it.
        source: the name of the file in messages.

    Raises:
        InputError: the layout is unknown or has no such network, or the weights are those of another network, method or
            number of classes; the message lists what is missing, unexpected or of another shape.
    """
    name = method.network.backbone.name
    _require_layout(layout, name)
    _require_architecture(state, name, source)
    state = _with_short_classifier(
        {key: value for key, value in state.items() if not key.removeprefix(ENCODER).startswith(IGNORED)}
    )
    network, decoder = method.network.state_dict(), _decoder(method)
    ours = {**network, **decoder}
    tables = LAYOUTS[layout].tables(name, method.network.backbone.stride)
    named = min((places(ours, table) for table in tables), key=lambda named: len(set(named) ^ set(state)))
    problems = _missing(method, ours, named, state) + _unexpected(named, state)
    if problems:
        raise InputError(
            f"{source} does not fit the configured {type(method).__name__} on {name} in the layout {layout}:"
            f" {'; '.join(problems)}. Check trial.method, trial.backbone (also its stride) and the layout against what"
            " was trained"
        )
    found = {named[key]: _as_linear(value, ours[named[key]]) for key, value in state.items()}
    _require_shapes(found, ours, {our: key for key, our in named.items()}, method.network.num_classes, source)
    # strict but for the counts of batches, as checked above
    method.network.load_state_dict({key: found[key] for key in network if key in found}, strict=False)
    method.load_state_dict({key: found[key] for key in decoder if key in found}, strict=False)


def _decoder(method: Method) -> dict[str, Tensor]:
    """The weights of a decoder beside the network; empty if the method has none."""
    return {key: value for key, value in method.state_dict().items() if key.startswith("decoder.")}


def _with_short_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename `classification_head.<anything>.weight` to `classification_head.weight`, and likewise the bias; if there
    are several, they keep their names."""
    inside = {key: f"{CLASSIFIER}.{key.rpartition('.')[2]}" for key in state if key.startswith(f"{CLASSIFIER}.")}
    short = inside if len(set(inside.values())) == len(inside) else {}
    return {short.get(key, key): value for key, value in state.items()}


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
    keys = {key: key.removeprefix(ENCODER) for key in state}
    found = next((name for name, sign in SIGNS.items() if any(key.startswith(sign) for key in keys.values())), None)
    if found is None:
        raise InputError(f"{source} holds none of the networks {', '.join(SIGNS)}; its names are {listed(state)}")
    if found != backbone:
        names = listed(key for key, bare in keys.items() if bare.startswith(SIGNS[found]))
        raise InputError(
            f"{source} holds a {found} ({names}), but {backbone} is configured: set trial.backbone to {found}"
        )


def _missing(method: Method, ours: Mapping[str, Tensor], named: Names, state: Mapping[str, Tensor]) -> list[str]:
    missing = {
        key: ours[our] for key, our in named.items() if key not in state and not key.endswith(".num_batches_tracked")
    }
    inside = {id(parameter) for parameter in method.network.parameters()}
    missing |= {
        name: parameter
        for name, parameter in method.named_parameters()
        if id(parameter) not in inside and name not in ours
    }  # no layout has a name for them
    return _listed("missing", missing)


def _unexpected(named: Names, state: Mapping[str, Tensor]) -> list[str]:
    return _listed("unexpected", {key: value for key, value in state.items() if key not in named})


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
