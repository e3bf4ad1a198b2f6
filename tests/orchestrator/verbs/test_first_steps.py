"""The mistakes of the first minutes: one line each, no traceback, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.preflight import checks
from tests.support.paths import ROOT
from tests.support.tiny import Launch


def run_launch(before: str) -> subprocess.CompletedProcess[str]:
    """`launch.py --help` in a process of its own, after some lines of Python."""
    run = f"runpy.run_path({str(ROOT / 'launch.py')!r}, run_name='__main__')"
    code = f"import runpy, sys\n{before}\nsys.argv = ['launch.py', '--help']\n{run}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.version_info = (3, 9, 2)", "error: Python 3.9 runs this, 3.11 to 3.13 are needed"),
        ("sys.version_info = (3, 14, 0)", "error: Python 3.14 runs this, 3.11 to 3.13 are needed"),
        ("sys.modules['typer'] = None", "error: the package 'typer' is not installed for "),
    ],
)
def test_another_python_and_a_bare_one_are_one_line(before: str, message: str) -> None:
    ended = run_launch(before)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(message) and ".venv/bin/activate" in ended.stderr


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    ended = run_launch("sys.modules['orchestrator.cli'] = None")
    assert ended.returncode == 1 and "Traceback" in ended.stderr


@pytest.mark.parametrize("backbone", ["tiny", "resnet50", "timm"])
def test_weights_null_is_told_the_word_for_it(backbone: str, space_file: Path, launch: Launch) -> None:
    model = ", model: resnet18" if backbone == "timm" else ""
    code, _, err = launch("train", str(space_file), f"backbone={{name: {backbone}, weights: null{model}}}")
    assert code == 2 and len(err.splitlines()) == 1
    assert "trial.backbone.weights: null has no meaning here: write `none` for random weights" in err


@pytest.mark.parametrize("verb", ["search", "train"])
@pytest.mark.parametrize("name", ["", "  "])
def test_a_run_without_a_name_is_one_line(verb: str, name: str, space_file: Path, launch: Launch) -> None:
    code, _, err = launch(verb, str(space_file), "--run", name)
    assert code == 2 and err == "error: a folder without a name was given; name one, such as runs/mine\n"
    assert [path.name for path in Path().iterdir()] == [space_file.name]


def test_a_gpu_without_a_driver_is_told_of(
    space_file: Path, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = tmp_path / "devices"
    for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x040300"), ("2", "0x10de", "0x030200")):
        assert not checks.has_nvidia_gpu(devices)  # a screen of another vendor; sound of this one
        (devices / name).mkdir(parents=True)
        (devices / name / "vendor").write_text(f"{vendor}\n")
        (devices / name / "class").write_text(f"{kind}\n")
    assert checks.has_nvidia_gpu(devices)
    here: Any = {"CPU": 2.0, "GPU": 0.0, "memory": 8e9}
    monkeypatch.setattr(checks, "local_resources", lambda: here)
    monkeypatch.setattr(checks, "has_nvidia_gpu", lambda: True)
    code, out, err = launch("search", str(space_file), "resources.gpus_per_worker=1")
    assert code == 2 and "needs 1 GPU where there are 0" in err
    assert "note: this machine has an NVIDIA GPU that torch cannot use: install its driver" in out
