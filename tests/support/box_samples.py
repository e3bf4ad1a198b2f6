"""Small images with boxes, and what a metric counts on them."""

import numpy as np
import torch

from wsol.metric import Sample
from wsol.normalizers.min_max import min_max
from wsol.ops.resize import resize_maps
from wsol.types import Annotation


def metric(plugin, step=0.001):
    return plugin.build(plugin.Config(), step)


def counted(counter, samples):
    for sample in samples:
        counter.update(sample)
    return counter


SIDE = 24


def random_sample(seed, step=0.01, classes=8):
    random = np.random.default_rng(seed)
    raw = torch.from_numpy(random.standard_normal((1, 6, 6)).astype(np.float32))
    score_map = min_max(resize_maps(raw, (SIDE, SIDE))).numpy()[0]
    boxes = np.sort(random.integers(0, 40, (random.integers(1, 4), 2, 2)), axis=1).reshape(-1, 4)
    logits = random.integers(0, 4, classes).astype(np.float32)
    return Sample(score_map, Annotation((40, 40), boxes), int(random.integers(classes)), logits, step)
