"""A run that starts with the weights of another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from orchestrator.verbs.train import train as train_alone
from tests.support.tiny import OBJECTIVE, changed
from wsol import build
from wsol.checkpoint import read_state, write_state
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.training import train


def test_a_run_starts_from_the_weights_of_another(space_file: Path, config: TrainConfig, tmp_path: Path) -> None:
    """As the published combinations do: CAM first, then a method around it."""
    train_alone(space_file, [], Path("runs/first"))
    found = read_state(Path("runs/first/best/weights.pt"))["method"]
    wrapped = TrainConfig.model_validate(
        {**config.model_dump(), "method": {"name": "crop_cam"}, "initial_run": "runs/first"}
    )
    method = build.method(wrapped, 2)
    assert all(torch.equal(value, found[f"network.{key}"]) for key, value in method.network.state_dict().items())
    assert [record["epoch"] for record in train(wrapped, tmp_path / "second", OBJECTIVE)] == [1, 2]

    wider = changed(wrapped, "backbone", width=8)
    with pytest.raises(InputError, match=r"initial_run: the network in .* is another one: .*blocks"):
        build.method(wider, 2)
    with pytest.raises(InputError, match="finished run"):
        build.method(wrapped.model_copy(update={"initial_run": "runs/none"}), 2)


@pytest.fixture
def started(config: TrainConfig) -> TrainConfig:
    """A configuration that starts from `runs/first`, whose weights are there."""
    torch.manual_seed(0)
    best = Path("runs/first/best")
    best.mkdir(parents=True)
    digest = write_state(best / "weights.pt", {"method": build.method(config, 2).state_dict()})
    (best / "result.json").write_text(json.dumps({"checkpoint_sha256": digest}))
    return config.model_copy(update={"initial_run": "runs/first"})


def test_flipped_bytes_of_the_other_run_are_refused(started: TrainConfig) -> None:
    build.method(started, 2)
    path = Path("runs/first/best/weights.pt")
    content = bytearray(path.read_bytes())
    place = content.rindex(read_state(path)["method"]["network.head.linear.weight"].numpy().tobytes())
    content[place + 2] ^= 1
    path.write_bytes(bytes(content))
    assert (
        read_state(path)["method"].keys()
        == build.method(started.model_copy(update={"initial_run": None}), 2).state_dict().keys()
    )
    with pytest.raises(InputError, match=r"runs/first/best/weights\.pt: the checkpoint is damaged \(its SHA-256"):
        build.method(started, 2)


def test_a_run_without_a_recorded_hash_is_taken_and_that_is_said(
    started: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/first").rename("runs/copied")
    Path("runs/copied/best/result.json").unlink()
    build.method(started.model_copy(update={"initial_run": "runs/copied"}), 2)
    assert "runs/copied/best/result.json has no SHA-256 of the weights" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00"])
def test_a_damaged_result_is_refused(text: str, started: TrainConfig) -> None:
    Path("runs/first/best/result.json").write_text(text)
    with pytest.raises(InputError, match=r"initial_run: runs/first/best/result\.json is damaged"):
        build.method(started, 2)


def test_the_home_folder_is_found(started: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("runs").absolute()))
    monkeypatch.chdir("/")
    build.method(TrainConfig.model_validate({**started.model_dump(), "initial_run": "~/first"}), 2)
