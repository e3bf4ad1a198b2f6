"""Searches, run folders and reports. Every verb of `launch.py` is also one function here:

from orchestrator import search, load_study, evaluate

folder = search("search_spaces/synthetic.yaml", "study.trials=4", run="runs/mine")
evaluate(folder, "train_fullsup")["max_box_acc_v2"]
load_study(folder).best_trial.params
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import (
        compare_runs,
        evaluate,
        load_experiment,
        load_study,
        predict,
        protocol,
        read_status,
        read_summary,
        replay,
        resume,
        retry,
        search,
        sweep_runs,
        train,
        write_report,
    )

__all__ = [
    "compare_runs",
    "evaluate",
    "load_experiment",
    "load_study",
    "predict",
    "protocol",
    "read_status",
    "read_summary",
    "replay",
    "resume",
    "retry",
    "search",
    "sweep_runs",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Load a function when it is first used: `launch.py --help` needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator import api

    return getattr(api, name)
