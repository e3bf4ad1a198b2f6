"""MLflow with its own file store and Weights & Biases offline, as they are: a search sends its trials to both. Slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import load_study
from tests.support.launcher import launch

pytestmark = pytest.mark.slow


def test_a_search_sends_its_trials_to_both(space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    store = (tmp_path / "mlruns").as_uri()
    for name, value in {
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "WANDB_MODE": "offline",
        "WANDB_API_KEY": "0" * 40,
        "WANDB_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    code, out = launch("search", str(space_file), "study.trials=2", "study.loggers=[mlflow, wandb]")
    assert code == 0, out

    client = MlflowClient(store)
    (kept,) = (found for found in client.search_experiments() if found.name == "tiny")
    runs = {run.data.params["trial"]: run for run in client.search_runs([kept.experiment_id])}
    assert sorted(runs) == ["0", "1"]
    for trial in load_study("runs/tiny").trials:
        run = runs[str(trial.number)]
        assert run.info.status == "FINISHED" and run.data.params["method.name"] == "cam"
        assert float(run.data.params["optim.lr"]) == pytest.approx(trial.params["optim.lr"])
        curve = client.get_metric_history(run.info.run_id, "train_fullsup/max_box_acc_v2/value")
        assert [point.step for point in curve] == [1, 2]
        assert max(point.value for point in curve) == pytest.approx(trial.values[0])

    logs = sorted(tmp_path.rglob("run-*.wandb"))
    assert len(logs) == 2
    texts = [log.read_bytes() for log in logs]
    assert all(b"train_fullsup/max_box_acc_v2" in text and b"method.name" in text for text in texts)
