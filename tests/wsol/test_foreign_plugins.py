"""Plugins of other packages: found by entry point, told, and refused where it is not clear what is meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.verbs.describe import pages
from tests.support.foreign_packages import EXTRACTOR, METHOD, PLUGINS, installed, put_package
from tests.support.tiny import Launch
from wsol import plugins
from wsol.errors import InputError


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder for packages, which this process looks into; put them there before the first look."""
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(folder):
        yield folder


def test_a_package_brings_its_plugins(site: Path) -> None:
    put_package(site, "my-package")
    assert "mine" in plugins.names("method") and "mean" in plugins.names("extractor")
    assert "mine" not in plugins.built_in("method") and "mine" not in plugins.names("extractor")
    plugin = plugins.load("method", "mine")
    assert plugin.__name__ == "my_package.mine" and plugin.Config(weight=3).weight == 3
    assert str(plugins.origin("method", "mine")) == "method mine of my-package 1.0"
    assert plugins.origin("method", "cam") is None and plugins.bringing() == ["my-package"]


def test_without_packages_nothing_is_brought(site: Path) -> None:
    assert plugins.bringing() == [] and all(plugins.names(kind) == plugins.built_in(kind) for kind in plugins.FOLDERS)
    with pytest.raises(ValueError, match=r"unknown method 'xyz' \(one of another package is found where that is inst"):
        plugins.load("method", "xyz")


def test_its_name_is_suggested(site: Path) -> None:
    put_package(site, "my-package")
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        plugins.load("method", "mien")


def test_two_packages_with_one_name_are_refused(site: Path) -> None:
    put_package(site, "my-package", brings={"methods": {"mine": METHOD}})
    put_package(site, "your-package", "2.0", brings={"methods": {"mine": METHOD}})
    with pytest.raises(InputError) as caught:
        plugins.load("method", "mine")
    assert str(caught.value) == (
        "method 'mine': my-package 1.0 and your-package 2.0 both bring one of this name; uninstall one of them"
    )
    plugins.load("method", "cam")


def test_a_built_in_name_is_refused(site: Path, launch: Launch) -> None:
    put_package(site, "my-package", brings={"methods": {"cam": METHOD}})
    with pytest.raises(InputError, match=r"method 'cam': my-package 1\.0 brings .* which wsol-search has itself"):
        plugins.load("method", "cam")
    plugins.load("method", "has")
    code, out, _ = launch("list", "methods")
    assert code == 0 and "which wsol-search has itself" in " ".join(out.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nosuch", r"method mine of my-package 1\.0, my_package\.mine:1: ModuleNotFoundError: No module named"),
        (
            "\n\nx = (",
            r"my_package\.mine:3: SyntaxError: '\(' was never closed; correct it there, or uninstall my-package",
        ),
        (METHOD.replace("def build", "def make"), r"my_package\.mine: there is no function `build` that takes 2"),
        (METHOD.replace('"mine"', '"other"'), r"my_package\.mine: the name of its Config is not \'mine\': write `name"),
    ],
)
def test_a_broken_package_is_named_when_it_is_asked_for(site: Path, launch: Launch, text: str, message: str) -> None:
    put_package(site, "my-package", brings={"methods": {"mine": text}, "extractors": {"mean": EXTRACTOR}})
    plugins.load("method", "cam")
    plugins.load("extractor", "mean")
    with pytest.raises(InputError, match=message) as caught:
        plugins.load("method", "mine")
    code, out, _ = launch("list", "methods")
    assert code == 0 and " ".join(str(caught.value).split()) in " ".join(out.split())
    code, _, err = launch("describe", "methods", "mine")
    assert code == 2 and str(caught.value) in err and "Traceback" not in err


def test_it_is_listed_and_described_but_gets_no_page(site: Path, launch: Launch) -> None:
    put_package(site, "my-package", brings=PLUGINS)
    assert "mine                 Cross-entropy, twice. (my-package 1.0)" in launch("list", "methods")[1]
    assert "| `weight` | `2.0` | above 0 | of the loss. |" in launch("describe", "methods", "mine")[1]
    assert "mine.md" not in pages() and "# `mean`: " not in pages()["extractors.md"]
