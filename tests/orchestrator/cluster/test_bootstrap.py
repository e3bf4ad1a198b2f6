"""The shipped cluster files through the providers' own bootstrap, as far as a cloud answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster.check_ray import fill_in_defaults
from tests.support.clusters import read

pytestmark = pytest.mark.usefixtures("in_the_checkout")


def test_aws_bootstrap_against_a_simulated_cloud() -> None:
    moto = pytest.importorskip("moto", reason="moto is not installed: no simulated AWS")
    import boto3
    from ray.autoscaler._private.commands import _bootstrap_config

    with moto.mock_aws():
        ec2 = boto3.client("ec2", region_name="us-west-2")
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="wsol", Description="ssh", VpcId=network)["GroupId"]
        prepared, finding = fill_in_defaults(yaml.safe_load(yaml.safe_dump(read("gpu")).replace("sg-REPLACE", group)))
        assert prepared is not None, finding
        config = _bootstrap_config(prepared, no_config_cache=True)
        roles = boto3.client("iam").list_roles()["Roles"]
    for name, kind in config["available_node_types"].items():
        machine = kind["node_config"]
        assert machine["SecurityGroupIds"] == [group] and machine["SubnetIds"] and machine["KeyName"], name
        assert ("IamInstanceProfile" in machine) == (name == "head")
    assert config["available_node_types"]["gpu"]["resources"]["GPU"] == 1
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert not roles  # Ray would give a role of its own full access to EC2 and S3


def test_gcp_bootstrap_up_to_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file survives until Ray asks the project who it is; machines hold fields of the Compute API only."""
    pytest.importorskip("googleapiclient", reason="google-api-python-client is not installed")
    from googleapiclient.discovery_cache import get_static_doc
    from ray.autoscaler._private.gcp import config as gcp

    prepared, finding = fill_in_defaults(read("gcp"))
    assert prepared is not None, finding
    asked: list[str] = []

    class Cloud:
        def projects(self) -> Cloud:
            return self

        def get(self, **words: str) -> Cloud:
            asked.append(words["projectId"])
            raise ConnectionError("no cloud here")

    monkeypatch.setattr(gcp, "construct_clients_from_provider_config", lambda provider: (Cloud(), None, None, None))
    with pytest.raises(ConnectionError, match="no cloud here"):
        gcp.bootstrap_gcp(prepared)
    assert asked == ["REPLACE-project"]
    fields = json.loads(get_static_doc("compute", "v1"))["schemas"]["Instance"]["properties"]
    for kind in prepared["available_node_types"].values():
        assert set(kind["node_config"]) <= set(fields)


def test_azure_machines_hold_parameters_of_rays_template() -> None:
    import ray.autoscaler

    prepared, finding = fill_in_defaults(read("azure"))
    assert prepared is not None, finding
    template = Path(ray.autoscaler.__file__).parent / "_private" / "_azure" / "azure-vm-template.json"
    known = set(json.loads(template.read_text())["parameters"]) | {"availability_zone"}
    for kind in prepared["available_node_types"].values():
        assert set(kind["node_config"]["azure_arm_parameters"]) <= known


def test_azure_bootstrap_up_to_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.mgmt.resource", reason="the Azure SDK is not installed")
    azure = pytest.importorskip(
        "ray.autoscaler._private._azure.config",
        reason="Ray's Azure provider does not fit this SDK",
        exc_type=ImportError,
    )
    prepared, _ = fill_in_defaults(read("azure"))

    def no_cloud() -> None:
        raise ConnectionError("no cloud here")

    monkeypatch.setattr(azure, "get_cli_profile", no_cloud)
    with pytest.raises(ConnectionError, match="no cloud here"):
        azure.bootstrap_azure(prepared)
    assert (
        prepared is not None
        and "publicKey" in prepared["available_node_types"]["gpu"]["node_config"]["azure_arm_parameters"]
    )


def test_onprem_bootstrap() -> None:
    from ray.autoscaler._private.commands import _bootstrap_config

    prepared, finding = fill_in_defaults(read("onprem"))
    assert prepared is not None, finding
    config = _bootstrap_config(prepared, no_config_cache=True)
    assert config["max_workers"] == len(read("onprem")["provider"]["worker_ips"]) == 2
