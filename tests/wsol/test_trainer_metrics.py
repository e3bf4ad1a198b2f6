"""MaxBoxAccV2 and PxAP in other people's loops give our own numbers, on one process and on two."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support import mask_samples
from tests.support.vectors import files, load
from wsol import plugins
from wsol.contract.samples import random_sample
from wsol.contract.workers import run_two_workers
from wsol.metric import Sample
from wsol.normalizers.min_max import min_max
from wsol.ops.resize import resize_maps
from wsol.types import Annotation

IMAGES, STEP = 13, 0.01


def of(name: str, **settings: Any) -> Any:
    """The metric of torchmetrics, where that is installed."""
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed; the dev extra has it")
    from wsol import trainer_metrics

    return getattr(trainer_metrics, name)(**settings)


def ours(name: str, samples: list[Sample], step: float = STEP) -> float:
    counter = plugins.load("metric", name).build(plugins.load("metric", name).Config(), step)
    for sample in samples:
        counter.update(sample)
    value: float = counter.compute()[name]
    return value


def boxed(samples: list[Sample]) -> tuple[Tensor, list[Tensor], list[tuple[int, int]]]:
    maps = torch.from_numpy(np.stack([one.score_map for one in samples]))
    boxes = [torch.from_numpy(one.annotation.boxes) for one in samples]
    return maps, boxes, [one.annotation.image_size for one in samples]


def masked(samples: list[Sample]) -> tuple[Tensor, Tensor]:
    masks = np.stack([one.annotation.mask for one in samples if one.annotation.mask is not None])
    return torch.from_numpy(np.stack([one.score_map for one in samples])), torch.from_numpy(masks)


BOXES = [random_sample(seed, STEP) for seed in range(IMAGES)]
MASKS = [mask_samples.random_sample(seed) for seed in range(IMAGES)]
CASES = {
    "MaxBoxAccV2": ("max_box_acc_v2", BOXES, boxed),
    "PxAP": ("pxap", MASKS, masked),
}
every_metric = pytest.mark.parametrize("name", CASES)


@every_metric
def test_batches_give_our_number(name: str) -> None:
    own, samples, batch_of = CASES[name]
    metric = of(name, normalizer="none", threshold_step=STEP)
    for start in range(0, IMAGES, 5):
        metric.update(*batch_of(samples[start : start + 5]))
    assert metric.compute().dtype == torch.float64 and metric.compute().item() == ours(own, samples)
    metric.reset()
    metric.update(*batch_of(samples[:3]))
    assert metric.compute().item() == ours(own, samples[:3])


@every_metric
def test_a_call_gives_the_number_of_its_batch(name: str) -> None:
    own, samples, batch_of = CASES[name]
    metric = of(name, normalizer="none", threshold_step=STEP)
    assert metric(*batch_of(samples[:4])).item() == ours(own, samples[:4])
    assert metric(*batch_of(samples[4:])).item() == ours(own, samples[4:])
    assert metric.compute().item() == ours(own, samples)


def test_raw_maps_are_resized_and_normalised_as_the_protocol_does() -> None:
    raw, size = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(2)), 24
    boxes = [torch.tensor([[2, 3, 11, 12]]), torch.tensor([[0, 0, 5, 9], [8, 8, 23, 23]])] * 2
    maps = min_max(resize_maps(raw, (size, size))).numpy()
    samples = [
        Sample(one, Annotation((size, size), box.numpy()), 0, None, STEP) for one, box in zip(maps, boxes, strict=True)
    ]
    metric = of("MaxBoxAccV2", size=(size, size), threshold_step=STEP)
    metric.update(raw, boxes)
    assert metric.compute().item() == ours("max_box_acc_v2", samples)


@pytest.mark.parametrize("path", files("box_accuracy", "*multi_contour_True*.npz"))
def test_recorded_boxes(path: Path) -> None:
    case = load(path)
    boxes = [torch.from_numpy(one) for one in np.split(case["gt_boxes_original"], np.cumsum(case["gt_counts"])[:-1])]
    metric = of("MaxBoxAccV2", size=(224, 224))
    metric.update(torch.from_numpy(case["cams_28"]), boxes, case["image_sizes_wh"].tolist())
    assert np.array_equal(metric.counts, case["num_correct"])
    assert metric.compute().item() == pytest.approx(case["max_box_acc_v2"].item(), abs=1e-8)


@pytest.mark.parametrize("path", files("pixel_average_precision"))
def test_recorded_masks(path: Path) -> None:
    case = load(path)
    maps, masks = (torch.from_numpy(case[name]) for name in ("score_maps_224", "evaluation_masks_224"))
    metric = of("PxAP", normalizer="none")
    metric.update(maps, masks)
    assert np.array_equal(metric.counts, [case["hist_true"], case["hist_false"]])
    assert metric.compute().item() == pytest.approx(case["pxap"].item(), abs=1e-9)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8])
def test_ignored_pixels_count_nowhere_and_the_object_wins(kind: torch.dtype) -> None:
    maps, masks = masked(MASKS)
    ignore = masks == mask_samples.IGNORED
    plain = masks.where(~ignore, 0)
    metric = of("PxAP", normalizer="none", threshold_step=STEP)
    metric.update(maps, plain, (ignore | (plain == 1)).to(kind))
    assert metric.compute().item() == ours("pxap", MASKS)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("MaxBoxAccV2", (torch.rand(2, 8, 8), [torch.tensor([[0, 0, 3, 3]])]), r"got \(2, 8, 8\) for 1"),
        ("MaxBoxAccV2", (torch.rand(1, 8, 8), [torch.tensor([[0, 0, 3.5, 3]])]), "boxes are whole pixels"),
        ("MaxBoxAccV2", (torch.rand(2, 8, 8), [torch.tensor([[0, 0, 3, 3]]), torch.empty(0, 4)]), "has no boxes"),
        ("PxAP", (torch.rand(1, 8, 8), torch.full((1, 8, 8), 3)), "a mask has the values 1 object"),
        ("PxAP", (torch.rand(1, 8, 8), torch.ones(1, 4, 4)), r"the mask has \(4, 4\) pixels"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_counts_nothing(
    name: str, arguments: tuple[Any, ...], message: str
) -> None:
    metric = of(name)
    with pytest.raises(ValueError, match=message):
        metric.update(*arguments)
    assert metric.images == 0


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    found = {}
    for name, (_, samples, batch_of) in CASES.items():
        metric = of(name, normalizer="none", threshold_step=STEP)
        metric.update(*batch_of(samples[:9] if rank == 0 else samples[9:]))
        if rank == 0:
            metric.update(batch_of(samples)[0][:0], [] if name == "MaxBoxAccV2" else batch_of(samples)[1][:0])
        found[name] = [metric.compute().item(), int(metric.images)]
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_number_of_one(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed; the dev extra has it")
    run_two_workers(worker, str(tmp_path))
    for rank, own in ((0, 9), (1, IMAGES - 9)):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found == {name: [ours(plugin, samples), own] for name, (plugin, samples, _) in CASES.items()}


def test_without_torchmetrics_one_line_says_what_to_install() -> None:
    program = "import sys; sys.modules['torchmetrics'] = None; import wsol.trainer_metrics"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: wsol.trainer_metrics needs torchmetrics: pip install 'wsol-search[torchmetrics]'"
    )
