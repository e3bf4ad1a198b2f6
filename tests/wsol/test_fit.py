"""Methods and extractors on backbones that they do not work on are refused where they are written, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from wsol.config import TrainConfig
from wsol.contract.stacks import EVERY_STACK, STACKS

ON_TOKENS = {"adl", "cam", "crop_cam", "cutmix", "few_shot", "has"}
"""Methods for every backbone that a transformer is not refused for."""

REFUSED = {
    "acol": "its branches read a finer map",
    "bridging_gap": "where no feature is negative",
    "da_wsol": "no floor where features have both signs",
    "spg": "larger maps of earlier blocks",
    "tap": "channels whose maximum is negative",
}


def config(method: object, backbone: str = "deit", image_size: int = 224, **extractor: object) -> TrainConfig:
    plain: dict[str, Any] = {
        "method": {"name": method} if isinstance(method, str) else method,
        "backbone": {"name": backbone},
        "data": {"name": "synthetic", "image_size": image_size},
    }
    if extractor:
        plain["evaluation"] = {"extractor": extractor}
    return TrainConfig.model_validate(plain)


@pytest.mark.parametrize("name", REFUSED)
def test_methods_that_read_what_tokens_do_not_have(name: str) -> None:
    for method in (name, {"name": "crop_cam", "base": {"name": name}}):
        with pytest.raises(ValidationError, match=rf"{name} does not work on deit, a transformer: .*{REFUSED[name]}"):
            config(method)
    config(name, "resnet50")


def test_f_cam_reads_larger_maps() -> None:
    plain = {"initial_run": "runs/cam", "method": {"name": "f_cam"}, "data": {"name": "synthetic"}}
    with pytest.raises(ValidationError, match=r"f_cam does not work on deit.*its decoder reads larger maps"):
        TrainConfig.model_validate({**plain, "backbone": {"name": "deit"}})
    TrainConfig.model_validate({**plain, "backbone": {"name": "vgg16"}})


def test_the_other_methods_work() -> None:
    tokens = {method for method, backbone in STACKS if backbone == "deit"}
    everywhere = {method for method, backbone in STACKS if backbone == "tiny"}
    assert tokens & everywhere == ON_TOKENS
    assert {method for method, _ in EVERY_STACK} == tokens | everywhere
    for name in ON_TOKENS:
        config(name)


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ({"name": "bag_cams"}, "bag_cams does not work on deit.*set guided: false"),
        ({"name": "full_grad"}, "full_grad does not work on deit.*GELUs"),
    ],
)
def test_extractors_that_need_relus(extractor: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config("cam", **extractor)
    config("cam", "resnet50", **extractor)
    config("cam", name="bag_cams", guided=False)


def test_images_are_cut_into_whole_patches() -> None:
    with pytest.raises(ValidationError, match="image_size 230 is no multiple of 16, which deit needs"):
        config("cam", image_size=230)
    config("cam", "resnet50", image_size=230)
