"""Searches in this process, of which a part breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from tests.support.tiny import TINY

RUN = Path("run")


def experiment(**sections: Any) -> Experiment:
    return Experiment.model_validate({**TINY, **sections})


def opened(of: Experiment) -> Study:
    """The study of the run folder, a new one if it is not there."""
    return Study(RUN, of) if (RUN / "study.json").exists() else create_study(RUN, of, RunHeader("run"))
