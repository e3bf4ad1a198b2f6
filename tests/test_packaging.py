"""What an installed package holds, and that shipped files are found from any folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from orchestrator import shipped
from orchestrator.cluster import submit
from orchestrator.cluster.submit import runtime_environment
from tests.support.paths import ROOT
from tests.support.tiny import Launch
from wsol.errors import InputError

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def test_every_folder_of_code_and_of_shipped_files_is_packed() -> None:
    folders = [
        path.parent.relative_to(ROOT)
        for layer in ("wsol", "orchestrator")
        for path in (ROOT / layer).rglob("__init__.py")
    ]
    code = {".".join(folder.parts) for folder in folders}
    assert set(SETUPTOOLS["packages"]) == code | {f"orchestrator.{folder}" for folder in shipped.FOLDERS}
    assert SETUPTOOLS["package-dir"] == {f"orchestrator.{folder}": folder for folder in shipped.FOLDERS}
    assert (ROOT / f"{SETUPTOOLS['py-modules'][0]}.py").is_file()


def test_everything_that_is_no_code_is_packed() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = ROOT / SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))
        packed = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
        ours = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
        assert set(ours) == packed


def test_shipped_files_are_found_from_any_folder(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert launch("validate", "search_spaces/tap_cub.yaml")[0] == 0
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "tap_cub.yaml").write_text("trial: 3\n")
    assert launch("validate", "search_spaces/tap_cub.yaml")[0] == 2, "the user's own file comes first"
    assert launch("validate", "search_spaces/none.yaml")[0] == 2
    assert shipped.shipped(Path("elsewhere/tap_cub.yaml")) == Path("elsewhere/tap_cub.yaml")


def test_an_installed_package_holds_its_files_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "own.yaml").write_text("")
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    assert shipped.shipped(Path("search_spaces/own.yaml")) == tmp_path / "search_spaces" / "own.yaml"


def test_the_image_installs_what_is_declared_and_holds_the_code() -> None:
    text = (ROOT / "clusters" / "Dockerfile").read_text()
    before, after = text.split("uv pip install")
    copied = [re.findall(r"^COPY --chown=\S+ (.*) \S+$", part, re.MULTILINE) for part in (before, after)]
    assert copied[0] == ["pyproject.toml constraints.txt"], "a change of the code installs nothing anew"
    assert set(copied[1]) == {"launch.py", "wsol", "orchestrator", *shipped.FOLDERS}
    assert set(re.findall(r"--extra (\w+)", after)) <= set(PYPROJECT["project"]["optional-dependencies"])
    python = re.search(r"^FROM \S+-py3(\d+)-gpu$", text, re.MULTILINE)
    lowest, above = re.findall(r"3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert python is not None and int(lowest) <= int(python[1]) < int(above)


def test_submit_needs_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "ROOT", tmp_path)
    with pytest.raises(InputError, match="run it from a clone of the repository"):
        runtime_environment()
