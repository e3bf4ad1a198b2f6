"""Packages of other people that bring plugins, as pip leaves them in a folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.runs import provenance
from wsol import packages, plugins
from wsol.console import say_once

METHOD = '''"""Cross-entropy, twice.

Idea: what is twice as large is learned faster.
Paper: none, an example.
Symbols: none.
Kept from the released code: nothing.
Not kept: nothing.
"""
from typing import Literal
from pydantic import Field
from wsol.method import Method
from wsol.schema import PluginConfig

class Config(PluginConfig):
    """How much.

    Attributes:
        weight: of the loss.
    """
    name: Literal["mine"] = "mine"
    weight: float = Field(default=2.0, gt=0)

class Mine(Method):
    def __init__(self, network, config):
        super().__init__(network)
        self.config = config

    def loss_terms(self, activations, batch, progress):
        found = super().loss_terms(activations, batch, progress)
        return {name: self.config.weight * value for name, value in found.items()}

def build(config, network):
    return Mine(network, config)
'''

EXTRACTOR = '''"""Mean over the channels of the features.

Idea: what excites many channels is the object.
Paper: none, an example.
Symbols: none.
Kept from the released code: nothing.
Not kept: nothing.
"""
from typing import Literal
from wsol.schema import PluginConfig
from wsol.types import ScoreMaps

class Config(PluginConfig):
    """No settings."""
    name: Literal["mean"] = "mean"

def build(config):
    def maps(method, images, labels):
        activations = method.activate(images, labels)
        return ScoreMaps(activations.features.mean(1).float().detach(), activations.logits.float().detach())
    return maps
'''

PLUGINS = {"methods": {"mine": METHOD}, "extractors": {"mean": EXTRACTOR}}
"""Folder of the kind -> name -> text of the module."""


def put_package(
    folder: Path, package: str, version: str = "1.0", brings: Mapping[str, Mapping[str, str]] = PLUGINS
) -> None:
    """Install a package into a folder, one module for each plugin."""
    module = package.replace("-", "_")
    code, facts = folder / module, folder / f"{module}-{version}.dist-info"
    code.mkdir(parents=True)
    facts.mkdir()
    (code / "__init__.py").touch()
    lines = []
    for kind, named in brings.items():
        lines.append(f"[wsol.{kind}]")
        for name, text in named.items():
            (code / f"{name}.py").write_text(text)
            lines.append(f"{name} = {module}.{name}")
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Inside, this process finds the packages in a folder; afterwards it has forgotten them."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    _forget()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        _forget()


def _forget() -> None:
    importlib.invalidate_caches()
    found = (packages.entries, packages.brought, packages.version_of, plugins.names, plugins.load, provenance.packages)
    for known in (*found, say_once):
        known.cache_clear()
