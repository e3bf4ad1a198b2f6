"""What `cluster check` takes for a secret in a file, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cluster.check_file import check_file
from tests.support.clusters import MANIFESTS, RAY_FILES
from tests.support.paths import ROOT

LETTERS = "aB3dE5gH1jK2mN4pQ6sT8vW0yZ7cF9xL"  # put together here, so that no scanner takes this file for a leak

SECRETS = {
    "AWS key id": "AKIA" + "ABCDEFGHIJKLMNOP",
    "AWS temporary key id": "ASIA" + "ABCDEFGHIJKLMNOP",
    "AWS secret in docker's options": "-e AWS_SECRET_ACCESS_KEY=" + LETTERS,
    "AWS secret, quoted": '--env "AWS_SECRET_ACCESS_KEY=' + LETTERS + '"',
    "AWS secret by its tool": "aws configure set aws_secret_access_key " + LETTERS,
    "AWS session token": "export AWS_SESSION_TOKEN=" + LETTERS,
    "Ray's token": "export RAY_AUTH_TOKEN=" + LETTERS,
    "Hugging Face": "hf_" + LETTERS,
    "Hugging Face by its tool": "huggingface-cli login --token hf_" + LETTERS,
    "GitHub": "git clone https://ghp_" + LETTERS + "abcd@github.com/me/mine",
    "GitHub, of an app": "ghs_" + LETTERS + "abcd",
    "GitHub, fine-grained": "github_pat_11" + LETTERS + "_" + LETTERS,
    "GitLab": "glpat-" + LETTERS[:20],
    "OpenAI": "sk-" + LETTERS,
    "OpenAI, of a project": "sk-proj-" + LETTERS,
    "Google API": "AIza" + "Sy" + LETTERS + "a",
    "Google OAuth": "ya29." + LETTERS,
    "Slack": "xoxb-" + "1234567890-" + LETTERS,
    "npm": "npm_" + LETTERS + "abcd",
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + LETTERS,
    "Docker": "dckr_pat_" + LETTERS[:27],
    "JSON web token": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0In0" + "." + LETTERS,
    "Weights & Biases in docker's options": "-e WANDB_API_KEY=" + "0123456789abcdef" * 2 + "01234567",
    "Weights & Biases by its tool": "wandb login " + "0123456789abcdef" * 2 + "01234567",
    "private key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "Azure storage": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + LETTERS + "==",
    "Azure shared access": "https://a.blob.core.windows.net/b?sv=2024&sig=" + LETTERS + "%3D",
    "password in an address": "postgresql://me:" + LETTERS + "@host/db",
    "password of a tool": "docker login --username me --password " + LETTERS,
    "any other token": "MLFLOW_TRACKING_TOKEN=" + LETTERS,
}

HARMLESS = [
    "-e AWS_SECRET_ACCESS_KEY",
    "-e AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY",
    'export WANDB_API_KEY="${WANDB_API_KEY}"',
    "export HF_TOKEN=$(cat ~/.cache/huggingface/token)",
    "export RAY_AUTH_TOKEN=$(kubectl get secret wsol -o jsonpath={.data.auth_token} | base64 -d)",
    "export RAY_AUTH_TOKEN_PATH=/home/ray/.ray/auth_token",
    "export RAY_AUTH_MODE=token",
    "/home/ray/.ray/auth_token: ~/.ray/auth_token",
    "ssh_private_key: ~/.ssh/id_ed25519",
    "MetadataOptions: {HttpTokens: required}",
    "automountServiceAccountToken: false",
    "MAX_TOKENS=4096000000",
    "docker pull registry.example.com/wsol@sha256:" + "0123456789abcdef" * 4,
    "git checkout " + "0123456789abcdef" * 2 + "01234567",
    "pip install scikit-learn task-0123456789abcdefghijklmn",
    "AWS_SECRET_ACCESS_KEY=REPLACE-with-yours",
    "password: <your password>",
    "https://user@host/path",
    "secretKeyRef: {name: wsol, key: auth_token}",
]


def finding_on_secrets(text: str, folder: Path) -> tuple[str, str]:
    """State and detail, of a manifest that is none of KubeRay's, so that nothing else is wrong with it."""
    path = folder / "some.yaml"
    path.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  line: |\n    {text}\n")
    return next((finding.state, finding.detail) for finding in check_file(path) if finding.subject == "secrets")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_found_and_not_repeated(name: str, tmp_path: Path) -> None:
    state, detail = finding_on_secrets(f"echo; {SECRETS[name]} && true", tmp_path)
    assert state == "wrong" and "line 6" in detail
    assert LETTERS not in detail and "0123456789abcdef" not in detail


@pytest.mark.parametrize("line", HARMLESS)
def test_what_names_a_secret_is_none(line: str, tmp_path: Path) -> None:
    assert finding_on_secrets(line, tmp_path)[0] == "ok"


def test_the_environment_of_a_pod_is_read(tmp_path: Path) -> None:
    for pair in (
        "{name: HF_TOKEN, value: " + LETTERS + "}",
        '{"value": "' + LETTERS + '", "name": "HF_TOKEN"}',
        "\n      name: HF_TOKEN\n      value: " + LETTERS,
    ):
        path = tmp_path / "pod.yaml"
        path.write_text(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  env:\n    - {pair}\n")
        found = next(finding for finding in check_file(path) if finding.subject == "secrets")
        assert found.state == "wrong" and "HF_TOKEN" in found.detail and LETTERS not in found.detail, pair


def test_every_secret_of_a_file_is_named(tmp_path: Path) -> None:
    state, detail = finding_on_secrets(f"hf_{LETTERS}\n    {SECRETS['OpenAI']}", tmp_path)
    assert state == "wrong" and "line 6" in detail and "line 7" in detail


def test_a_secret_in_a_comment_is_one(tmp_path: Path) -> None:
    assert finding_on_secrets(f"true\n# hf_{LETTERS}", tmp_path)[0] == "wrong"


@pytest.mark.parametrize("path", [*RAY_FILES, *MANIFESTS], ids=lambda path: path.stem)
def test_shipped_files_hold_none(path: Path) -> None:
    assert [finding.state for finding in check_file(path) if finding.subject == "secrets"] == ["ok"]


@pytest.mark.parametrize("path", RAY_FILES, ids=lambda path: path.stem)
def test_the_token_of_shipped_files_is_for_its_owner_only(path: Path) -> None:
    text = path.read_text()
    if "auth_token: ~/.ray/auth_token" in text:
        assert "\n  - chmod 600 ~/.ray/auth_token\n" in text and "chmod 600 ~/.ray/auth_token" in text.split("\n\n")[0]
    assert str(ROOT) not in text
