"""Clusters of several raylets on this machine, with token authentication: jobs, checks, differing versions, the
rehearsal. Slow."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster.autoscaler import MAXIMUM
from orchestrator.runs.journal import open_study
from tests.support.launcher import wait_until
from tests.support.paths import ROOT
from tests.support.raylets import RAY, WRONG, Head, free_port, running, started

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running(tmp_path_factory.mktemp("two"), {"num_cpus": 1}, {"num_cpus": 1}) as found:
        yield found


def test_a_job_runs_and_its_output_streams(two_nodes: Head, tmp_path: Path) -> None:
    code, out = two_nodes.launch(
        "submit",
        "--address",
        two_nodes.jobs,
        "--storage",
        str(tmp_path),
        "--",
        "validate",
        "search_spaces/synthetic.yaml",
    )
    assert code == 0, out
    assert "ok, has on synthetic" in out and "ray job logs" in out
    code, out = two_nodes.launch(
        "submit", "--address", two_nodes.jobs, "--storage", str(tmp_path), "--", "validate", "absent.yaml"
    )
    assert code == 1 and "absent.yaml" in out and "FAILED" in out


def test_a_search_as_a_job_leaves_its_results_in_the_storage(two_nodes: Head, tmp_path: Path, space_file: Path) -> None:
    words = ["submit", "--address", two_nodes.jobs, "--storage", str(tmp_path), "--"]
    code, out = two_nodes.launch(*words, "search", str(space_file))
    assert code == 2 and "lies outside of" in out
    small = [
        "study.trials=2",
        "training.epochs=1",
        "data.train_images=20",
        "data.fullsup_images=10",
        "data.test_images=10",
    ]
    code, out = two_nodes.launch(*words, "search", "search_spaces/synthetic.yaml", *small)
    assert code == 0, out
    header = json.loads((tmp_path / "runs" / "synthetic" / "study.json").read_text())
    assert header["git"] and header["machine"]["cpus"] == 2
    assert (tmp_path / "runs" / "synthetic" / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"RAY_AUTH_TOKEN": WRONG}, "refuses the token"), ({"RAY_AUTH_MODE": "disabled"}, "refuses the token")],
    ids=["wrong", "none"],
)
def test_another_token_is_refused(two_nodes: Head, changes: dict[str, str], said: str) -> None:
    code, out = two_nodes.launch("submit", "--address", two_nodes.jobs, "--", "list", "methods", **changes)
    assert code == 2 and said in out and "~/.ray/auth_token" in out and "Traceback" not in out


def test_a_search_with_another_token_is_refused_in_a_line(two_nodes: Head, tmp_path: Path) -> None:
    words = ["search", "search_spaces/synthetic.yaml", "--run", str(tmp_path / "run"), "--address", two_nodes.address]
    code, out = two_nodes.launch(*words, RAY_AUTH_TOKEN=WRONG)
    assert code == 2 and out.startswith("error: ") and "the cluster refuses the token" in out and out.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_search_with_a_token_on_a_cluster_without_is_refused_in_a_line(tmp_path: Path) -> None:
    with running(tmp_path, {"num_cpus": 1}, RAY_AUTH_MODE="disabled") as head:
        words = ["search", "search_spaces/synthetic.yaml", "--run", str(tmp_path / "run"), "--address", head.address]
        code, out = head.launch(*words)
    assert code == 2 and out.startswith("error: ") and "was started without a token" in out and out.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_nobody_at_the_address(two_nodes: Head) -> None:
    code, out = two_nodes.launch("submit", "--address", f"http://127.0.0.1:{free_port()}", "--", "list", "methods")
    assert code == 2 and "ray dashboard" in out and "Traceback" not in out


def test_check_looks_through_every_node(two_nodes: Head, tmp_path: Path) -> None:
    code, out = two_nodes.launch("cluster", "check", two_nodes.address, "--storage", str(tmp_path), COLUMNS="200")
    assert code == 0, out
    assert "2 node(s); at most 2 CPU" in out and out.count("clock") == 2
    assert "every node reads and writes it" in out and "2 nodes, 16 MiB" in out
    assert not list(tmp_path.iterdir())


def test_other_versions_on_a_node_are_refused(two_nodes: Head, tmp_path: Path) -> None:
    """The third node believes that its Optuna is another."""
    (tmp_path / "optuna-4.0.0.dist-info").mkdir()
    (tmp_path / "optuna-4.0.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: optuna\nVersion: 4.0.0\n"
    )
    other = {**two_nodes.environment, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [RAY, "start", "--block", f"--address={two_nodes.address}", "--num-cpus=1"]
    with started(command, other, tmp_path / "worker.log", "Ray runtime started"):
        code, out = two_nodes.launch(
            "search", "search_spaces/synthetic.yaml", "--run", str(tmp_path / "run"), "--address", two_nodes.address
        )
        assert code == 2 and "optuna 4.0.0 instead of" in out and "constraints.txt" in out
        assert not (tmp_path / "run").exists()
        code, out = two_nodes.launch("cluster", "check", two_nodes.address, COLUMNS="200")
        assert code == 2 and "optuna 4.0.0 instead of" in out and "checks failed" in out


def test_a_search_survives_the_loss_of_a_node(tmp_path: Path, space_file: Path) -> None:
    """Twelve trials on two nodes; one dies in the middle: twelve finish, none is lost, none runs twice."""
    with running(tmp_path, {"num_cpus": 1}, {"num_cpus": 1}) as head:
        words = [
            "search",
            str(space_file),
            "study.trials=12",
            "training.epochs=4",
            "--run",
            str(tmp_path / "run"),
            "--address",
            head.address,
        ]
        with (tmp_path / "search.log").open("w") as log:
            search = subprocess.Popen(
                [sys.executable, str(ROOT / "launch.py"), *words],
                env=head.environment,
                cwd=tmp_path,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            wait_until(lambda: finished(tmp_path / "run") >= 3 or search.poll() is not None)
            head.lose_a_node()
            assert search.wait(400) == 0, (tmp_path / "search.log").read_text()
    trials = open_study(tmp_path / "run").get_trials(deepcopy=False)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 12 and [trial.number for trial in trials] == list(
        range(12)
    )
    assert all(sorted(trial.intermediate_values) == [1, 2, 3, 4] for trial in trials)
    assert len({trial.user_attrs["config_hash"] for trial in trials}) == 12
    assert sum(trial.user_attrs.get(name, 0) for trial in trials for name in ("restarts", "preemptions")) >= 1


def finished(run: Path) -> int:
    """How many trials of a run have ended."""
    if not (run / "study.json").exists():
        return 0
    return sum(trial.state.is_finished() for trial in open_study(run).get_trials(deepcopy=False))


def test_the_rehearsal_starts_raylets_when_a_search_asks(tmp_path: Path) -> None:
    """`clusters/local.yaml` as it is, but on a free port."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

    config = yaml.safe_load((ROOT / "clusters" / "local.yaml").read_text())
    port = free_port()
    config["provider"]["gcs_address"] = f"{socket.gethostbyname(socket.gethostname())}:{port}"
    (tmp_path / "local.yaml").write_text(yaml.safe_dump(config))
    changes = {"RAY_FAKE_CLUSTER": "1", MAXIMUM: '{"CPU": 2}'}
    small = [
        "study.trials=2",
        "training.epochs=1",
        "data.train_images=20",
        "data.fullsup_images=10",
        "data.test_images=10",
    ]
    node = {
        "num_cpus": 0,
        "autoscaling_config": str(tmp_path / "local.yaml"),
        "env_vars": {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID},
    }
    with running(tmp_path, node, port=port, **changes) as rehearsal:
        words = [
            "search",
            "search_spaces/synthetic.yaml",
            *small,
            "--run",
            str(tmp_path / "run"),
            "--address",
            rehearsal.address,
        ]
        code, out = rehearsal.launch(*words, **changes)
        assert code == 0, out
        assert "2 at a time" in out
