"""The parts of Kubernetes manifests that the checks read: KubeRay's clusters and jobs, services, network policies.
Fields that no check reads are ignored; a null field counts as absent, as it does for Kubernetes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from orchestrator.experiment.paths import Values

Labels = dict[str, str]


class Part(BaseModel):
    """A mapping of a manifest. Attributes are Kubernetes' fields, written with underscores."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return (
            {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values
        )


class Metadata(Part):
    name: str = ""
    labels: Labels = {}


class Capabilities(Part):
    add: list[str] = []
    drop: list[str] = []


class SeccompProfile(Part):
    type: str = ""


class SecurityContext(Part):
    """The security settings of a pod or a container; each has some of these fields."""

    privileged: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities = Capabilities()
    run_as_user: int | None = None
    run_as_non_root: bool | None = None
    seccomp_profile: SeccompProfile | None = None


class Port(Part):
    host_port: int | None = None


class Variable(Part):
    name: str
    value: Any = None


class Mount(Part):
    name: str


class Resources(Part):
    requests: Values = {}
    limits: Values = {}


class Container(Part):
    name: str = ""
    ports: list[Port] = []
    env: list[Variable] = []
    resources: Resources = Resources()
    volume_mounts: list[Mount] = []
    security_context: SecurityContext = SecurityContext()


class HostPath(Part):
    path: str = ""


class Volume(Part):
    name: str
    host_path: HostPath | None = None


class Pod(Part):
    containers: Annotated[list[Container], Field(min_length=1)]
    init_containers: list[Container] = []
    volumes: list[Volume] = []
    security_context: SecurityContext = SecurityContext()
    host_network: bool = False
    host_pid: bool = Field(default=False, alias="hostPID")
    host_ipc: bool = Field(default=False, alias="hostIPC")


class Template(Part):
    metadata: Metadata = Metadata()
    spec: Pod


class ServiceSpec(Part):
    type: str = "ClusterIP"
    external_ips: list[str] = Field(default=[], alias="externalIPs")


class Service(Part):
    metadata: Metadata = Metadata()
    spec: ServiceSpec = ServiceSpec()


class Group(Part):
    """The head of a cluster, or a group of identical workers."""

    ray_start_params: Values = {}
    template: Template


class Head(Group):
    service_type: str = "ClusterIP"
    head_service: Service = Service()
    enable_ingress: bool = False


class Workers(Group):
    group_name: str
    replicas: int
    min_replicas: int
    max_replicas: int


class AuthOptions(Part):
    mode: str = ""


class Cluster(Part):
    """The specification of a RayCluster."""

    ray_version: str = ""
    auth_options: AuthOptions = AuthOptions()
    autoscaler_options: Values = {}
    head_group_spec: Head
    worker_group_specs: list[Workers] = []

    def groups(self) -> list[tuple[str, Group]]:
        """All groups, each with its name in messages."""
        workers = [(f"workerGroupSpecs {group.group_name}", group) for group in self.worker_group_specs]
        return [("headGroupSpec", self.head_group_spec), *workers]


class Job(Part):
    """The specification of a RayJob, which creates a cluster or runs on an existing one."""

    ray_cluster_spec: Cluster | None = None
    cluster_selector: Labels | None = None
    submitter_pod_template: Template | None = None

    @model_validator(mode="after")
    def _has_a_cluster(self) -> Job:
        if self.ray_cluster_spec is None and self.cluster_selector is None:
            raise ValueError("needs rayClusterSpec or clusterSelector")
        return self


class RayCluster(Part):
    metadata: Metadata = Metadata()
    spec: Cluster


class RayJob(Part):
    metadata: Metadata = Metadata()
    spec: Job


class IpBlock(Part):
    cidr: str = ""


class Selector(Part):
    match_labels: Labels = {}
    match_expressions: list[Any] = []

    def is_empty(self) -> bool:
        """Whether the selector selects everything."""
        return not self.match_labels and not self.match_expressions


class Peer(Part):
    ip_block: IpBlock | None = None
    namespace_selector: Selector | None = None
    pod_selector: Selector | None = None


class Rule(Part):
    peers: list[Peer] = Field(default=[], alias="from")


class PolicySpec(Part):
    pod_selector: Selector = Selector()
    policy_types: list[str] = ["Ingress"]
    ingress: list[Rule] = []


class NetworkPolicy(Part):
    metadata: Metadata = Metadata()
    spec: PolicySpec


Manifest = RayCluster | RayJob | Service | NetworkPolicy


KINDS: dict[tuple[str, str], type[Manifest]] = {
    ("ray.io/v1", "RayCluster"): RayCluster,
    ("ray.io/v1", "RayJob"): RayJob,
    ("v1", "Service"): Service,
    ("networking.k8s.io/v1", "NetworkPolicy"): NetworkPolicy,
}
"""`apiVersion` and `kind` of the documents that are read."""
