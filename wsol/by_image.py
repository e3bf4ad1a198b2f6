"""How much each image adds to a metric, so that two networks can be compared on the same images, pair by pair.

With the sums X of all n images, the number of an image with the sums x is (n + 1) f(X + x) - n f(X). Of a percentage of
images that are right this is exactly 100 or 0 for a right and a wrong image; of a function of pooled pixels it is what
the image adds, up to the second order in 1 / n (the jackknife that adds an image instead of leaving one out). The mean
of these numbers is the metric. Score thresholds are those that are best for all images, and stay: with others, an image
would be right at the expense of the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsol import distributed
from wsol.config import EvaluationConfig
from wsol.data.images import ImageStore
from wsol.evaluation import Counts, Pipeline, count, forward_together
from wsol.method import Method
from wsol.metric import Metric, ThresholdCurves
from wsol.ops.boxes import Floats

State = dict[str, Tensor]
"""See `Metric.state`."""


def evaluate_by_image(
    method: Method, images: ImageStore, config: EvaluationConfig, name: str
) -> tuple[dict[str, float], Floats]:
    """`evaluate`, and the numbers of single images.

    Args:
        method: see `evaluate`.
        images: see `evaluate`.
        config: see `evaluate`.
        name: a number of one of the metrics, such as `max_box_acc_v2`; that metric is `by_image`.

    Returns:
        What `evaluate` returns, and the images' numbers (n,) in percent, in the order of the split, on every worker.
    """
    pipeline = Pipeline(config, method).on(images.split.name)
    place = [settings.name for settings in pipeline.config.metrics].index(name.partition("/")[0])
    total, states = Counts(pipeline.config), list[State]()
    rank, world = distributed.rank(), distributed.world()
    raw = forward_together([pipeline], images, pipeline.config.batch_size, rank=rank, world=world)
    for (part,) in count(raw, images.split, images.size, [pipeline], singly=True):
        total.merge(part)
        states.append({name: _compact(value) for name, value in part.metrics[place].sums.items()})
    whole = total.over_workers()
    own = torch.from_numpy(numbers_of_images(whole.metrics[place], states, name))
    return whole.compute({}), in_order(distributed.gather_rows(own).numpy(), world)


def numbers_of_images(metric: Metric, states: Sequence[State], name: str) -> Floats:
    """The numbers (n,) of single images in percent.

    Args:
        metric: has counted all images, of all workers.
        states: the state of a metric that has seen one image only, for each image of this worker.
        name: one of the keys of `compute`.
    """
    held, count = copy.copy(metric), int(metric.sums["images"])
    places = metric.sums["counts"].argmax(1, keepdim=True) if isinstance(metric, ThresholdCurves) else None
    whole = _held(metric.sums, places)
    found = []
    for sums in (None, *(_held(state, places) for state in states)):
        held.sums = whole if sums is None else {key: value + sums[key] for key, value in whole.items()}
        found.append(held.compute()[name])
    first, *others = found
    numbers: Floats = (count + 1) * np.array(others, np.float64) - count * first
    return numbers


def in_order(gathered: Floats, world: int) -> Floats:
    """Numbers (n,) in the order of the images; given are those of the first worker, which has the images 0, world, 2
    world, ..., then those of the second, and so on."""
    places = np.concatenate([np.arange(rank, len(gathered), world) for rank in range(world)])
    numbers = np.empty_like(gathered)
    numbers[places] = gathered
    return numbers


def _held(sums: State, places: Tensor | None) -> State:
    """The sums at one score threshold of each curve alone; as they are where there are no curves."""
    if places is None:
        return sums
    return {**sums, "counts": sums["counts"].long().gather(1, places)}


def _compact(value: Tensor) -> Tensor:
    """The same numbers in fewer bytes: an image is right or wrong, and has fewer pixels than 2^31."""
    return value.to(torch.uint8 if int(value.max()) < 256 else torch.int32)
