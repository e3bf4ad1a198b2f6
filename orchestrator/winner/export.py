"""Exports the winner: as weights with their configuration, for this package, or as one network, for other programs.

hub          config.json, model.safetensors, README.md: the layout of a model on the Hugging Face hub
safetensors  model.safetensors alone, with the content of config.json in its metadata
onnx         model.onnx, and model.json, which describes input and output
torchscript  model.pt, and model.json
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.foreign import require_installed, requirements
from orchestrator.formats import markdown_text, method_label, metric_label, printed_columns
from orchestrator.runs.looks import Look
from orchestrator.runs.result import WinnerResult, read_result
from orchestrator.runs.tested import final_test_of
from orchestrator.winner.exported import Model, open_model
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.files import sync_and_rename, temporary_beside, write_text

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CONFIG, CARD, FACTS = "model.safetensors", "config.json", "README.md", "model.json"
NEEDS = {"hub": ("safetensors",), "safetensors": ("safetensors",), "onnx": ("onnx",), "torchscript": ()}
"""Format -> the packages that it needs in addition."""

IMAGES_TRACED = 2

CARD_TEXT = """\
---
library_name: wsol-search
pipeline_tag: image-classification
tags: [weakly-supervised-localization]
---

# {name}

{what}: trained with {teacher}, it localises their objects. Chosen by {objective} on train_fullsup; trained on
{images}.

{record}

```python
from pathlib import Path
from orchestrator.winner.export import open_export

model = open_export(Path("."))  # model.method, model.config, model.class_names
```

Checkpoint: SHA-256 `{digest}`. Images: RGB, resized to {side} pixels, normalised as the backbone says.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that are needed to use a model.

    Attributes:
        config: the training configuration, with the post-hoc settings that were chosen.
        class_names: K names, in the order of the logits.
        checkpoint_sha256: SHA-256 of the run's weights.
        image_side: side in pixels to which an RGB image is resized, whatever its aspect ratio.
        train_fullsup: metric -> percent on the split that chose it.
        test: metric -> percent of the recorded test; empty if it was not tested.
        plugins: those of other packages -> what to install, see `orchestrator.experiment.foreign.requirements`.
    """

    config: dict[str, Any]
    class_names: tuple[str, ...]
    checkpoint_sha256: str
    image_side: int
    train_fullsup: Mapping[str, float]
    test: Mapping[str, float]
    plugins: Mapping[str, str]


def require_packages(form: str) -> None:
    """Raise InputError if a format needs a package that is not installed."""
    missing = [name for name in NEEDS[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format {form}: {missing[0]} is not installed: pip install 'wsol-search[export]'")


def export(folder: Path, form: str, out: Path) -> list[Path]:
    """Write the exported winner of a run.

    Args:
        folder: the run folder.
        form: a key of `NEEDS`.
        out: folder of the files, which is made if absent.

    Returns:
        the files.

    Raises:
        InputError: the run has no winner, a package is missing, or the format cannot express how its maps are made.
    """
    require_packages(form)
    result = read_result(folder)
    model = open_model(folder, result)
    look = final_test_of(folder, result.checkpoint_sha256)
    facts = Facts(
        model.config.model_dump(mode="json"),
        tuple(model.class_names),
        result.checkpoint_sha256,
        model.config.data.image_size,
        result.train_fullsup,
        look.metrics if look else {},
        requirements(model.config),
    )
    files = _files(form, model, facts)
    if form == "hub":
        files[CARD] = lambda path: write_text(path, model_card(folder.resolve().name, result, facts, look))
    out.mkdir(parents=True, exist_ok=True)
    for name, write in files.items():
        write(out / name)
    return [out / name for name in files]


def open_export(path: Path) -> Model:
    """Open a model that was exported as `hub` or `safetensors`, on this process's device.

    Args:
        path: the folder, or its `model.safetensors`.

    Raises:
        InputError: the file is missing, or was not written by `export`.
    """
    from safetensors import safe_open

    from wsol import build, weights_file

    file = path / WEIGHTS if path.is_dir() else path
    state = weights_file.read(file)
    with safe_open(file, "pt") as opened:
        told = (opened.metadata() or {}).get("wsol")
    if told is None:
        raise InputError(f"{file}: was not written by `launch.py export`; it says nothing about its network")
    facts = json.loads(told)
    require_installed(facts.get("plugins", {}))
    config = TrainConfig.model_validate(facts["config"])
    names = facts["class_names"]
    return Model(config, build.trained_method(config, state, len(names)), names)


def _files(form: str, model: Model, facts: Facts) -> dict[str, Callable[[Path], None]]:
    """Name of a file -> the function that writes it."""
    text = json.dumps(dataclasses.asdict(facts), indent=1)
    if form in ("hub", "safetensors"):
        weights = {WEIGHTS: lambda path: _write_safetensors(path, model, json.dumps(dataclasses.asdict(facts)))}
        return {**weights, **({CONFIG: lambda path: write_text(path, text)} if form == "hub" else {})}
    from wsol.deployed import Deployed

    network = Deployed(model.method.cpu(), model.config.evaluation.extractor)
    name, write = ("model.onnx", _write_onnx) if form == "onnx" else ("model.pt", _write_torchscript)
    return {name: lambda path: write(path, network, facts.image_side), FACTS: lambda path: write_text(path, text)}


def _write_safetensors(path: Path, model: Model, facts: str) -> None:
    from safetensors.torch import save_file

    state: dict[str, Tensor] = {
        name: value.detach().cpu().contiguous().clone() for name, value in model.method.state_dict().items()
    }  # copies: a tensor that stands under two names is refused
    with temporary_beside(path) as temporary:
        save_file(state, temporary, {"format": "pt", "wsol": facts})
        sync_and_rename(temporary, path)


def _example(side: int) -> Tensor:
    import torch

    return torch.rand(IMAGES_TRACED, 3, side, side, generator=torch.Generator().manual_seed(0))


def _write_onnx(path: Path, network: Any, side: int) -> None:
    import onnx
    import torch

    batch = {"images": {0: "images"}, "logits": {0: "images"}, "maps": {0: "images"}}
    with temporary_beside(path) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter of before needs no other package, and is kept by our torch
        torch.onnx.export(
            network,
            (_example(side),),
            str(temporary),
            input_names=["images"],
            output_names=["logits", "maps"],
            dynamic_axes=batch,
            dynamo=False,
        )
        onnx.checker.check_model(str(temporary))
        sync_and_rename(temporary, path)


def _write_torchscript(path: Path, network: Any, side: int) -> None:
    import torch

    with temporary_beside(path) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, _example(side), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(temporary))
        sync_and_rename(temporary, path)


def model_card(name: str, result: WinnerResult, facts: Facts, look: Look | None) -> str:
    """The README of a model on the hub: its method, how it was chosen and tested, and how to use it."""
    method = method_label(facts.config["method"])
    data, backbone = facts.config["data"]["name"], facts.config["backbone"]["name"]
    side = facts.image_side
    return CARD_TEXT.format(
        name=markdown_text(name),
        what=markdown_text(f"{method} on {data} with {backbone}, {len(facts.class_names)} classes"),
        objective=metric_label(result.objective),
        teacher="boxes or masks" if result.uses_boxes else "class labels",
        images=markdown_text(result.training_images + ("" if result.uses_boxes else " images")),
        record=_record(result, facts, look),
        digest=facts.checkpoint_sha256,
        side=f"{side} x {side}",
    )


def _record(result: WinnerResult, facts: Facts, look: Look | None) -> str:
    """The table of its metrics, and when it was tested."""
    splits = {"train_fullsup": facts.train_fullsup, **({"test": facts.test} if look else {})}
    rows = [
        [metric_label(key), *(f"{values[key]:.2f}" if key in values else "" for values in splits.values())]
        for key in printed_columns(result.metric, facts.train_fullsup)
    ]
    lines = [["metric, %", *splits], ["---", *(["---:"] * len(splits))], *rows]
    told = f"Tested once, {look.time}." if look else "Not tested: these numbers are of the split that chose it."
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", told])
