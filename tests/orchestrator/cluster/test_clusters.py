"""Cluster files offline: Ray's schema, the providers' own bootstrap as far as a cloud answers, KubeRay's fields; and
the job's command line."""

from __future__ import annotations

import copy
import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster.autoscaler import MAXIMUM, autoscaler_maximum, largest_amounts
from orchestrator.cluster.check_file import check_file, fill_in_defaults
from orchestrator.cluster.connection import connected
from orchestrator.cluster.nodes import version_differences
from orchestrator.cluster.submit import ROOT, entrypoint, runtime_environment
from orchestrator.runs.provenance import COMMIT, changes, git
from wsol.errors import InputError

RAY_FILES = sorted((ROOT / "clusters").glob("*.yaml"))
MANIFESTS = sorted((ROOT / "clusters" / "kubernetes").glob("*.yaml"))
Edit = Callable[[dict[str, Any]], object]


def read(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / f"{name}.yaml").read_text())
    return config


def kind(path: Path) -> str | None:
    """What Ray calls the provider of the machines; None of a manifest for Kubernetes."""
    return read(path.stem)["provider"]["type"] if path in RAY_FILES else None


def containers(group: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = group["template"]["spec"]["containers"]
    return found


def states(path: Path) -> dict[str, str]:
    return {finding.subject: finding.state for finding in check_file(path)}


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """File mounts are relative to it. Nobody's keys are touched and nobody's credentials found."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-west-2",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "AWS_PROFILE", MAXIMUM):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("path", [*RAY_FILES, *MANIFESTS], ids=lambda path: path.stem)
def test_every_shipped_file_is_right(path: Path) -> None:
    wrong = [finding for finding in check_file(path) if finding.state == "wrong"]
    assert not wrong
    text = path.read_text()
    opening = text.partition("\n\n")[0]
    for word in (
        "Use",
        "ray start" if kind(path) == "fake_multinode" else "launch.py cluster check",
        "Costs when idle:",
        "ake it down",
        "Ports",
    ):
        assert word in opening, f"{path.name}: its opening comment lacks {word!r}; see clusters/gpu.yaml"
    for named in re.findall(r"search_spaces/\w+\.yaml", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize(
    "path", [path for path in RAY_FILES if kind(path) not in ("fake_multinode", "local")], ids=lambda path: path.stem
)
def test_clouds_have_a_cpu_head_and_spot_workers(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    kinds = config["available_node_types"]
    assert config["head_node_type"] == "head" and kinds["head"]["resources"] == {"CPU": 0, "head": 1000}
    assert kinds["gpu_spot"]["priority"] > kinds["gpu"].get("priority", 0)
    assert all(kinds[name]["min_workers"] == 0 < kinds[name]["max_workers"] for name in ("gpu", "gpu_spot"))
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


MISTAKES: dict[str, tuple[Edit, str]] = {
    "unknown key": (lambda config: config.update(idle_timeout=3), "schema"),
    "half a GPU": (lambda config: config["available_node_types"]["gpu"]["resources"].update(GPU=0.5), "schema"),
    "no such head": (lambda config: config.update(head_node_type="haed"), "schema"),
    "unknown provider": (lambda config: config["provider"].update(type="awss"), "schema"),
    "open dashboard": (lambda config: config.pop("head_start_ray_commands"), "dashboard"),
    "nightly Ray": (lambda config: config.pop("setup_commands"), "setup"),
    "no authentication": (lambda config: config["docker"]["run_options"].remove("-e RAY_AUTH_MODE=token"), "token"),
    "no token": (lambda config: config["file_mounts"].pop("/home/ray/.ray/auth_token"), "token"),
    "another Ray": (lambda config: config["docker"].update(image="rayproject/ray:2.40.0-py311"), "versions"),
    "shell": (lambda config: config["setup_commands"].append("if true; then echo"), "shell"),
    "secret": (lambda config: config["setup_commands"].append("export KEY=AKIA" + "ABCDEFGHIJKLMNOP"), "secrets"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake: str, tmp_path: Path) -> None:
    edit, subject = MISTAKES[mistake]
    config = read("gpu")
    edit(config)
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    assert states(path)[subject] == "wrong"


def test_notes_say_what_to_fill_in_and_what_costs(tmp_path: Path) -> None:
    config = read("gpu")
    del config["provider"]["cache_stopped_nodes"]
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    notes = {finding.subject: finding.detail for finding in check_file(path) if finding.state == "note"}
    assert "available_node_types.gpu.node_config.SecurityGroupIds.0" in notes["to fill in"]
    assert "cache_stopped_nodes: false" in notes["idle cost"]
    assert "ray get-auth-token --generate" in notes["files"]


def test_a_typing_error_in_a_machine_is_found(tmp_path: Path) -> None:
    pytest.importorskip("botocore", reason="boto3 is not installed: EC2's parameters are not known")
    config = read("gpu")
    config["available_node_types"]["gpu"]["node_config"]["InstanceTyp"] = "g6.2xlarge"
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    assert states(path)["machines: gpu"] == "wrong" and states(path)["machines: gpu_spot"] == "ok"


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    for text in ("", "a: [", "- a"):
        path.write_text(text)
        with pytest.raises(InputError):
            check_file(path)
    with pytest.raises(InputError, match="No such file"):
        check_file(tmp_path / "none.yaml")


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
        assert "IamInstanceProfile" in machine if name == "head" else "IamInstanceProfile" not in machine
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


MANIFEST_MISTAKES: dict[str, tuple[Edit, str]] = {
    "typing error": (lambda spec: spec.update(enableInTreeAutoscalling=True), "did you mean 'enableInTreeAutoscaling'"),
    "another Ray": (lambda spec: spec.update(rayVersion="2.40.0"), "rayVersion: 2.40.0"),
    "no token": (lambda spec: spec.pop("authOptions"), "authOptions.mode"),
    "number": (lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}), "should be text, got 0"),
    "no volume": (lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["volumes"].pop(), "no volume memory"),
    "more workers": (lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas=5), '{"CPU": 40, "GPU": 5}'),
    "quantity": (
        lambda spec: spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"].update(
            memory="12 GB"
        ),
        "no quantity",
    ),
}


@pytest.mark.parametrize("mistake", MANIFEST_MISTAKES)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_mistakes_in_manifests_are_found(mistake: str, path: Path, tmp_path: Path) -> None:
    edit, said = MANIFEST_MISTAKES[mistake]
    document = yaml.safe_load(path.read_text())
    edit(document["spec"].get("rayClusterSpec", document["spec"]))
    changed = tmp_path / "manifest.yaml"
    changed.write_text(yaml.safe_dump(document))
    assert any(said in finding.detail for finding in check_file(changed) if finding.state == "wrong")


def test_containers_and_constraints_name_the_same_ray() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    for path in (ROOT / "clusters").rglob("*"):
        if path.is_file():
            assert set(re.findall(r"rayproject/ray:([\d.]+)", path.read_text())) <= {pinned[1]}, path


def test_the_largest_cluster_counts_workers_up_to_the_limit() -> None:
    config = {
        "max_workers": 3,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 4, "head": 1000}, "max_workers": 0},
            "big": {"resources": {"CPU": 8, "GPU": 4}, "max_workers": 2},
            "small": {"resources": {"CPU": 2}},
        },
    }
    assert largest_amounts(config) == {"CPU": 18, "GPU": 8, "head": 0}


def test_the_maximum_comes_from_the_head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert autoscaler_maximum() == {}
    (tmp_path / "ray_bootstrap_config.yaml").write_text(json.dumps(read("gpu")))  # as `ray up` leaves it
    assert autoscaler_maximum() == {"CPU": 48, "GPU": 6, "head": 0}
    monkeypatch.setenv(MAXIMUM, '{"CPU": 32, "GPU": 4}')
    assert autoscaler_maximum() == {"CPU": 32, "GPU": 4}


def test_differing_versions_are_named_with_the_remedy() -> None:
    here = {"python": "3.11.7", "torch": "2.15.0", "ray": "2.60.0"}
    assert version_differences("node", here, copy.copy(here)) is None
    told = version_differences("node", here, {"python": "3.11.7", "torch": "2.14.0"})
    assert (
        told is not None
        and "torch 2.14.0 instead of 2.15.0, ray missing instead of 2.60.0" in told
        and "constraints.txt" in told
    )
    assert "No module named 'wsol'" in str(
        version_differences("node", here, ImportError("...\nNo module named 'wsol'"))
    )


@pytest.mark.parametrize(
    "words",
    [["search", "search_spaces/synthetic.yaml", "study.trials=2"], ["cluster", "check", "auto"]],
    ids=lambda words: words[0],
)
def test_a_job_works_in_the_storage_with_the_code_of_its_copy(words: list[str], tmp_path: Path) -> None:
    """The line is run by a shell, with `python` replaced by something that shows what it was given."""
    storage, copied, tools = tmp_path / "all see", tmp_path / "copy", tmp_path / "tools"
    for folder in (storage, copied, tools):
        folder.mkdir()
    (tools / "python").write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    (tools / "python").chmod(0o755)
    line = entrypoint(words, str(storage))
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=copied,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    given = [str(copied / word) if Path(word).is_file() else word for word in words]
    added = ["--address", "auto"] if words[0] == "search" else []
    assert done.stdout.splitlines() == [str(storage), str(copied / "launch.py"), *given, *added]


def test_a_job_leaves_data_and_results_at_home(tmp_path: Path) -> None:
    environment = runtime_environment()
    assert Path(environment["working_dir"]) == ROOT and {"/data", "/runs", "/.venv", "/.git"} <= set(
        environment["excludes"]
    )
    assert json.loads(environment["env_vars"][COMMIT]) == {
        "git": git(),
        "changes": changes(),
    }
    outside = tmp_path / "mine.yaml"
    outside.write_text("")
    with pytest.raises(InputError, match="lies outside of"):
        entrypoint(["search", str(outside)], "/shared")
    assert shlex.split(entrypoint(["search", "x.yaml", "--address=here:1"], "/shared"))[-1] == "--address=here:1"


def test_a_job_knows_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT, '{"git": {"commit": "abc", "dirty": true}, "changes": "+ x"}')
    assert git() == {"commit": "abc", "dirty": True} and changes() == "+ x"
    monkeypatch.setenv(COMMIT, '{"git": null, "changes": ""}')
    assert git() is None and changes() == ""


def test_the_verb_prints_a_table_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("cluster_name: x\nprovider: {type: aws, region: us-west-2}\nmax_worker: 2\n")
    done = subprocess.run(
        [sys.executable, "launch.py", "cluster", "check", str(tmp_path / "cluster.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "max_worker" in done.stdout and "checks failed" in done.stderr


@pytest.mark.parametrize("verb", ["protocol", "retry", "replay"])
def test_a_job_that_starts_ray_uses_the_cluster(verb: str) -> None:
    assert shlex.split(entrypoint([verb, "runs/a"], "/shared"))[-2:] == ["--address", "auto"]


def test_nobody_listens_is_said_at_once() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # taken, but nobody listens
        with pytest.raises(InputError, match="no connection"), connected(f"127.0.0.1:{door.getsockname()[1]}"):
            pass
