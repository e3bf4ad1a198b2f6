"""Kubernetes manifests of KubeRay: a structural check against the fields that its API reference lists (ray.io/v1,
KubeRay 1.5), then who may reach the pods and what they may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestrator.cluster.autoscaler import MAXIMUM
from orchestrator.cluster.check_credentials import kubernetes_credentials
from orchestrator.cluster.check_pods import policy_finding, rights_finding, services_finding
from orchestrator.cluster.findings import Finding
from orchestrator.cluster.kuberay import (
    KINDS,
    Cluster,
    Group,
    Manifest,
    NetworkPolicy,
    RayCluster,
    RayJob,
    Service,
    Template,
)
from orchestrator.experiment.paths import Values
from orchestrator.runs.provenance import versions
from wsol.plugins import did_you_mean
from wsol.schema import problem_text

FIELDS = {
    "RayCluster": "apiVersion kind metadata spec",
    "RayJob": "apiVersion kind metadata spec",
    "RayJob.spec": (
        "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus"
        " entrypointNumGpus entrypointResources jobId managedBy metadata rayClusterSpec runtimeEnvYAML"
        " shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend ttlSecondsAfterFinished"
    ),
    "cluster": (
        "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec"
        " headServiceAnnotations managedBy rayVersion suspend workerGroupSpecs"
    ),
    "autoscalerOptions": (
        "env envFrom idleTimeoutSeconds image imagePullPolicy resources securityContext upscalingMode version"
        " volumeMounts"
    ),
    "headGroupSpec": "enableIngress headService labels rayStartParams resources serviceType template",
    "workerGroupSpecs": (
        "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts rayStartParams replicas resources"
        " scaleStrategy suspend template"
    ),
    "container": (
        "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resources"
        " securityContext volumeMounts workingDir"
    ),
}


ROUTES = ("Ingress", "IngressRoute", "HTTPRoute", "TCPRoute", "Gateway", "Route")
"""Kinds of objects that route traffic from outside into a Kubernetes cluster."""


QUANTITY = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)(?P<unit>[munkMGTPE]|[KMGTPE]i)?")


def check_manifests(documents: list[Values]) -> Iterator[Finding]:
    """Check all documents of a file: those of KubeRay in full, others only for how far they open the cluster to a
    network."""
    read = []
    for document in documents:
        subject = f"{document.get('kind')} {_name(document)}"
        kind = KINDS.get((str(document.get("apiVersion")), str(document.get("kind"))))
        if kind is None:
            yield Finding(subject, "note", "not checked: it is no RayCluster, RayJob, Service or NetworkPolicy")
            continue
        try:
            manifest = kind.model_validate(document)
        except ValidationError as error:
            yield Finding(subject, "wrong", "; ".join(map(problem_text, error.errors(include_url=False))))
            continue
        read.append(manifest)
        yield from _fields_findings(subject, manifest, document)
    yield from _door_findings(read, [document for document in documents if document.get("kind") in ROUTES])
    yield kubernetes_credentials()


def _name(document: Values) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""


def _fields_findings(subject: str, manifest: Manifest, document: Values) -> Iterator[Finding]:
    """Whether the fields of a KubeRay document exist, and their values agree with each other."""
    if not isinstance(manifest, RayCluster | RayJob):
        return
    problems = list(_unknown(document, str(document["kind"]), ""))
    if isinstance(manifest, RayJob):
        problems += _unknown(document["spec"], "RayJob.spec", "spec")
    if cluster := _cluster(manifest):
        values = document["spec"]["rayClusterSpec"] if isinstance(manifest, RayJob) else document["spec"]
        problems += [*_unknown_of_cluster(values), *_problems(cluster)]
    yield from (Finding(subject, "wrong", problem) for problem in problems)
    if not problems:
        yield Finding(subject, "ok", "fields, quantities, volumes, versions, authentication")


def _door_findings(read: list[Manifest], routes: list[Values]) -> Iterator[Finding]:
    """Findings on the rights of pods and on who may reach them, over all documents of a file."""
    clusters = [cluster for manifest in read if (cluster := _cluster(manifest))]
    for cluster in clusters:
        yield from (rights_finding(place, group.template.spec) for place, group in cluster.groups())
    for manifest in read:
        if isinstance(manifest, RayJob) and manifest.spec.submitter_pod_template:
            yield rights_finding("submitterPodTemplate", manifest.spec.submitter_pod_template.spec)
    services = [manifest for manifest in read if isinstance(manifest, Service)]
    if clusters or services or routes:
        yield services_finding(clusters, services, [f"{route['kind']} {_name(route)}" for route in routes])
    policies = [manifest for manifest in read if isinstance(manifest, NetworkPolicy)]
    if clusters or policies:
        yield policy_finding(_templates(clusters), policies)


def _templates(clusters: list[Cluster]) -> list[Template]:
    return [group.template for cluster in clusters for _, group in cluster.groups()]


def _cluster(manifest: Manifest) -> Cluster | None:
    """The cluster that a document creates, if it does."""
    if isinstance(manifest, RayJob):
        return manifest.spec.ray_cluster_spec
    return manifest.spec if isinstance(manifest, RayCluster) else None


def _unknown_of_cluster(values: Values) -> Iterator[str]:
    """Fields that KubeRay does not have, such as misspelt ones, which it would ignore."""
    yield from _unknown(values, "cluster", "spec")
    yield from _unknown(values.get("autoscalerOptions") or {}, "autoscalerOptions", "autoscalerOptions")
    groups = [("headGroupSpec", values["headGroupSpec"])]
    groups += [("workerGroupSpecs", group) for group in values.get("workerGroupSpecs") or []]
    for kind, group in groups:
        place = f"{kind} {group.get('groupName', '')}".strip()
        yield from _unknown(group, kind, place)
        for container in group["template"]["spec"]["containers"]:
            yield from _unknown(container, "container", place)


def _unknown(values: Values, kind: str, place: str) -> Iterator[str]:
    allowed = FIELDS[kind].split()
    yield from (f"{place}: unknown field {key!r}{did_you_mean(key, allowed)}" for key in values if key not in allowed)


def _problems(cluster: Cluster) -> Iterator[str]:
    if cluster.ray_version != versions()["ray"]:
        yield f"rayVersion: {cluster.ray_version} where {versions()['ray']} is installed here"
    if cluster.auth_options.mode != "token":
        yield "authOptions.mode: should be token; without it, everybody in the Kubernetes cluster can run code"
    for place, group in cluster.groups():
        yield from _problems_of_group(place, group)
    for group in cluster.worker_group_specs:
        if not 0 <= group.min_replicas <= group.replicas <= group.max_replicas:
            yield f"workerGroupSpecs {group.group_name}: replicas lie outside of minReplicas to maxReplicas"
    yield from _problems_of_maximum(cluster)


def _problems_of_group(place: str, group: Group) -> Iterator[str]:
    for key, value in group.ray_start_params.items():
        if not isinstance(value, str):
            yield f"{place}: rayStartParams.{key}: should be text, got {value!r}"
    volumes = {volume.name for volume in group.template.spec.volumes}
    for container in group.template.spec.containers:
        yield from (
            f"{place}: there is no volume {mount.name}"
            for mount in container.volume_mounts
            if mount.name not in volumes
        )
        for amounts in (container.resources.requests, container.resources.limits):
            yield from (
                f"{place}: {name}: {amount!r} is no quantity"
                for name, amount in amounts.items()
                if not QUANTITY.fullmatch(str(amount))
            )


def _problems_of_maximum(cluster: Cluster) -> Iterator[str]:
    """Pods cannot find out how far their cluster may grow, so a variable in the head's environment says it, which must
    agree with the worker groups."""
    head = cluster.head_group_spec.template.spec.containers
    stated = [variable.value for container in head for variable in container.env if variable.name == MAXIMUM]
    gpus, cpus = 0.0, 0.0
    for group in cluster.worker_group_specs:
        limits = group.template.spec.containers[0].resources.limits
        cpus += group.max_replicas * _units(limits.get("cpu", 0))
        gpus += group.max_replicas * _units(limits.get("nvidia.com/gpu", 0))
    wanted = f'{{"CPU": {cpus:g}, "GPU": {gpus:g}}}'
    if stated != [wanted]:
        yield f"headGroupSpec: the environment variable {MAXIMUM} should be '{wanted}', the total of all workers"


def _units(amount: Any) -> float:
    """The value of a quantity, such as 0.5 for `500m`; 0 for text that is no quantity, which another check reports."""
    parts = QUANTITY.fullmatch(str(amount))
    return float(parts["number"]) * {"m": 1e-3, "k": 1e3}.get(parts["unit"] or "", 1.0) if parts else 0.0
