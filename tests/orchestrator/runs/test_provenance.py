"""Which code made a run: its commit, what was changed since, and what was installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.runs import provenance
from orchestrator.runs.provenance import COMMIT, LARGEST, changes, for_a_job, git, write_provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, in which the package lies."""
    folder = (tmp_path / "checkout").resolve()
    (folder / "orchestrator").mkdir(parents=True)
    (folder / "orchestrator" / "a.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("runs\n")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    monkeypatch.setattr(provenance, "ROOT", folder)
    monkeypatch.delenv(COMMIT, raising=False)
    (tmp_path / "run").mkdir()
    return folder


def test_a_clean_checkout_has_a_commit_and_no_patch(checkout: Path, tmp_path: Path) -> None:
    found = git()
    assert found is not None and len(found["commit"]) == 40 and not found["dirty"]
    write_provenance(tmp_path / "run")
    assert not (tmp_path / "run" / "code.diff").exists()
    installed = (tmp_path / "run" / "packages.txt").read_text().splitlines()
    assert any(line.startswith("torch==") for line in installed) and installed == sorted(installed, key=str.lower)


def test_the_patch_makes_the_code_that_ran(checkout: Path, tmp_path: Path) -> None:
    (checkout / "orchestrator" / "a.py").write_text("a = 2\n")
    (checkout / "orchestrator" / "mine.py").write_text('"""Mine."""\n')  # a plugin that was never added
    (checkout / "runs").mkdir()
    (checkout / "runs" / "trials.csv").write_text("ignored\n")
    (checkout / "large.bin").write_bytes(b"x" * (LARGEST + 1))
    write_provenance(tmp_path / "run")
    found = git()
    assert found is not None and found["dirty"]
    again = tmp_path / "again"
    subprocess.run(["git", "clone", "-q", str(checkout), str(again)], check=True)
    subprocess.run(["git", "apply", str(tmp_path / "run" / "code.diff")], cwd=again, check=True)
    assert (again / "orchestrator" / "a.py").read_text() == "a = 2\n" and (
        again / "orchestrator" / "mine.py"
    ).read_text() == '"""Mine."""\n'
    assert not (again / "runs").exists() and not (again / "large.bin").exists()


def test_outside_a_checkout_of_its_own_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        provenance, "ROOT", checkout / "orchestrator"
    )  # as an environment inside of somebody's checkout
    assert git() is None and changes() == ""


def test_a_job_knows_what_was_submitted(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "orchestrator" / "a.py").write_text("a = 2\n" * 40_000)
    here, variables = git(), for_a_job()
    assert all(len(value) < 128 * 1024 for value in variables.values())
    monkeypatch.setenv(COMMIT, variables[COMMIT])
    assert git() == here
    assert changes().startswith("diff --git a/orchestrator/a.py") and "cut here" in changes()


@pytest.mark.parametrize(
    "name", [".env", "prod.env", "id_rsa", "my.pem", "notes.txt", "secrets.yaml", "api_key.py", "dump.sql"]
)
def test_what_is_no_code_is_named_and_not_copied(checkout: Path, name: str) -> None:
    """A key lies beside the code, new or committed and changed."""
    (checkout / name).write_text("PASSWORD=hunter2\n")
    (checkout / "orchestrator" / "mine.py").write_text("mine = 1\n")
    for _ in range(2):
        text = changes()
        assert "hunter2" not in text and name in text.splitlines()[0] and "+mine = 1" in text
        subprocess.run(["git", "add", name], cwd=checkout, check=True)
