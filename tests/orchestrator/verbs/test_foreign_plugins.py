"""A method and an extractor of somebody's own package, from YAML to a tested run, and the run without the package."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from orchestrator.cluster import connection
from orchestrator.cluster.check import NodeFacts, _node_findings
from orchestrator.experiment.foreign import foreign_plugins, packages_of, require_installed, requirements
from orchestrator.experiment.load import load_experiment
from orchestrator.runs.header import read_header
from orchestrator.runs.provenance import versions
from orchestrator.trials.wire import Assignment, TrialFailed
from orchestrator.trials.worker import run_trial
from tests.support.foreign_packages import installed, put_package
from tests.support.tiny import Launch
from wsol.errors import InputError

NEEDED = {"extractor mean": "my-package==1.0", "method mine": "my-package==1.0"}
MISSING = "extractor mean is of the package my-package 1.0, which is not installed here: pip install my-package==1.0"
WORDS = ("evaluation.extractor.name=mean", "training.epochs=1")


@pytest.fixture
def site(tmp_path: Path, space_file: Path) -> Path:
    """A folder with somebody's package, and a search space that uses it."""
    put_package(tmp_path / "site", "my-package")
    space_file.write_text(space_file.read_text().replace("name: cam", "name: mine\n    weight: 1.5"))
    return tmp_path / "site"


def test_from_yaml_to_a_tested_run_and_the_run_without_the_package(
    site: Path, space_file: Path, launch: Launch
) -> None:
    run = Path("runs/own")
    with installed(site):
        code, out, err = launch("validate", str(space_file))
        assert code == 0 and out == f"{space_file}: ok, mine on synthetic, 1 searched value\n"
        assert err.splitlines() == [
            "note: method mine of my-package 1.0 (my_package.mine), a package that is no part of wsol-search"
        ]
    with installed(site):
        code, _, err = launch("train", str(space_file), *WORDS, "--run", str(run))
        assert code == 0, err
        assert [line.partition(",")[0] for line in err.splitlines() if line.startswith("note: ")] == [
            "note: method mine of my-package 1.0 (my_package.mine)",
            "note: extractor mean of my-package 1.0 (my_package.mean)",
        ]
        assert launch("evaluate", str(run), "--split", "test")[0] == 0
    header = read_header(run)
    assert header.plugins == NEEDED and header.versions["my-package"] == "1.0"
    for file in (run / "experiment.yaml", run / "best.yaml"):
        assert file.read_text().splitlines()[1] == "# Needs plugins of other packages: pip install my-package==1.0"
    for words in (
        ["resume", str(run)],
        ["evaluate", str(run)],
        ["evaluate", str(run), "post_hoc.evaluation.normalizer.name=[max]"],
        ["predict", str(run), str(space_file), "--out", "out"],
        ["export", str(run)],
    ):
        code, _, err = launch(*words)
        assert code == 2 and err.strip().endswith(f"{run}: {MISSING}") and err.count("\n") == 1, (words, err)
    for words in (["status", str(run)], ["report", str(run)], ["compare", str(run)]):
        code, _, err = launch(*words)
        assert code == 0, (words, err)
    code, _, err = launch("train", str(run / "best.yaml"), "--run", "runs/again")
    assert code == 2 and "unknown method 'mine' (one of another package is found where that is installed)" in err
    assert err.splitlines()[-1] == (
        f"{run / 'best.yaml'}: needs plugins of other packages: pip install my-package==1.0"
    )


def test_a_version_without_the_plugin_is_told(site: Path, space_file: Path, tmp_path: Path) -> None:
    with installed(site):
        experiment = load_experiment(space_file).experiment
        assert requirements(experiment) == {"method mine": "my-package==1.0"}
    put_package(tmp_path / "newer", "my-package", "2.0", brings={})
    with installed(tmp_path / "newer"), pytest.raises(InputError) as caught:
        require_installed(NEEDED)
    assert str(caught.value) == (
        "extractor mean is of the package my-package 1.0, 2.0 is installed here, which has no such plugin: pip install"
        " my-package==1.0"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["trial.evaluation.extractor.name=mean"],
        ["search.evaluation.extractor.name={choices: [cam, mean]}"],
        ["points=[{name: one, values: {evaluation.extractor.name: mean}}]"],
        ["post_hoc.evaluation.extractor=[{name: cam}, {name: mean}]"],
        ["method={name: crop_cam, base: {name: mine}}", "trial.evaluation.extractor.name=mean"],
    ],
)
def test_what_is_searched_and_chosen_is_needed_too(site: Path, space_file: Path, words: list[str]) -> None:
    with installed(site):
        experiment = load_experiment(space_file, words).experiment
        assert requirements(experiment) == NEEDED and packages_of(experiment) == ["my-package"]
        assert foreign_plugins(load_experiment(space_file, ["method=cam"]).experiment) == []


def test_a_node_without_the_package_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{}")
    config, folder = json.dumps({"method": {"name": "mine"}}), tmp_path / "trials" / "0000"
    asked = Assignment(0, config, folder, "", tmp_path, "driver", 1, {}, "pack", 0, 1.0, None, (), plugins=NEEDED)
    reports: list[object] = []
    run_trial(Assignment.from_plain(asked.to_plain()), reports.append)
    (report,) = reports
    assert isinstance(report, TrialFailed) and report.reason == f"{socket.gethostname()}: {MISSING}"


def test_nodes_are_asked_for_the_packages_before_anything_is_written(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        connection, "on_every_node", lambda function, further: {"node-1": {**function(), "python": "3.11"}}
    )
    with installed(site):
        assert versions(["my-package"])["my-package"] == "1.0"
        with pytest.raises(InputError, match=r"node-1: .*my-package missing instead of 1\.0; .* on every node"):
            connection._require_same_versions(["my-package"])


def test_a_check_of_a_cluster_compares_the_packages_that_bring_plugins(site: Path) -> None:
    with installed(site):
        without, same = (NodeFacts(versions(further), 2, [], {}) for further in ([], ["my-package"]))
        (finding,) = _node_findings("node-1", without, ["my-package"])
        assert finding.state == "wrong" and "my-package missing instead of 1.0" in finding.detail
        (finding,) = _node_findings("node-1", same, ["my-package"])
        assert finding.state == "ok" and finding.detail.endswith(" my-package 1.0")
