"""Files for `ray up`: Ray's schema, versions, safety, cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster.check_file import check_file
from orchestrator.cluster.check_ray import check_ray_file
from tests.support.clusters import RAY_FILES, Edit, kind, read, states, with_odd_values
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("in_the_checkout")


def written(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


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
    "secret for a container": (
        lambda config: config["docker"]["run_options"].append("-e AWS_SECRET_ACCESS_KEY=" + "a1B2c3D4" * 5),
        "secrets",
    ),
    "a placeholder": (lambda config: config["auth"].update(ssh_user="REPLACE"), "to fill in"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake: str, tmp_path: Path) -> None:
    edit, subject = MISTAKES[mistake]
    config = read("gpu")
    edit(config)
    assert states(written(tmp_path, config))[subject] == "wrong"


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("--dashboard-host 0.0.0.0", "wrong"),
        ('--dashboard-host "0.0.0.0"', "wrong"),
        ("--dashboard-host='0.0.0.0'", "wrong"),
        ("--dashboard-host   0.0.0.0", "wrong"),
        ("--dashboard-host ::", "wrong"),
        ("--dashboard-host='::'", "wrong"),
        ("--dashboard-host=[::]", "wrong"),
        ("--dashboard-host=0", "wrong"),
        ("--dashboard-host=''", "wrong"),
        ("--dashboard-host=10.0.0.5", "wrong"),
        ("--dashboard-host=$(hostname -I)", "wrong"),
        ("--dashboard-host=127.0.0.1 --dashboard-host=0.0.0.0", "wrong"),
        ("--dashboard-host 127.0.0.1", "ok"),
        ('--dashboard-host="localhost"', "ok"),
        ("--dashboard-host ::1", "ok"),
        ("", "ok"),
    ],
)
def test_the_dashboard_listens_on_loopback_only(words: str, state: str, tmp_path: Path) -> None:
    for line in ("ray start --head {}", "ulimit -n 65536; ray start --head {}; true", 'bash -c "ray start --head {}"'):
        config = read("gcp")
        config["head_start_ray_commands"] = ["ray stop", line.format(words)]
        assert states(written(tmp_path, config))["dashboard"] == state, line


@pytest.mark.parametrize("section", ["run_options", "head_run_options", "worker_run_options"])
@pytest.mark.parametrize(
    "option",
    [
        "--privileged",
        "--privileged=true",
        "--pid=host",
        "--pid host",
        "-v /var/run/docker.sock:/var/run/docker.sock",
        "-v /:/host",
        "--volume=/:/host:ro",
        "--mount type=bind,source=/,target=/host",
        "--cap-add=ALL",
        "--cap-add SYS_ADMIN",
    ],
)
def test_containers_are_not_root_on_their_machine(option: str, section: str, tmp_path: Path) -> None:
    config = read("gcp")
    assert states(written(tmp_path, config))["container"] == "ok"
    config["docker"].setdefault(section, []).append(option)
    assert states(written(tmp_path, config))["container"] == "wrong"


def test_notes_say_what_to_do_and_what_costs(tmp_path: Path) -> None:
    config = read("gpu")
    del config["provider"]["cache_stopped_nodes"]
    findings = {finding.subject: finding for finding in check_file(written(tmp_path, config))}
    assert "available_node_types.gpu.node_config.SecurityGroupIds.0" in findings["to fill in"].detail
    assert findings["idle cost"].state == "note" and "cache_stopped_nodes: false" in findings["idle cost"].detail
    assert findings["files"].state == "note" and "ray get-auth-token --generate" in findings["files"].detail


def test_a_token_that_others_may_read_is_noted(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("none")
    path = written(tmp_path, read("gpu"))
    for mode, state in ((0o644, "note"), (0o640, "note"), (0o600, "ok")):
        token.chmod(mode)
        found = next(finding for finding in check_file(path) if finding.subject == "files")
        assert found.state == state and ("chmod 600" in found.detail) == (state == "note")


def test_a_token_that_others_may_read_on_the_nodes_is_noted(tmp_path: Path) -> None:
    config = read("gpu")
    config["setup_commands"].remove("chmod 600 ~/.ray/auth_token")
    found = next(finding for finding in check_file(written(tmp_path, config)) if finding.subject == "token")
    assert found.state == "note" and "chmod 600" in found.detail


def test_a_typing_error_in_a_machine_is_found(tmp_path: Path) -> None:
    pytest.importorskip("botocore", reason="boto3 is not installed: EC2's parameters are not known")
    config = read("gpu")
    config["available_node_types"]["gpu"]["node_config"]["InstanceTyp"] = "g6.2xlarge"
    found = states(written(tmp_path, config))
    assert found["machines: gpu"] == "wrong" and found["machines: gpu_spot"] == "ok"


def test_whatever_stands_in_a_file_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cluster.check_ray._shell", lambda config: None)  # a process for each command
    shipped = read("onprem")
    for what, config in with_odd_values(shipped):
        try:
            assert list(check_ray_file(config))
        except Exception as error:
            raise AssertionError(what) from error


def test_containers_and_constraints_name_the_same_ray() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    files = [path for path in (ROOT / "clusters").rglob("*") if path.is_file()]
    named = {(path, found) for path in files for found in re.findall(r"rayproject/ray:([\d.]+)", path.read_text())}
    assert {version for _, version in named} == {pinned[1]}, named


def test_the_head_names_its_own_machines_only() -> None:
    """A head that may tag anything may give another's machine the name of its cluster, and end it."""
    policy = json.loads((ROOT / "clusters" / "aws" / "head-policy.json").read_text())
    own = read("gpu")["cluster_name"]
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        condition = statement.get("Condition", {}).get("StringEquals", {})
        if {"ec2:CreateTags", "ec2:DeleteTags", "ec2:TerminateInstances"} & set(actions):
            started = condition.get("ec2:CreateAction") == "RunInstances" and actions == ["ec2:CreateTags"]
            tag = "aws:RequestTag/ray-cluster-name" if started else "ec2:ResourceTag/ray-cluster-name"
            assert condition.get(tag) == own, statement["Sid"]
            assert statement["Resource"] == "arn:aws:ec2:*:*:instance/*", statement["Sid"]
        assert not [action for action in actions if action in ("*", "ec2:*") or action.startswith("iam:")]
        if any(action.startswith("ssm:") for action in actions):  # other parameters are secrets
            assert statement["Resource"] == "arn:aws:ssm:*::parameter/aws/service/*"
