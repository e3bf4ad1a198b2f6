"""What all checks of cluster files stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cluster.autoscaler import MAXIMUM
from tests.support.paths import ROOT

FOREIGN = (
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "AZURE_CONFIG_DIR",
    "KUBECONFIG",
    MAXIMUM,
)


@pytest.fixture
def in_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """File mounts are relative to it. Nobody's keys are touched and nobody's credentials found."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-west-2",
    }.items():
        monkeypatch.setenv(name, value)
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
