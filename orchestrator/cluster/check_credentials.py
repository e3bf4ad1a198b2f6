"""Checks whether the credentials for starting a cluster are on this machine. Only files and the environment are read;
nothing is sent over a network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.findings import Finding

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""The folder where a pod finds the credentials of its own cluster."""


def credentials_finding(file: ClusterFile) -> Finding:
    """Whether `ray up` will find credentials for a file's provider; if not, a note with the remedy.

    Args:
        file: a cluster file with Ray's defaults.
    """
    look = PROVIDERS.get(file.provider.type)
    if look is None:
        return Finding("credentials", "note", f"it is not known where provider {file.provider.type} looks for them")
    return look(file)


def kubernetes_credentials() -> Finding:
    """Whether `kubectl` will find a cluster."""
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    places = [*(named or [_home() / ".kube" / "config"]), SERVICE_ACCOUNT]
    return _in_files(places, "`kubectl` needs a file of your Kubernetes cluster: set KUBECONFIG to it")


def _aws(file: ClusterFile) -> Finding:
    remedy = "run `aws configure` or set AWS_PROFILE; a machine of EC2 with a role needs none"
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return _missing("not looked for: `pip install boto3`, which `ray up` needs as well; then " + remedy)
    try:
        session = botocore.session.get_session()
        providers = session.get_component("credential_provider")
        for asks_a_server in ("iam-role", "container-role"):
            providers.remove(asks_a_server)
        found = session.get_credentials()
    except BotoCoreError as error:  # such as a profile that does not exist
        return _missing(f"{error}; {remedy}")
    return _missing(f"none in the environment or ~/.aws; {remedy}") if found is None else _found(found.method)


def _gcp(file: ClusterFile) -> Finding:
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or _home() / ".config" / "gcloud")
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    places = [Path(named) if named else folder / "application_default_credentials.json"]
    return _in_files(places, "run `gcloud auth application-default login`")


def _azure(file: ClusterFile) -> Finding:
    folder = Path(os.environ.get("AZURE_CONFIG_DIR") or _home() / ".azure")
    return _in_files([folder / "azureProfile.json"], "run `az login`")


def _own_hosts(file: ClusterFile) -> Finding:
    key = file.auth.ssh_private_key
    if key is None:
        return _found("ssh, with the keys of its agent and its defaults")
    return _in_files(
        [Path(key).expanduser()], "make the key with `ssh-keygen`, or name another in auth.ssh_private_key"
    )


PROVIDERS: dict[str, Callable[[ClusterFile], Finding]] = {
    "aws": _aws,
    "gcp": _gcp,
    "azure": _azure,
    "local": _own_hosts,
}
"""Ray's provider -> the places where it looks for credentials."""


def _in_files(places: list[Path], remedy: str) -> Finding:
    there = next((place for place in places if place.is_file()), None)
    return _missing(f"no file {places[0]}; {remedy}") if there is None else _found(str(there))


def _found(where: str) -> Finding:
    return Finding("credentials", "ok", f"found: {where}; only the cloud can tell whether they are accepted")


def _missing(why: str) -> Finding:
    return Finding("credentials", "note", why, lacks=True)


def _home() -> Path:
    return Path("~").expanduser()
