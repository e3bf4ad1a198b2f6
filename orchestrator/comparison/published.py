"""What papers report on the test split: `published.yaml`, asked for the configuration of a run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.formats import method_label

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True, slots=True)
class Published:
    """A number of a paper.

    Attributes:
        value: in percent.
        source: paper and table.
    """

    value: float
    source: str


def published_row(config: Mapping[str, Any], metric: str) -> Published | None:
    """The number of a method on a data set's test split; None where none is known.

    Args:
        config: a training configuration as plain values; method, backbone, data set, extractor and normalizer by name
            count.
        metric: key of a metric.
    """
    wanted = config["data"]["name"], metric, config["backbone"]["name"]
    for table in published_tables():
        if wanted == (table["dataset"], table["metric"], wanted[2]) and wanted[2] in table["backbones"]:
            found = [row["values"][table["backbones"].index(wanted[2])] for row in table["rows"] if _is_of(row, config)]
            if found and found[0] is not None:
                return Published(float(found[0]), table["source"])
    return None


def _is_of(row: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    method, evaluation = config["method"], config["evaluation"]
    own = (
        method_label(method),
        evaluation["normalizer"]["name"],
        evaluation["extractor"]["name"],
        (method.get("guide") or {}).get("name"),
    )
    return own == (row["method"], row.get("normalizer", "min_max"), row.get("extractor", "cam"), row.get("guide"))


@functools.cache
def published_tables() -> list[dict[str, Any]]:
    """All tables of `published.yaml`."""
    tables: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tables
