"""What is said of a plugin's file that is wrong."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.tiny import Launch
from wsol import methods, plugins
from wsol.errors import InputError

Put = Callable[[str], None]

GOOD = '''"""A newcomer."""
from typing import Literal
from wsol.schema import PluginConfig
from wsol.method import Method

class Config(PluginConfig):
    name: Literal["newcomer"] = "newcomer"

def build(config, network):
    return Method(network)
'''


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """Puts a text where `wsol/methods/newcomer.py` would be, beside the method cam."""
    folder = tmp_path / "wsol" / "methods"
    folder.mkdir(parents=True)
    (folder / "cam.py").write_text((Path(plugins.__file__).parent / "methods" / "cam.py").read_text())
    monkeypatch.setattr(plugins, "ROOT", folder.parent)
    monkeypatch.setattr(methods, "__path__", [str(folder)])
    plugins.names.cache_clear()
    plugins.load.cache_clear()

    def put(text: str) -> None:
        (folder / "newcomer.py").write_text(text)
        importlib.invalidate_caches()

    yield put
    sys.modules.pop("wsol.methods.newcomer", None)
    plugins.names.cache_clear()
    plugins.load.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def build", "def make", r"newcomer\.py: there is no function `build` that takes 2 arguments"),
        ("config, network", "config", "no function `build` that takes 2 arguments"),
        (
            "class Config(PluginConfig)",
            "class Settings(PluginConfig)",
            r"newcomer\.py: there is no `class Config\(PluginConfig\)`",
        ),
        ("(PluginConfig)", "", r"there is no `class Config\(PluginConfig\)`"),
        ('"newcomer"', '"cam"', r'write `name: Literal\["newcomer"\] = "newcomer"`'),
        (
            "Method(network)",
            "Method(network",
            r"methods/newcomer\.py:10: SyntaxError: '\(' was never closed; correct the file",
        ),
        (
            "from wsol.method import",
            "import nosuch\nfrom wsol.method import",
            r"newcomer\.py:4: ModuleNotFoundError: No module named 'nosuch'",
        ),
        ("class Config", "1 / 0\n\nclass Config", r"newcomer\.py:6: ZeroDivisionError"),
    ],
)
def test_a_wrong_file_is_told_with_its_remedy(
    newcomer: Put, launch: Launch, space_file: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    newcomer(GOOD.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        plugins.load("method", "newcomer")
    space_file.write_text(space_file.read_text().replace("name: cam", "name: newcomer"))
    for words in (["list", "methods"], ["describe", "methods", "newcomer"], ["validate", str(space_file)]):
        code, _, err = launch(*words)
        assert code == 2 and str(caught.value) in err and "Traceback" not in err
    assert err.startswith(f"{space_file}:2: trial.method: ")


def test_a_right_file_is_found_by_itself(newcomer: Put, launch: Launch) -> None:
    newcomer(GOOD)
    code, out, _ = launch("list", "methods")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["cam", "newcomer"] and "A newcomer." in out


def test_a_data_set_without_prepare_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = plugins.load("dataset", "folder")
    monkeypatch.delattr(plugin, "prepare")
    plugins.load.cache_clear()
    with pytest.raises(
        InputError,
        match=r"wsol/datasets/folder\.py: there is no function `prepare` that takes 3 arguments; see CONTRIBUTING",
    ):
        plugins.load("dataset", "folder")
