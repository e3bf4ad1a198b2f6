"""Released checkpoints: reading files safely, strict names, and the run folder that is made of one. The numbers:
`test_backbones.py`."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from orchestrator.experiment.load import Loaded, load_experiment
from orchestrator.report.page import write_report
from orchestrator.runs.folder import read_header
from orchestrator.runs.tested import recorded_tests
from orchestrator.verbs.evaluate import evaluate, evaluate_import
from orchestrator.verbs.resume import resume
from orchestrator.winner.released import import_checkpoint
from tests.support import published_networks
from tests.support.tiny import TINY
from wsol import layouts, plugins
from wsol.checkpoint import read_state
from wsol.errors import InputError
from wsol.files import sha256
from wsol.method import Method
from wsol.network import CamHead, Classifier

State = dict[str, Tensor]
Change = Callable[[State], Any]

# --- files ------------------------------------------------------------------------------------------------------------

PLAIN = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {
            "architecture": "vgg16",
            "epoch": 9,
            "state_dict": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        },
        lambda state: {"model": {"state_dict": {f"module.{key}": value for key, value in state.items()}}},
        lambda state: {"model_state_dict": state},
    ],
    ids=["bare", "module", "state_dict", "model", "model_state_dict"],
)
def test_containers_and_prefixes_are_taken_off(wrap: Callable[[State], Any], zipped: bool, tmp_path: Path) -> None:
    torch.save(wrap(PLAIN), tmp_path / "last_checkpoint.pth.tar", _use_new_zipfile_serialization=zipped)
    found = layouts.read(tmp_path / "last_checkpoint.pth.tar")
    assert list(found) == list(PLAIN)
    assert all(torch.equal(found[key], value) for key, value in PLAIN.items())


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("code-of-the-file-ran",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (Malicious(), r"it wants (posix|nt)\.mkdir"),
        (np.float64(3), r"it wants numpy\.\S+\.scalar"),
        (nn.Linear(2, 2), r"it wants torch\.nn\.modules\.linear\.Linear"),
    ],
    ids=["malicious", "numpy", "module"],
)
def test_what_needs_more_than_tensors_is_refused(
    content: object, wanted: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": PLAIN, "best": content}, "needy.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        InputError,
        match=rf"needy\.pth was refused: {wanted}, .*convert it in the environment of its repository: .*torch\.save",
    ):
        layouts.read(Path("needy.pth"))
    assert not Path("code-of-the-file-ran").exists()


def test_a_plain_pickle_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("code.pth").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(InputError, match=r"code\.pth was refused"):
        layouts.read(Path("code.pth"))
    assert not Path("code-of-the-file-ran").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("404: not found")
    (tmp_path / "empty.pth").touch()
    torch.save(PLAIN, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:500])
    for name in ("text", "empty", "cut"):
        with pytest.raises(InputError, match=rf"{name}\.pth (was refused|cannot be read).*download it again"):
            layouts.read(tmp_path / f"{name}.pth")
    with pytest.raises(InputError, match=r"no checkpoint at .*absent\.pth"):
        layouts.read(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="cannot be read"):
        layouts.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it is a list"),
        ({"epoch": 3, "weights": PLAIN}, "has the entries epoch, weights"),
        ({"state_dict": {}}, "entries"),
    ],
)
def test_what_holds_no_state_dict_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"holds no state dict.*{message}"):
        layouts.read(tmp_path / "other.pth")


# --- names ------------------------------------------------------------------------------------------------------------


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
                names = layouts.TABLES[backbone](variant, 16)
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
            r"holds a resnet50 \(layer1\.0\.conv1\.weight.*configured is vgg16: set trial\.backbone to resnet50",
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


# --- run folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """CAM with VGG-16 on a few rendered images, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    trial = {**TINY["trial"], "backbone": {"name": "vgg16", "stride": 8, "weights": "imagenet"}}  # type: ignore[dict-item]
    grid = {"evaluation.normalizer": [{"name": "min_max"}, {"name": "max"}]}
    (tmp_path / "vgg.yaml").write_text(yaml.safe_dump({**TINY, "trial": trial, "post_hoc": grid}))
    return load_experiment(tmp_path / "vgg.yaml")


def save_checkpoint(change: Change = lambda state: None) -> Path:
    """A checkpoint as the evaluation's code writes it, for two classes."""
    state = published_networks.state("vgg16_cam_large_True")
    state.update({key: state[key][:2].clone() for key in ("fc.weight", "fc.bias")})
    change(state)
    torch.save({"architecture": "vgg16", "epoch": 49, "state_dict": state, "optimizer": {}}, "last_checkpoint.pth.tar")
    return Path("last_checkpoint.pth.tar")


def test_an_imported_checkpoint_is_a_run(loaded: Loaded) -> None:
    file, folder = save_checkpoint(), Path("runs/imported")
    evaluate_import("wsolevaluation", file, Path("vgg.yaml"), [], folder)

    header, result = read_header(folder), json.loads((folder / "best" / "result.json").read_text())
    source = {"layout": "wsolevaluation", "file": str(file), "sha256": sha256(file)}
    assert header["kind"] == "import" and header["imported"] == result["imported"] == source and header["ended"]
    assert result["checkpoint_sha256"] == sha256(folder / "best" / "weights.pt")
    assert result["value"] == result["post_hoc"][0]["value"] and len(result["post_hoc"]) == 2
    weights = read_state(folder / "best" / "weights.pt")["method"]
    assert torch.equal(
        weights["network.backbone.blocks.conv5_1.conv.weight"],
        published_networks.state("vgg16_cam_large_True")["features.23.weight"],
    )
    assert not load_experiment(folder / "best.yaml").experiment.search
    assert load_experiment(folder / "best.yaml").experiment.trial.backbone.weights == "imagenet"

    again = evaluate(folder, "train_fullsup", None)
    assert again == result["train_fullsup"] and again["max_box_acc_v2"] == max(
        entry["value"] for entry in result["post_hoc"]
    )
    evaluate(folder, "test", None)
    assert recorded_tests(folder)[0]["checkpoint_sha256"] == result["checkpoint_sha256"]
    with pytest.raises(InputError, match="already evaluated"):
        evaluate(folder, "test", None)
    page = write_report(folder).read_text()
    assert 'class="badge finished"' in page and f"{result['value']:.2f}" in page and "Imported model" in page
    with pytest.raises(InputError, match="nothing to resume"):
        resume(folder, [])
    with pytest.raises(InputError, match="holds a run already"):
        import_checkpoint("wsolevaluation", file, loaded, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("fc.bias"), r"last_checkpoint\.pth\.tar does not fit .*missing: fc\.bias"),
        (
            lambda state: state.update({"fc.weight": torch.zeros(200, 1024), "fc.bias": torch.zeros(200)}),
            "trained for 200 classes.* has 2",
        ),
    ],
)
def test_what_does_not_fit_writes_nothing(change: Change, message: str, loaded: Loaded) -> None:
    with pytest.raises(InputError, match=message):
        import_checkpoint("wsolevaluation", save_checkpoint(change), loaded, Path("runs/imported"))
    assert not Path("runs").exists()


def test_an_interrupted_import_writes_nothing(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(request: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.winner.released.measure", stop)
    with pytest.raises(KeyboardInterrupt):
        import_checkpoint("wsolevaluation", save_checkpoint(), loaded, Path("runs/imported"))
    assert not Path("runs").exists()
