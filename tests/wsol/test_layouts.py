"""Released checkpoints: strict names. The numbers: `backbones/test_published.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import published_networks
from tests.support.published_decoder import Unet
from wsol import layout_names, layouts, plugins
from wsol.errors import InputError
from wsol.method import Method
from wsol.methods.f_cam import FCAM
from wsol.network import CamHead, Classifier

State = dict[str, Tensor]
Change = Callable[[State], Any]


def make(backbone: str, method: str = "cam", stride: int = 16, classes: int = 7) -> Method:
    body, plugin = plugins.load("backbone", backbone), plugins.load("method", method)
    blocks = body.build(body.Config(name=backbone, weights="none", stride=stride))
    built: Method = plugin.build(plugin.Config(), Classifier(blocks, CamHead(blocks.channels, classes)))
    return built


def state_of(network: str) -> State:
    """Zeros under the names of a published network."""
    return {key: torch.zeros(shape) for key, shape in published_networks.shapes(network).items()}


@pytest.fixture(scope="module")
def vgg16() -> Method:
    return make("vgg16")


@pytest.fixture(scope="module")
def resnet50() -> Method:
    return make("resnet50")


def test_every_layout_has_tables() -> None:
    for layout in layouts.LAYOUTS.values():
        for backbone in layout.backbones:
            for variant in layout.variants:
                names = layout_names.TABLES[backbone](variant, 16)
                assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    ("layout", "network", "published", "ours"),
    [
        ("wsolevaluation", "resnet50_adl_large_False", "layer3.2.conv1.weight", "layer3_1.conv1.weight"),
        ("small_object", "resnet50_drop_large_False", "layer4_2.1.conv3.weight", "layer4_2.conv3.weight"),
        ("da_wsol", "resnet50_cam_large_False", "layer3.2.conv1.weight", "layer3_2.conv1.weight"),
    ],
)
def test_one_method_takes_every_cut_of_its_network(
    layout: str, network: str, published: str, ours: str, resnet50: Method
) -> None:
    state = state_of(network)
    state[published].fill_(3)
    layouts.fill(resnet50, layout, state, "file")
    filled = [
        key
        for key, value in resnet50.network.backbone.blocks.state_dict().items()
        if value.ndim and bool((value == 3).all())
    ]
    assert filled == [ours]


def test_counts_of_batches_are_taken_where_they_are(resnet50: Method) -> None:
    state = state_of("resnet50_cam_large_False")
    counts = [key for key in state if key.endswith("num_batches_tracked")]
    assert counts
    layouts.fill(resnet50, "wsolevaluation", {**state, counts[0]: torch.tensor(5)}, "file")
    layouts.fill(resnet50, "wsolevaluation", {key: value for key, value in state.items() if key not in counts}, "file")
    assert resnet50.network.state_dict()["backbone.blocks.stem.norm.num_batches_tracked"] == 5


def test_a_convolution_can_be_the_classifier(vgg16: Method) -> None:
    weight = torch.randn(7, 1024)
    layouts.fill(
        vgg16, "rethinking_cam", {**state_of("vgg16_cam_large_False"), "fc.weight": weight[:, :, None, None]}, "file"
    )
    assert isinstance(vgg16.network.head, CamHead)
    assert torch.equal(vgg16.network.head.linear.weight, weight)


def test_the_auxiliary_classifier_of_inception_is_left_out() -> None:
    state = {**state_of("inception_v3_cam_large_False"), "AuxLogits.fc.weight": torch.zeros(7, 768)}
    layouts.fill(make("inception_v3"), "wsolevaluation", state, "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.7.weight"), r"1 missing: features\.7\.weight \(128, 128, 3, 3\)\. Check"),
        (lambda state: state.update(extra=torch.zeros(2, 1)), r"1 unexpected: extra \(2, 1\)\. Check"),
        (lambda state: state.update({"decoder.0.weight": torch.zeros(4)}), r"unexpected: decoder\.0\.weight \(4,\)"),
        (
            lambda state: (state.pop("fc.bias"), state.update({"cls.bias": torch.zeros(7)})),
            r"missing: fc\.bias \(7,\); 1 unexpected: cls\.bias \(7,\)",
        ),
        (
            lambda state: state.update({"conv6.bias": torch.zeros(9)}),
            r"of other shapes: conv6\.bias \(9,\), expected \(1024,\)",
        ),
        (
            lambda state: state.update({"fc.weight": torch.zeros(7, 512)}),
            r"of other shapes: fc\.weight \(7, 512\), expected \(7, 1024\)",
        ),
        (
            lambda state: state.update({"fc.weight": torch.zeros(200, 1024), "fc.bias": torch.zeros(200)}),
            (
                r"trained for 200 classes, the configured data set has 7 \(fc\.weight \(200, 1024\), expected \(7,"
                r" 1024\).*set trial\.data"
            ),
        ),
    ],
)
def test_weights_that_do_not_fit_are_listed_and_nothing_is_filled(change: Change, message: str, vgg16: Method) -> None:
    before = {key: value.clone() for key, value in vgg16.state_dict().items()}
    state = {key: value + 9 for key, value in state_of("vgg16_cam_large_False").items()}
    change(state)
    with pytest.raises(InputError, match=f"^file .*{message}"):
        layouts.fill(vgg16, "wsolevaluation", state, "file")
    assert all(torch.equal(value, before[key]) for key, value in vgg16.state_dict().items())


@pytest.mark.parametrize(
    ("layout", "network", "message"),
    [
        (
            "wsolevaluation",
            "resnet50_cam_large_False",
            r"holds a resnet50 \(layer1\.0\.conv1\.weight.*but vgg16 is configured: set trial\.backbone to resnet50",
        ),
        ("wsolevaluation", "inception_v3_cam_large_False", "holds a inception_v3"),
        (
            "wsolevaluation",
            "vgg16_cam_large_True",
            r"missing: features\.24\.weight.*unexpected: features\.23\.weight.*its stride",
        ),
        (
            "wsolevaluation",
            "vgg16_acol_large_False",
            r"missing: .*fc\.weight.*unexpected: classifier_A\.0\.weight.*trial\.method",
        ),
        ("wsolevaluation", "vgg16_drop_large_False", r"unexpected: features\.0\.0\.weight"),
        ("bridging_gap", "vgg16_cam_large_False", r"missing: features\.0\.0\.weight"),
        (
            "da_wsol",
            "vgg16_cam_large_False",
            "layout da_wsol has no network 'vgg16': set trial.backbone to the one of resnet50, inception_v3",
        ),
        (
            "wsol_evaluation",
            "vgg16_cam_large_False",
            "unknown layout 'wsol_evaluation', did you mean 'wsolevaluation'.*bridging_gap",
        ),
    ],
)
def test_another_network_or_layout_is_refused(layout: str, network: str, message: str, vgg16: Method) -> None:
    with pytest.raises(InputError, match=message):
        layouts.fill(vgg16, layout, state_of(network), "file")


def test_names_of_no_known_network_are_refused(vgg16: Method) -> None:
    with pytest.raises(
        InputError, match=r"holds none of the networks vgg16, resnet50, inception_v3; its names are stem\.weight"
    ):
        layouts.fill(vgg16, "wsolevaluation", {"stem.weight": torch.zeros(1)}, "file")


def test_weights_beside_the_network_are_missing() -> None:
    method = make("vgg16")
    method.decoder = nn.Linear(2, 3)
    with pytest.raises(InputError, match=r"2 missing: decoder\.weight \(3, 2\), decoder\.bias \(3,\)"):
        layouts.fill(method, "f_cam", state_of("vgg16_cam_large_False"), "file")


def test_a_network_whose_weights_fit_and_make_other_maps_is_refused() -> None:
    with pytest.raises(InputError, match=r"layout f_cam has no network 'inception_v3': .* vgg16, resnet50 that was"):
        layouts.fill(make("inception_v3"), "f_cam", state_of("inception_v3_cam_large_False"), "file")


def state_of_f_cam(unet: Unet, network: str, classifier: str) -> State:
    """A whole network under the names of its three parts."""
    state = state_of(network)
    head = {key: value for key, value in state.items() if key.startswith(classifier)}
    names = {key: f"classification_head.fc.{key.rpartition('.')[2]}" for key in head}
    return {
        **{names.get(key, f"encoder.{key}"): value for key, value in state.items()},
        **unet.state_dict(),
    }


@pytest.fixture(scope="module", params=["vgg16", "resnet50"])
def with_decoder(request: pytest.FixtureRequest) -> tuple[FCAM, Unet]:
    """F-CAM and what was published beside its classifier, all of it random."""
    torch.manual_seed(0)
    unet = Unet(request.param).eval()
    for name, value in unet.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.uniform_(0.5, 1.5) if "running_var" in name or "weight" in name else value.normal_()
    method = make(request.param, stride=8)
    plugin = plugins.load("method", "f_cam")
    built: FCAM = plugin.build(plugin.Config(), method)
    return built.eval(), unet


def test_a_trained_decoder_decodes_as_published(with_decoder: tuple[FCAM, Unet]) -> None:
    method, unet = with_decoder
    backbone = method.network.backbone
    layouts.fill(method, "f_cam", state_of_f_cam(unet, f"{backbone.name}_cam_large_True", "fc."), "file")
    info = {name: backbone.info[name] for name in method.skips}
    features = torch.rand(2, backbone.channels, 4, 4)
    skips = [torch.rand(2, one.channels, 32 // one.stride, 32 // one.stride) for one in info.values()]
    with torch.no_grad():
        found, expected = method.decoder(features, skips, (32, 32)), unet(features, skips, 32)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected)


def test_what_a_trained_decoder_lacks_is_named(with_decoder: tuple[FCAM, Unet]) -> None:
    method, unet = with_decoder
    whole = state_of_f_cam(unet, f"{method.network.backbone.name}_cam_large_True", "fc.")
    before = {key: value.clone() for key, value in method.state_dict().items()}
    lacking = {key: value + 9 for key, value in whole.items() if key != "decoder.blocks.1.conv2.1.running_var"}
    with pytest.raises(InputError, match=r"1 missing: decoder\.blocks\.1\.conv2\.1\.running_var \(128,\)\. Check"):
        layouts.fill(method, "f_cam", lacking, "file")
    with pytest.raises(InputError, match=r"1 unexpected: reconstruction_head\.weight \(2,\)\. Check"):
        layouts.fill(method, "f_cam", {**whole, "reconstruction_head.weight": torch.zeros(2)}, "file")
    with pytest.raises(InputError, match=r"of other shapes: segmentation_head\.0\.weight \(3, 1\), expected \(2, "):
        layouts.fill(method, "f_cam", {**whole, "segmentation_head.0.weight": torch.zeros(3, 1)}, "file")
    with pytest.raises(InputError, match="trained for 200 classes, the configured data set has 7"):
        other = {"classification_head.fc.weight": torch.zeros(200, whole["classification_head.fc.weight"].shape[1])}
        layouts.fill(method, "f_cam", {**whole, **other, "classification_head.fc.bias": torch.zeros(200)}, "file")
    with pytest.raises(InputError, match=r"missing: .*decoder"):
        layouts.fill(method, "f_cam", state_of(f"{method.network.backbone.name}_cam_large_True"), "file")
    with pytest.raises(InputError, match=r"unexpected: .*encoder\."):
        layouts.fill(method, "wsolevaluation", whole, "file")
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


def test_the_classifier_of_a_whole_f_cam_is_no_method_without_its_decoder(vgg16: Method) -> None:
    whole = state_of_f_cam(Unet("vgg16"), "vgg16_cam_large_False", "fc.")
    with pytest.raises(InputError, match=r"unexpected: decoder\.center\.0\.0\.weight \(1024, 1024, 3, 3\)"):
        layouts.fill(vgg16, "f_cam", whole, "file")
    whole = {key: value for key, value in whole.items() if key.startswith(("encoder.", "classification_head."))}
    layouts.fill(vgg16, "f_cam", {**whole, "classification_head.fc.bias": torch.ones(7)}, "file")
    assert isinstance(vgg16.network.head, CamHead) and vgg16.network.head.linear.bias.sum() == 7
    with pytest.raises(
        InputError, match=r"missing: classification_head\.weight.*unexpected: .*classification_head\.fc"
    ):
        layouts.fill(vgg16, "f_cam", {**whole, "classification_head.hidden.weight": torch.ones(7)}, "file")


def test_every_weight_of_every_decoder_has_a_published_name() -> None:
    for backbone in layouts.LAYOUTS["f_cam"].backbones:
        plugin = plugins.load("method", "f_cam")
        decoder = plugin.build(plugin.Config(), make(backbone, stride=8)).decoder.state_dict()
        table = layout_names.with_decoder(layout_names.TABLES[backbone]("plain", 8))
        named = {
            key: decoder[our.removeprefix("decoder.")].shape
            for key, our in layout_names.places([f"decoder.{key}" for key in decoder], table).items()
        }
        assert named == {key: value.shape for key, value in Unet(backbone).state_dict().items()}
