"""How values are written for readers."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from orchestrator.formats import duration, metric_label, printable, short_reason


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (-3.0, "0.0s"),
        (0.04, "0.0s"),
        (8.44, "8.4s"),
        (9.97, "10s"),
        (34.4, "34s"),
        (59.7, "1m 0s"),
        (725.0, "12m 5s"),
        (3599.7, "1h 0m"),
        (12000.0, "3h 20m"),
        (86399.0, "23h 59m"),
        (187200.0, "2d 4h"),
    ],
)
def test_a_time_is_short_enough_for_a_table(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text and cell_len(text) <= 7


def test_a_terminal_shows_control_codes_and_obeys_none() -> None:
    assert printable("a\tb\nc — ü 猫 [red]") == "a\tb\nc — ü 猫 [red]"
    assert printable("\x1b]0;owned\x07\x1b[2J\rok\x9b31m\x7f") == r"\x1b]0;owned\x07\x1b[2J\rok\x9b31m\x7f"
    assert printable("a\u202egnp.exe\u2028b\ud800") == r"a\u202egnp.exe\u2028b\ud800"


def test_the_reason_of_a_traceback_is_its_last_line() -> None:
    assert short_reason("Traceback (most recent call last):\n  line 3\nKeyError: 'x'\n") == "KeyError: 'x'"
    assert short_reason("CUDA out of memory\nTried to allocate") == "CUDA out of memory" and short_reason(" ") == ""


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("train_fullsup/max_box_acc_v2/iou_50", "MaxBoxAccV2, IoU 50 %"),
        ("max_box_acc_v2/threshold_50", "MaxBoxAccV2, best threshold at IoU 50 %"),
        ("max_box_acc_v2/fixed_iou_50", "MaxBoxAccV2, IoU 50 %, threshold of train_fullsup"),
        ("top1/loc_fixed", "Top-1 Loc, threshold of train_fullsup"),
        ("test/fixed_box_acc", "BoxAcc at a given threshold"),
        ("fixed_box_acc/gt_known_12.5", "BoxAcc at a given threshold, GT-known Loc at 12.5 %"),
        ("fixed_box_acc/top5_35", "BoxAcc at a given threshold, Top-5 Loc at 35 %"),
        ("max_box_acc_by_size/size_4_9", "MaxBoxAcc by size, size_4_9"),
    ],
)
def test_keys_of_metrics_in_words(key: str, label: str) -> None:
    assert metric_label(key).replace("\u00a0", " ") == label
