"""The parts of a file for `ray up` that the checks read, after Ray has accepted it and filled in its defaults."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.experiment.paths import Values

REHEARSAL = "fake_multinode"
"""Ray's provider that runs several raylets on one machine: nothing is set up or sent."""


def _texts(value: Any) -> Any:
    """Commands and options as text; Ray takes other scalars as well."""
    return [str(part) for part in value] if isinstance(value, list) else [] if value is None else value


Texts = Annotated[list[str], BeforeValidator(_texts)]


class Part(BaseModel):
    """A mapping of a cluster file; fields that no check reads are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Provider(Part):
    type: str
    cache_stopped_nodes: bool = True


class Auth(Part):
    ssh_private_key: str | None = None


class Docker(Part):
    image: str | None = None
    run_options: Texts = []
    head_run_options: Texts = []
    worker_run_options: Texts = []

    def options(self) -> str:
        """All options of all containers."""
        return " ".join([*self.run_options, *self.head_run_options, *self.worker_run_options])


class NodeType(Part):
    resources: dict[str, float] = {}
    node_config: Values = {}
    min_workers: int = 0


class ClusterFile(Part):
    """A file for `ray up`. Attributes are Ray's keys."""

    provider: Provider
    auth: Auth = Auth()
    docker: Docker = Docker()
    head_node_type: str
    available_node_types: dict[str, NodeType]
    max_workers: int = 0
    idle_timeout_minutes: float = Field(default=5.0, allow_inf_nan=False)
    file_mounts: dict[str, str] = {}
    initialization_commands: Texts = []
    setup_commands: Texts = []
    head_setup_commands: Texts = []
    worker_setup_commands: Texts = []
    head_start_ray_commands: Texts = []
    worker_start_ray_commands: Texts = []

    def setup(self) -> dict[str, list[str]]:
        """Section -> commands that run before Ray is started."""
        sections = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
        return {section: getattr(self, section) for section in sections}

    def start(self) -> dict[str, list[str]]:
        """Section -> commands that start Ray."""
        return {
            "head_start_ray_commands": self.head_start_ray_commands,
            "worker_start_ray_commands": self.worker_start_ray_commands,
        }
