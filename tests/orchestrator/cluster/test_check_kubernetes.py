"""Manifests of KubeRay: fields, quantities, what pods may do, who may reach them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.check_kubernetes import check_manifests
from tests.support.clusters import MANIFESTS, Edit, cluster_of, read_manifests, states, with_odd_values, wrong_in
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("in_the_checkout")
CLUSTER = ROOT / "clusters" / "kubernetes" / "cluster.yaml"


def head(spec: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = spec["headGroupSpec"]["template"]["spec"]
    return pod


def workers(spec: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = spec["workerGroupSpecs"][0]["template"]["spec"]
    return pod


def context(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["containers"][0].setdefault("securityContext", {})
    return found


MISTAKES: dict[str, tuple[Edit, str]] = {
    "typing error": (lambda spec: spec.update(enableInTreeAutoscalling=True), "did you mean 'enableInTreeAutoscaling'"),
    "another Ray": (lambda spec: spec.update(rayVersion="2.40.0"), "rayVersion: 2.40.0"),
    "no token": (lambda spec: spec.pop("authOptions"), "authOptions.mode"),
    "number": (lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}), "should be text, got 0"),
    "no volume": (lambda spec: workers(spec)["volumes"].pop(), "no volume memory"),
    "more workers": (lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas=5), '{"CPU": 40, "GPU": 5}'),
    "quantity": (lambda spec: head(spec)["containers"][0]["resources"]["limits"].update(memory="12 GB"), "no quantity"),
    "no head": (lambda spec: spec.pop("headGroupSpec"), "headGroupSpec: Field required"),
    "LoadBalancer": (lambda spec: spec["headGroupSpec"].update(serviceType="LoadBalancer"), "services: serviceType"),
    "NodePort": (lambda spec: spec["headGroupSpec"].update(serviceType="NodePort"), "serviceType NodePort: Ray would"),
    "its own service": (
        lambda spec: spec["headGroupSpec"].update(headService={"spec": {"type": "LoadBalancer"}}),
        "a Service of type LoadBalancer",
    ),
    "ingress": (lambda spec: spec["headGroupSpec"].update(enableIngress=True), "enableIngress"),
    "hostPort": (lambda spec: head(spec)["containers"][0]["ports"][0].update(hostPort=6379), "hostPort 6379"),
    "privileged head": (lambda spec: context(head(spec)).update(privileged=True), "headGroupSpec: privileged: true"),
    "privileged workers": (lambda spec: context(workers(spec)).update(privileged=True), "gpu: privileged: true"),
    "escalation": (
        lambda spec: context(head(spec)).update(allowPrivilegeEscalation=True),
        "allowPrivilegeEscalation: true",
    ),
    "capability": (
        lambda spec: context(workers(spec)).update(capabilities={"add": ["SYS_ADMIN"], "drop": ["ALL"]}),
        "capabilities SYS_ADMIN",
    ),
    "root": (lambda spec: head(spec)["securityContext"].update(runAsUser=0), "runAsUser: 0"),
    "host network": (lambda spec: workers(spec).update(hostNetwork=True), "hostNetwork: true"),
    "host processes": (lambda spec: head(spec).update(hostPID=True, hostIPC=True), "hostPID: true, hostIPC: true"),
    "host path": (
        lambda spec: workers(spec)["volumes"].append({"name": "disk", "hostPath": {"path": "/"}}),
        "hostPath /",
    ),
    "privileged before it": (
        lambda spec: head(spec).update(initContainers=[{"name": "a", "securityContext": {"privileged": True}}]),
        "privileged: true",
    ),
    "other labels": (
        lambda spec: spec["workerGroupSpecs"][0]["template"]["metadata"].update(labels={"a": "b"}),
        "network policy: does not select",
    ),
    "secret": (
        lambda spec: head(spec)["containers"][0]["env"].append({"name": "HF_TOKEN", "value": "a1B2c3D4e5F6"}),
        "secrets: the value of HF_TOKEN",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_mistakes_in_manifests_are_found(mistake: str, path: Path, tmp_path: Path) -> None:
    edit, said = MISTAKES[mistake]
    document, *others = read_manifests(path)
    assert not wrong_in(tmp_path / "manifest.yaml", document, *others)
    edit(cluster_of(document))
    assert any(said in told for told in wrong_in(tmp_path / "manifest.yaml", document, *others))


SOFTENED: dict[str, tuple[Edit, str]] = {
    "runs as root perhaps": (lambda spec: head(spec)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot: true"),
    "no profile": (lambda spec: head(spec)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    "no limits": (lambda spec: head(spec)["containers"][0].pop("securityContext"), "drop: [ALL]"),
    "may gain rights": (lambda spec: context(head(spec)).pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
}


@pytest.mark.parametrize("name", SOFTENED)
def test_what_a_pod_could_do_without_is_noted(name: str, tmp_path: Path) -> None:
    edit, said = SOFTENED[name]
    document, policy = read_manifests(CLUSTER)
    edit(cluster_of(document))
    found = {one.subject: one for one in check_manifests([document, policy])}
    assert found["headGroupSpec"].state == "note" and said in found["headGroupSpec"].detail
    assert found["workerGroupSpecs gpu"].state == "ok"


def test_a_cluster_without_a_network_policy_is_noted() -> None:
    document, policy = read_manifests(CLUSTER)
    both = {one.subject: one.state for one in check_manifests([document, policy])}
    alone = {one.subject: one.state for one in check_manifests([document])}
    assert both["network policy"] == "ok" and alone["network policy"] == "note"


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"from": []},
        {"from": None},
        {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},
        {"from": [{"namespaceSelector": {}}]},
        {"ports": [{"port": 8265}]},
    ],
    ids=str,
)
def test_a_policy_that_admits_everybody_is_wrong(rule: dict[str, Any], tmp_path: Path) -> None:
    document, policy = read_manifests(CLUSTER)
    policy["spec"]["ingress"].append(rule)
    assert any("admits everybody" in told for told in wrong_in(tmp_path / "a.yaml", document, policy))


@pytest.mark.parametrize(
    "door",
    [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "LoadBalancer"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"externalIPs": ["192.0.2.1"]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}},
    ],
    ids=lambda door: str(door["kind"]),
)
def test_a_door_beside_the_cluster_is_seen(door: dict[str, Any], tmp_path: Path) -> None:
    assert any(told.startswith("services: ") for told in wrong_in(tmp_path / "a.yaml", *read_manifests(CLUSTER), door))


def test_a_secret_does_not_stand_beside_the_cluster(tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"key": "a1B2c3D4e5F6"}}
    assert any(told.startswith("secrets: ") for told in wrong_in(tmp_path / "a.yaml", *read_manifests(CLUSTER), secret))


def test_null_is_absent(tmp_path: Path) -> None:
    document, policy = read_manifests(CLUSTER)
    head(cluster_of(document)).update(initContainers=None, hostNetwork=None)
    assert not wrong_in(tmp_path / "a.yaml", document, policy)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_shipped_pods_run_without_rights(path: Path) -> None:
    found = states(path)
    assert found["headGroupSpec"] == found["workerGroupSpecs gpu"] == found["network policy"] == "ok"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_dashboard_is_for_the_cluster_and_who_submits(path: Path) -> None:
    """Every door of the shipped policies but the cluster's own is the job server's."""
    _, policy = read_manifests(path)
    own, *others = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": policy["spec"]["podSelector"]}]}
    assert all(rule["ports"] == [{"port": 8265}] and rule["from"] for rule in others)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_whatever_stands_in_a_manifest_it_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cluster.check_kubernetes.versions", lambda: {"ray": "2.60.0"})  # reads many files
    shipped = read_manifests(path)
    for what, documents in with_odd_values(shipped, depth=2):
        try:
            assert list(check_manifests(documents))
        except Exception as error:
            raise AssertionError(what) from error
