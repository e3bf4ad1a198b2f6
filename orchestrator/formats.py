"""How values are written for readers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

SPLITS = ("train_weaksup", "train_fullsup", "test")


METRIC_NAMES = {
    "max_box_acc_v2": "MaxBoxAccV2",
    "max_box_acc": "MaxBoxAcc",
    "top1": "Top-1 Loc",
    "top1/loc": "Top-1 Loc",
    "top5/loc": "Top-5 Loc",
    "gt_known/loc": "GT-known Loc",
    "top1/cls": "Top-1 classification",
    "top5/cls": "Top-5 classification",
    "max_box_acc_by_size": "MaxBoxAcc by size",
    "pxap_by_size": "PxAP by size",
    "pxap": "PxAP",
    "piou": "pIoU",
    "degenerate_maps": "maps without a score",
    "loss/classification": "classification loss",
}


FIXED = "threshold of train_fullsup"


PRINTED = ("max_box_acc_v2", "gt_known/loc", "top1/loc", "pxap", "piou")
"""The metrics that papers print."""


def score_text(value: float | None, signed: bool = False) -> str:
    """Two decimals, as the field prints them; a true minus sign, and a dash for nothing."""
    return "–" if value is None else f"{value:{'+' if signed else ''}.2f}".replace("-", "−")


def plain_text(value: Any) -> str:
    """A parameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """`8.4 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    largest = next(place for place, (_, size) in enumerate(units) if seconds >= size)
    (big, size), (small, rest) = units[largest : largest + 2]
    return f"{seconds // size:.0f} {big} {seconds % size // rest:.0f} {small}"


def clock_text(value: Any) -> str:
    """A moment to the minute."""
    moment = parse_time(value)
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def metric_label(key: str) -> str:
    """`train_fullsup/max_box_acc_v2/iou_50` -> `MaxBoxAccV2, IoU 50 %`; words it does not know stay as they are."""
    first, _, rest = key.partition("/")
    name = rest if first in SPLITS and rest else key
    name, fixed = re.subn(r"_fixed$|/fixed$|(?<=/)fixed_", "", name)
    parts = [METRIC_NAMES.get(part) or re.sub(r"^(iou|threshold)_(\d+)$", _level, part) for part in name.split("/")]
    return (METRIC_NAMES.get(name) or ", ".join(parts)) + (f", {FIXED}" if fixed else "")


def settings_in_words(values: Mapping[str, Any]) -> str:
    """Post-hoc values in words: `bag_cams block=layer3` for the settings of a plugin, `percentile=45` for one value."""
    parts = []
    for path, value in values.items():
        if isinstance(value, dict):
            parts.append(
                " ".join([str(value["name"]), *(f"{key}={setting}" for key, setting in value.items() if key != "name")])
            )
        else:
            parts.append(f"{path.rpartition('.')[2]}={value}")
    return ", ".join(parts) or "as it is"


def method_label(config: Mapping[str, Any]) -> str:
    """The name of a method; `crop_cam(bridging_gap)` for one around another."""
    base = config.get("base")
    return f"{config.get('name', '')}({method_label(base)})" if isinstance(base, dict) else str(config.get("name", ""))


def printed_columns(objective: str, metrics: Mapping[str, Any]) -> list[str]:
    """What a table of settings shows of some metrics: the objective, and what papers print."""
    return [objective, *(name for name in PRINTED if name in metrics and name != objective)]


def first_line(failure: str) -> str:
    """What a reason says first; of a traceback, what it ends with."""
    lines = failure.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _level(match: re.Match[str]) -> str:
    level = f"IoU\u00a0{match[2]}\u00a0%"
    return level if match[1] == "iou" else f"best threshold at {level}"


def as_yaml(value: Any) -> str:
    """A configuration."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def counted(number: int, noun: str) -> str:
    """`1 trial`, `3 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def megabytes(count: float) -> str:
    """`0.3 MB`, `94 MB` or `7.4 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def parse_time(value: Any) -> datetime | None:
    """A time in UTC from ISO text; times without a zone are this machine's."""
    try:
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)
    except (TypeError, ValueError):
        return None


def compact_duration(seconds: float) -> str:
    """`1h02m`, `3m05s` or `12s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def to_yaml(values: dict[str, Any]) -> str:
    """YAML in the order of the values."""
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
    return text


def timestamp() -> str:
    """The time as recorded everywhere: UTC, ISO, seconds."""
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
