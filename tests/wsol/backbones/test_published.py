"""The numbers of the published networks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import published_networks, vectors
from wsol import layouts, plugins
from wsol.contract.found import backbone as make
from wsol.method import Method
from wsol.network import CamHead, Classifier


@pytest.mark.parametrize("path", vectors.files("backbones"))
@torch.no_grad()
def test_published_network(path: Path) -> None:
    vector, named = vectors.load(path), re.search(r"([a-z0-9_]+)_([a-z]+)_large_(True|False)", path.stem)
    recorded, (name, method_name, large) = named[0], named.groups()
    plugin = plugins.load("method", "bridging_gap" if method_name == "drop" else method_name)
    with torch.device("meta"):  # the recorded weights replace all that would be drawn
        blocks = make(name, stride=8 if large == "True" else 16)
        method = plugin.build(plugin.Config(), Classifier(blocks, CamHead(blocks.channels, 7))).eval()
    method.to_empty(device="cpu")
    network = method.network
    state = published_networks.state(recorded, str(vector["key_salt"]))
    layouts.fill(method, "bridging_gap" if method_name == "drop" else "wsolevaluation", state, path.name)

    images = torch.from_numpy(
        np.random.default_rng(int(vector["input_seed"])).standard_normal((2, 3, 224, 224)).astype(np.float32)
    )
    labels = torch.from_numpy(vector["labels"])
    activations = method.activate(images, labels)
    maps = method.class_map(activations, labels)
    if method_name != "acol" and (name == "inception_v3" or method_name == "spg"):
        maps = maps * blocks.channels  # this classifier is a convolution, which divides nothing
    pairs = [(activations.logits, vector["logits"]), (maps, vector["cam"])]
    if "logits_b" in vector:  # recorded without labels: erased by the class with the highest logit
        erased = method.activate(images, activations.logits.argmax(1)).taps["head.b"]
        pairs.append((network.head.b.classifier(erased), vector["logits_b"]))
    for found, expected in pairs:
        assert np.abs(found.numpy() - expected).max() / np.abs(expected).max() < 1e-3


@torch.no_grad()
def test_resnet50_at_stride_32_is_torchvisions() -> None:
    from torchvision.models import resnet50

    theirs = resnet50(weights=None).eval()
    state = published_networks.procedural(theirs.state_dict(), "")
    theirs.load_state_dict(state, strict=False)
    backbone = make("resnet50", stride=32)
    network = Classifier(backbone, CamHead(2048, 1000)).eval()
    layouts.fill(Method(network), "wsolevaluation", state, "torchvision")
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network(images).logits, theirs(images))
