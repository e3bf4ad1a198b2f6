"""`cluster up`: nothing is started before everything that can be said offline is right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.cluster import start
from tests.support.paths import ROOT
from tests.support.tiny import Launch


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, in_the_checkout: None) -> list[Path]:
    """The files whose clusters would have been started, each well."""
    files: list[Path] = []

    def up(file: Path) -> int:
        files.append(file)
        return 0

    monkeypatch.setattr(start, "ray_up", up)
    return files


@pytest.fixture
def filled_in(tmp_path: Path) -> Path:
    file = tmp_path / "gpu.yaml"
    file.write_text((ROOT / "clusters" / "gpu.yaml").read_text().replace("REPLACE", "mine"))
    return file


def test_what_is_not_filled_in_is_one_line(started: list[Path], launch: Launch) -> None:
    code, out, err = launch("cluster", "up", "clusters/gpu.yaml")
    assert code == 2 and len(err.splitlines()) == 1 and not out and not started
    assert err.startswith("error: clusters/gpu.yaml: not started; to fill in: put your own in place of REPLACE at ")


def test_credentials_that_are_missing_are_one_line(
    started: list[Path], filled_in: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    code, _, err = launch("cluster", "up", str(filled_in))
    assert code == 2 and len(err.splitlines()) == 1 and not started
    assert "not started; credentials: none in the environment or ~/.aws; run `aws configure`" in err


def test_a_right_file_is_handed_to_ray(started: list[Path], filled_in: Path, launch: Launch) -> None:
    code, _, err = launch("cluster", "up", str(filled_in))
    assert code == 0, err
    assert started == [filled_in]
    assert subprocess.run([*start.RAY, "up", "--help"], capture_output=True, check=False).returncode == 0


def test_what_ray_refuses_is_a_failure(
    started: list[Path], filled_in: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "ray_up", lambda file: 3)
    code, _, err = launch("cluster", "up", str(filled_in))
    assert code == 1 and "`ray up` ended with exit code 3" in err


def test_manifests_are_for_kubectl(started: list[Path], launch: Launch) -> None:
    code, _, err = launch("cluster", "up", "clusters/kubernetes/cluster.yaml")
    assert code == 2 and "kubectl apply -f clusters/kubernetes/cluster.yaml" in err and not started
