"""Kubernetes manifests of KubeRay: a structural check against the fields that its API reference lists (ray.io/v1,
KubeRay 1.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.cluster.autoscaler import MAXIMUM
from orchestrator.cluster.findings import Finding
from orchestrator.runs.provenance import versions
from wsol.plugins import did_you_mean

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


QUANTITY = re.compile(r"^[0-9.]+([munkMGTPE]|[KMGTPE]i)?$")


def check_manifests(documents: list[dict[str, Any]]) -> list[Finding]:
    """Check all documents of a file; those of other kinds than KubeRay's are passed over."""
    findings: list[Finding] = []
    for document in documents:
        kind, name = document.get("kind"), document.get("metadata", {}).get("name")
        if document.get("apiVersion") != "ray.io/v1" or kind not in ("RayCluster", "RayJob"):
            findings.append(Finding(f"{kind} {name}", "note", "not KubeRay's: not checked"))
            continue
        problems = list(_problems(document))
        findings += [Finding(f"{kind} {name}", "wrong", problem) for problem in problems]
        findings += (
            []
            if problems
            else [Finding(f"{kind} {name}", "ok", "fields, quantities, volumes, versions, authentication")]
        )
    return findings


def _problems(document: dict[str, Any]) -> Iterator[str]:
    yield from _unknown(document, str(document["kind"]), "")
    if document["kind"] == "RayJob":
        yield from _unknown(document["spec"], "RayJob.spec", "spec")
        if "clusterSelector" in document["spec"]:
            return
    spec = document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]
    yield from _unknown(spec, "cluster", "spec")
    yield from _unknown(spec.get("autoscalerOptions", {}), "autoscalerOptions", "autoscalerOptions")
    if spec.get("rayVersion") != versions()["ray"]:
        yield f"rayVersion: {spec.get('rayVersion')} where {versions()['ray']} is installed here"
    if spec.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode: should be token, or everybody in the Kubernetes cluster runs code"
    yield from _group(spec["headGroupSpec"], "headGroupSpec")
    for group in spec["workerGroupSpecs"]:
        yield from _group(group, "workerGroupSpecs")
        if not 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"workerGroupSpecs {group['groupName']}: replicas lie outside of minReplicas to maxReplicas"
    yield from _maximum(spec)


def _group(group: dict[str, Any], kind: str) -> Iterator[str]:
    place = f"{kind} {group.get('groupName', '')}".strip()
    yield from _unknown(group, kind, place)
    for key, value in group["rayStartParams"].items():
        if not isinstance(value, str):
            yield f"{place}: rayStartParams.{key}: should be text, got {value!r}"
    pod = group["template"]["spec"]
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        yield from _unknown(container, "container", place)
        yield from (
            f"{place}: there is no volume {mount['name']}"
            for mount in container.get("volumeMounts", [])
            if mount["name"] not in volumes
        )
        for amounts in container["resources"].values():
            yield from (
                f"{place}: {name}: {amount!r} is no quantity"
                for name, amount in amounts.items()
                if not QUANTITY.match(str(amount))
            )


def _maximum(spec: dict[str, Any]) -> Iterator[str]:
    """Pods can not read how far their cluster may grow: the head's environment says so, and must agree with the worker
    groups."""
    head = spec["headGroupSpec"]["template"]["spec"]["containers"]
    stated = [env["value"] for container in head for env in container.get("env", []) if env["name"] == MAXIMUM]
    gpus, cpus = 0.0, 0.0
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        cpus += group["maxReplicas"] * float(limits["cpu"])
        gpus += group["maxReplicas"] * float(limits.get("nvidia.com/gpu", 0))
    wanted = f'{{"CPU": {cpus:g}, "GPU": {gpus:g}}}'
    if stated != [wanted]:
        yield f"headGroupSpec: the environment variable {MAXIMUM} should be '{wanted}', what all workers have together"


def _unknown(values: dict[str, Any], kind: str, place: str) -> Iterator[str]:
    allowed = FIELDS[kind].split()
    yield from (f"{place}: unknown field {key!r}{did_you_mean(key, allowed)}" for key in values if key not in allowed)
