"""Checks the access that a Kubernetes manifest gives: what its pods may do on their machines, and who may reach
them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cluster.findings import Finding
from orchestrator.cluster.kuberay import (
    Cluster,
    Container,
    NetworkPolicy,
    Peer,
    Pod,
    Rule,
    SecurityContext,
    Service,
    Template,
)

OPEN_SERVICES = ("LoadBalancer", "NodePort")


HARMLESS_CAPABILITIES = ("NET_BIND_SERVICE", "IPC_LOCK")


ANYWHERE = ("0.0.0.0/0", "::/0")


def rights_finding(place: str, pod: Pod) -> Finding:
    """The rights that a pod has beyond its containers, and those that it does not need."""
    containers = [*pod.containers, *pod.init_containers]
    given = [*_of_machine(pod), *(right for container in containers for right in _of_root(pod, container))]
    lacking = dict.fromkeys(word for container in containers for word in _unhardened(pod, container))
    if given:
        what = ", ".join(dict.fromkeys(given))
        return Finding(place, "wrong", f"{what}: whoever is in the pod is root on its machine; leave that out")
    if lacking:
        return Finding(place, "note", f"securityContext lacks {', '.join(lacking)}; see clusters/kubernetes")
    return Finding(place, "ok", "runs without rights on its machine")


def services_finding(clusters: list[Cluster], services: list[Service], routes: list[str]) -> Finding:
    """Whether Ray is open to a network outside of the Kubernetes cluster.

    Args:
        clusters: the clusters of a file.
        services: the services of the file.
        routes: the other objects of the file that route traffic in from outside, in words.
    """
    heads = [cluster.head_group_spec for cluster in clusters]
    doors = [f"serviceType {head.service_type}" for head in heads if head.service_type in OPEN_SERVICES]
    doors += ["enableIngress" for head in heads if head.enable_ingress]
    for service in (*services, *(head.head_service for head in heads)):
        doors += [f"a Service of type {service.spec.type}"] if service.spec.type in OPEN_SERVICES else []
        doors += ["externalIPs"] if service.spec.external_ips else []
    pods = [group.template.spec for cluster in clusters for _, group in cluster.groups()]
    ports = [port for pod in pods for container in pod.containers for port in container.ports]
    doors += [*(f"hostPort {port.host_port}" for port in ports if port.host_port), *routes]
    if doors:
        remedy = "Ray would be open to a network; use ClusterIP and `kubectl port-forward`"
        return Finding("services", "wrong", f"{', '.join(doors)}: {remedy}")
    return Finding("services", "ok", "reached from inside of the Kubernetes cluster only")


def policy_finding(templates: list[Template], policies: list[NetworkPolicy]) -> Finding:
    """Whether network policies admit only named sources to the pods of some templates."""
    wide = [policy.metadata.name for policy in policies if any(_admits_all(rule) for rule in policy.spec.ingress)]
    bare = [template for template in templates if not any(_guards(policy, template) for policy in policies)]
    if wide:
        return Finding(
            "network policy", "wrong", f"{', '.join(wide)}: admits everybody; name the allowed sources in `from`"
        )
    if bare and policies:
        return Finding("network policy", "wrong", "does not select every pod of the cluster by its labels")
    if bare:
        reach = "every pod of the Kubernetes cluster reaches Ray's ports"
        return Finding("network policy", "note", f"none in this file: {reach}; see clusters/kubernetes")
    return Finding("network policy", "ok", "only the sources named in it reach the pods")


def _of_machine(pod: Pod) -> Iterator[str]:
    """The namespaces and disks of its machine that a pod shares."""
    shared = {"hostNetwork": pod.host_network, "hostPID": pod.host_pid, "hostIPC": pod.host_ipc}
    yield from (f"{name}: true" for name, is_shared in shared.items() if is_shared)
    yield from (f"hostPath {volume.host_path.path}" for volume in pod.volumes if volume.host_path is not None)


def _of_root(pod: Pod, container: Container) -> Iterator[str]:
    """The rights of a container that only root has."""
    own = container.security_context
    if own.privileged:
        yield "privileged: true"
    if own.allow_privilege_escalation:
        yield "allowPrivilegeEscalation: true"
    if added := [name for name in own.capabilities.add if name not in HARMLESS_CAPABILITIES]:
        yield f"capabilities {', '.join(added)}"
    if _effective(pod, container).run_as_user == 0:
        yield "runAsUser: 0"


def _unhardened(pod: Pod, container: Container) -> Iterator[str]:
    """The rights that a container does not need."""
    context = _effective(pod, container)
    profile = context.seccomp_profile
    if context.run_as_non_root is not True:
        yield "runAsNonRoot: true"
    if context.allow_privilege_escalation is None:
        yield "allowPrivilegeEscalation: false"
    if "ALL" not in context.capabilities.drop:
        yield "capabilities: {drop: [ALL]}"
    if profile is None or profile.type == "Unconfined":
        yield "seccompProfile: {type: RuntimeDefault}"


def _effective(pod: Pod, container: Container) -> SecurityContext:
    """The settings of a container over those of its pod."""
    own = container.security_context
    return pod.security_context.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _guards(policy: NetworkPolicy, template: Template) -> bool:
    """Whether a policy restricts who may reach the pods of a template."""
    selector = policy.spec.pod_selector
    selects = selector.match_labels.items() <= template.metadata.labels.items() and not selector.match_expressions
    return selects and "Ingress" in policy.spec.policy_types


def _admits_all(rule: Rule) -> bool:
    return not rule.peers or any(_is_everybody(peer) for peer in rule.peers)


def _is_everybody(peer: Peer) -> bool:
    if peer.ip_block is not None:
        return peer.ip_block.cidr in ANYWHERE
    pods, namespaces = peer.pod_selector, peer.namespace_selector
    return namespaces is not None and namespaces.is_empty() and (pods is None or pods.is_empty())
