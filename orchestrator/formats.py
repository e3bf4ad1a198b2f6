"""How values are written for readers, on a terminal, in a report or in a file."""

from __future__ import annotations

import html
import re
import unicodedata
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
    "fixed_box_acc": "BoxAcc at a given threshold",
    "gt_known": "GT-known Loc",
    "top5": "Top-5 Loc",
    "top1/cls": "Top-1 classification",
    "top5/cls": "Top-5 classification",
    "max_box_acc_by_size": "MaxBoxAcc by size",
    "pxap_by_size": "PxAP by size",
    "pxap": "PxAP",
    "piou": "pIoU",
    "degenerate_maps": "maps without a score",
    "loss/classification": "classification loss",
}
"""The names of our metrics in papers, by key or by a part of one."""


FIXED = "threshold of train_fullsup"
"""Appended to the name of a metric at the threshold chosen on train_fullsup."""


UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that a terminal obeys instead of showing them: control codes, directions of writing,
halves of surrogate pairs, and other ways to end a line."""


MARKDOWN_MARKS = re.compile(r"[\\`*{}\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])|^[#+-]")
"""Characters with a meaning in Markdown; an underscore inside a word has none."""


LATEX_MARKS = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "_%&$#{}"},
        **{sign: f"{{{sign}}}" for sign in "[]*"},  # behind the end of a row these are its arguments
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)
"""Characters with a meaning in LaTeX, or that it prints as something else."""


PRINTED = ("max_box_acc_v2", "gt_known/loc", "top1/loc", "pxap", "piou")
"""The metrics that papers print."""


def score_text(value: float | None, signed: bool = False) -> str:
    """Two decimals, as the field prints them; a true minus sign, and a dash for nothing."""
    return "–" if value is None else f"{value:{'+' if signed else ''}.2f}".replace("-", "−")


def plain_text(value: Any) -> str:
    """The value of a parameter: four significant digits of a float, anything else as Python writes it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """Text from elsewhere for a terminal: what would be obeyed instead of shown becomes an escape, such as `\\x1b`; new
    lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) in UNSEEN and sign not in "\n\t" else sign
        for sign in text
    )


def one_line(text: str) -> str:
    """Text from elsewhere within a line of a message: see `printable`; new lines and tabs are escaped as well."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, in one line, also in a table."""
    return MARKDOWN_MARKS.sub(r"\\\g<0>", one_line(text))


def latex_text(text: str) -> str:
    """Text that LaTeX shows as it is, in one line, also in a table."""
    return one_line(text).translate(LATEX_MARKS)


def html_text(text: str) -> str:
    """Text that HTML shows as it is, in one line, also as an attribute."""
    return html.escape(one_line(text))


def csv_cell(value: Any) -> Any:
    """A value for a CSV file: text that a spreadsheet would run as a formula gets an apostrophe in front, anything else
    stays."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value


def duration(seconds: float | None) -> str:
    """A time in its two largest units, seven characters below ten days: `8.4s`, `34s`, `12m 5s`, `3h 20m`, `2d 4h`; a
    dash for None."""
    if seconds is None:
        return "–"
    whole = max(round(seconds), 0)
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part}{smaller}"
    return f"{whole}s" if whole >= 10 else f"{max(seconds, 0):.1f}s"


def clock_text(value: Any) -> str:
    """A point in time in UTC, to the minute: `2026-01-05 10:00 UTC`; a dash for text that is no time."""
    moment = parse_time(value)
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def metric_label(key: str) -> str:
    """`train_fullsup/max_box_acc_v2/iou_50` -> `MaxBoxAccV2, IoU 50 %`; words it does not know stay as they are."""
    first, _, rest = key.partition("/")
    name = rest if first in SPLITS and rest else key
    name, fixed = re.subn(r"_fixed$|/fixed$|(?<=/)fixed_", "", name)
    parts = [METRIC_NAMES.get(part) or _with_level(part) for part in name.split("/")]
    return (METRIC_NAMES.get(name) or ", ".join(parts)) + (f", {FIXED}" if fixed else "")


def _with_level(part: str) -> str:
    """A part of a key that ends in percent."""
    word, _, level = part.rpartition("_")
    if not re.fullmatch(r"\d+(\.\d+)?", level):
        return part
    level = f"{level}\u00a0%"
    forms = {"iou": f"IoU\u00a0{level}", "threshold": f"best threshold at IoU\u00a0{level}"}
    guesses = {guess: f"{METRIC_NAMES[guess]} at {level}" for guess in ("gt_known", "top1", "top5")}
    return (forms | guesses).get(word, part)


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
    """The metrics that a table of post-hoc settings shows: the objective first, then those that papers print."""
    return [objective, *(name for name in PRINTED if name in metrics and name != objective)]


def short_reason(failure: str) -> str:
    """The most telling line of a failure: the last one of a traceback, else the first one."""
    lines = failure.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def megabytes(count: float) -> str:
    """`0.3 MB`, `94 MB` or `7.4 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def parse_time(value: Any) -> datetime | None:
    """A time in UTC from ISO text; times without a zone are this machine's."""
    try:
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)
    except (TypeError, ValueError):
        return None


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 would read as another type, as PyYAML does, and also what YAML 1.2 would, such as
    `1e-3`."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.?[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?$"), list("-+.0123456789")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"0o[0-7]+$"), ["0"])


def to_yaml(values: dict[str, Any]) -> str:
    """Values as YAML, in their own order; readers of YAML 1.1 and of 1.2 read the same values."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def timestamp() -> str:
    """The time as recorded everywhere: UTC, ISO, seconds."""
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
