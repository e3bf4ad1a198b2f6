"""What a Ray on this machine would fail for is said before it starts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster import environment
from orchestrator.cluster.environment import LONGEST_SOCKET, SOCKET, ready_for_ray, session_folder
from tests.support.tiny import Launch
from wsol.errors import InputError


@pytest.fixture(autouse=True)
def _fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which Ray would start; its folders are short, as those of pytest are not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "LONGEST_SOCKET", 1000)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def refused() -> str:
    with pytest.raises(InputError) as caught:
        ready_for_ray()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_folder_of_sessions_is_its_owners_alone(tmp_path: Path) -> None:
    folder = ready_for_ray()
    assert folder.parent == tmp_path / f"ray-{os.geteuid()}" and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.parent.chmod(0o777)
    assert ready_for_ray() == folder == session_folder() and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_whose_sockets_would_have_too_long_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(environment, "LONGEST_SOCKET", LONGEST_SOCKET)
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv(name, str(tmp_path / ("x" * 80)))
    assert "too long for Ray's sockets; set RAY_TMPDIR" in refused() and not list(tmp_path.iterdir())


def test_the_usual_folder_is_short_enough() -> None:
    assert len(str(Path("/tmp/ray-4294967294/s") / SOCKET)) <= LONGEST_SOCKET


def test_a_folder_that_is_missing_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "absent"))
    assert "(No such file or directory); set RAY_TMPDIR" in refused()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / f"ray-{os.geteuid()}").write_text("")
    assert "(File exists); set RAY_TMPDIR" in refused()


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **options: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert "(Read-only file system); set RAY_TMPDIR" in refused()


def test_a_folder_of_another_user_or_a_link_to_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"ray-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    assert "belongs to another user; set RAY_TMPDIR" in refused()
    (tmp_path / f"ray-{os.geteuid() + 1}").mkdir()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert "belongs to another user; set RAY_TMPDIR" in refused()


@pytest.mark.parametrize("home", ["absent", "file", ""])
def test_a_home_without_room_for_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / home) if home else "")
    assert "Ray keeps its token in the home folder (" in refused() and "set HOME" in refused()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert ready_for_ray()


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: ".ray" not in str(path) and access(path, mode))
    assert f"HOME={tmp_path}: Ray keeps its token in the home folder (Permission denied)" in refused()


@pytest.mark.parametrize("verb", ["search", "protocol"])
def test_a_run_says_so_before_it_writes_anything(
    space_file: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(space_file.parent / "absent"))
    campaign = {"methods": {"cam": {"file": "tiny.yaml"}}, "backbones": {"tiny": {}}, "datasets": ["synthetic"]}
    Path("all.yaml").write_text(yaml.safe_dump({**campaign, "trials": 1}))
    code, _, err = launch(verb, {"search": "tiny.yaml", "protocol": "all.yaml"}[verb])
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and "set RAY_TMPDIR" in err
    assert not Path("runs").exists()
