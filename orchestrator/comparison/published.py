"""The numbers that papers report on the test split, in `published.yaml`, looked up by the configuration of a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from orchestrator.formats import method_label

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True, slots=True)
class Published:
    """A number that a paper reports.

    Attributes:
        value: the published number, in percent.
        source: paper and table.
    """

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """The numbers of one method.

    Attributes:
        method: the method as `compare` calls it, with its base in brackets.
        values: one number for each backbone of the table, in percent; None where there is none.
        normalizer, extractor, guide: names of plugins; `guide` is F-CAM's.
        size: the size of the backbone; None where it has only one.
        boxes: number of images of each class of train_fullsup that the method trains on; None if it trains on none.
    """

    method: str
    values: tuple[float | None, ...]
    normalizer: str = "min_max"
    extractor: str = "cam"
    guide: str | None = None
    size: str | None = None
    boxes: int | None = None


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """The numbers of one source for one data set and metric, `rows` by `backbones`."""

    source: str
    dataset: str
    metric: str
    backbones: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


def published_row(config: Mapping[str, Any], metric: str) -> Published | None:
    """The published number of a method on a data set's test split; None if none is known.

    Args:
        config: a training configuration as plain values; the names of method, backbone, data set, extractor and
            normalizer are used.
        metric: key of a metric.
    """
    backbone = config["backbone"]["name"]
    for table in published_tables():
        if (table.dataset, table.metric) == (config["data"]["name"], metric) and backbone in table.backbones:
            found = [row.values[table.backbones.index(backbone)] for row in table.rows if _is_of(row, config)]
            if found and found[0] is not None:
                return Published(found[0], table.source)
    return None


def _is_of(row: PublishedRow, config: Mapping[str, Any]) -> bool:
    method, evaluation = config["method"], config["evaluation"]
    own = (
        method_label(method),
        evaluation["normalizer"]["name"],
        evaluation["extractor"]["name"],
        (method.get("guide") or {}).get("name"),
        config["backbone"].get("size"),
    )
    has_boxes = row.boxes in (None, config["data"].get("fullsup_per_class"))
    return has_boxes and own == (row.method, row.normalizer, row.extractor, row.guide, row.size)


@functools.cache
def published_tables() -> list[PublishedTable]:
    """All tables of `published.yaml`."""
    return TypeAdapter(list[PublishedTable]).validate_python(yaml.safe_load(FILE.read_text(encoding="utf-8")))
