"""A job's command line and environment."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
from pathlib import Path

import pytest

from orchestrator.cluster import submit
from orchestrator.cluster.submit import ROOT, entrypoint, runtime_environment
from orchestrator.runs.provenance import COMMIT, changes, git
from wsol.errors import InputError

pytestmark = pytest.mark.usefixtures("in_the_checkout")


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


def test_nothing_but_warnings_of_the_packing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.ray_constants import RAY_RUNTIME_ENV_DEFAULT_EXCLUDES, get_runtime_env_default_excludes
    from ray.dashboard.modules import dashboard_sdk
    from ray.dashboard.modules.job import sdk

    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "a,b")
    monkeypatch.delenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES")
    for logger in (dashboard_sdk.logger, sdk.logger):
        logger.setLevel(logging.INFO)  # as when they are imported
    monkeypatch.setattr(submit, "use_token", lambda: None)
    with pytest.raises(InputError, match="no job server answers"):
        submit._client("http://127.0.0.1:1")
    assert not dashboard_sdk.logger.isEnabledFor(logging.INFO) and not sdk.logger.isEnabledFor(logging.INFO)
    assert not get_runtime_env_default_excludes(), "Ray warns of each that is there"
    assert {name.lstrip("/") for name in submit.EXCLUDES} >= set(RAY_RUNTIME_ENV_DEFAULT_EXCLUDES.split(","))


def test_a_job_knows_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT, '{"git": {"commit": "abc", "dirty": true}, "changes": "+ x"}')
    assert git() == {"commit": "abc", "dirty": True} and changes() == "+ x"
    monkeypatch.setenv(COMMIT, '{"git": null, "changes": ""}')
    assert git() is None and changes() == ""


@pytest.mark.parametrize("verb", ["protocol", "retry", "replay"])
def test_a_job_that_starts_ray_uses_the_cluster(verb: str) -> None:
    assert shlex.split(entrypoint([verb, "runs/a"], "/shared"))[-2:] == ["--address", "auto"]
