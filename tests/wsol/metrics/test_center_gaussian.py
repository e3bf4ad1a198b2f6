"""The baseline that looks at no image."""

import numpy as np
import pytest

from wsol import baseline
from wsol.contract.samples import counted, metric
from wsol.metric import Sample
from wsol.metrics import max_box_acc, max_box_acc_v2
from wsol.ops.boxes import boxes_by_level, iou, resize_boxes
from wsol.types import Annotation

CUB_TEST = [
    ((500, 335), (60, 27, 385, 331)),
    ((500, 347), (14, 112, 402, 298)),
    ((500, 470), (33, 53, 284, 448)),
]
GRID_BOXES = [(26, 18, 172, 221), (6, 72, 180, 192), (14, 25, 127, 213)]
ANNOTATIONS = [Annotation(size, np.array([box])) for size, box in CUB_TEST]


def test_center_gaussian_predicts_centred_squares():
    score_map = baseline.center_gaussian((224, 224), 56)
    assert score_map.min() == 0 and score_map.max() == 1
    found = boxes_by_level(score_map)
    best = [found.at(int(threshold * 255)).tolist() for threshold in (0.538, 0.432, 0.314)]
    assert best == [[[51, 51, 173, 173]], [[41, 41, 183, 183]], [[29, 29, 195, 195]]]


def test_one_map_for_every_image_equals_scoring_each_image():
    score_map = baseline.center_gaussian((224, 224), 56)
    values = baseline.score_constant_map(score_map, ANNOTATIONS, [metric(max_box_acc_v2), metric(max_box_acc)])
    for plugin in (max_box_acc_v2, max_box_acc):
        alone = counted(metric(plugin), [Sample(score_map, annotation, 0) for annotation in ANNOTATIONS]).compute()
        assert alone.items() <= values.items()
    squares = np.array([(i, i, 224 - i, 224 - i) for i in range(1, 112)])
    overlap = iou(squares, GRID_BOXES)
    assert [resize_boxes([box], size, (224, 224)).tolist()[0] for size, box in CUB_TEST] == [
        list(box) for box in GRID_BOXES
    ]
    expected = {
        f"max_box_acc/iou_{delta}": pytest.approx(100 * (overlap >= delta / 100).mean(1).max())
        for delta in (30, 50, 70)
    }
    assert expected.items() <= values.items()
