"""Whether `cluster check` finds what `ray up` will look for, without asking anybody."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchestrator.cluster.check_file import check_file
from orchestrator.cluster.findings import Finding
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _nobody_is_asked(in_the_checkout: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.2/none")


def credentials(name: str) -> Finding:
    return next(one for one in check_file(ROOT / "clusters" / f"{name}.yaml") if one.subject == "credentials")


REMEDIES = {
    "gpu": "aws configure",
    "gcp": "gcloud auth application-default login",
    "azure": "az login",
    "onprem": "ssh-keygen",
    "kubernetes/cluster": "KUBECONFIG",
    "kubernetes/job": "KUBECONFIG",
}


@pytest.mark.parametrize("name", REMEDIES)
def test_missing_ones_are_noted_with_the_remedy(name: str) -> None:
    if name == "gpu":
        pytest.importorskip("botocore", reason="boto3 is not installed: AWS's places are not known")
    found = credentials(name)
    assert found.state == "note" and REMEDIES[name] in found.detail and "\n" not in found.detail


PLACES = {
    "gpu": ".aws/credentials",
    "gcp": ".config/gcloud/application_default_credentials.json",
    "azure": ".azure/azureProfile.json",
    "onprem": ".ssh/id_ed25519",
    "kubernetes/cluster": ".kube/config",
}


@pytest.mark.parametrize("name", PLACES)
def test_the_usual_files_are_found(name: str, tmp_path: Path) -> None:
    if name == "gpu":
        pytest.importorskip("botocore", reason="boto3 is not installed: AWS's places are not known")
    place = tmp_path / PLACES[name]
    place.parent.mkdir(parents=True)
    place.write_text("[default]\naws_access_key_id = none\naws_secret_access_key = none\n")
    assert credentials(name).state == "ok"


@pytest.mark.parametrize(
    ("name", "variable"),
    [("gcp", "GOOGLE_APPLICATION_CREDENTIALS"), ("kubernetes/job", "KUBECONFIG")],
)
def test_what_the_environment_names_is_found(
    name: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "mine"))
    missing = credentials(name)
    assert missing.state == "note" and str(tmp_path / "mine") in missing.detail
    (tmp_path / "mine").write_text("{}")
    assert credentials(name).state == "ok"


def test_aws_by_environment_and_by_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore", reason="boto3 is not installed: AWS's places are not known")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    found = credentials("gpu")
    assert found.state == "note" and "nobody" in found.detail
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    assert credentials("gpu").state == "ok"


def test_a_rehearsal_needs_none() -> None:
    assert not [one for one in check_file(ROOT / "clusters" / "local.yaml") if one.subject == "credentials"]
