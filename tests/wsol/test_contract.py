"""The contract of plugins, run as somebody runs it over a package of his own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.foreign_packages import EXTRACTOR, METHOD, put_package
from tests.support.paths import ROOT
from wsol.contract.__main__ import main

LARGE = ("vgg16", "resnet50", "inception_v3", "efficientnet_lite0", "deit", "two_workers")


def contract(folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    """Its tests with these words, in a folder with packages, outside of the checkout."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "--pyargs", "wsol.contract", "-q", "-p", "no:cacheprovider", "-k", words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1200
    )


@pytest.mark.slow
def test_a_package_of_somebody_else_passes_what_ours_pass(tmp_path: Path) -> None:
    put_package(tmp_path, "my-package")
    done = contract(tmp_path, f"(mine or mean) and not ({' or '.join(LARGE)})")
    counts = dict(re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UnknownMark" not in done.stdout and int(next(n for n, word in counts.items() if word == "passed")) > 30


@pytest.mark.slow
def test_what_does_not_keep_it_fails_by_name_and_stops_no_other(tmp_path: Path) -> None:
    wrong = METHOD.replace("weight: of the loss.", "").replace("super().loss_terms(activations", "dict(activations")
    put_package(tmp_path, "my-package", brings={"methods": {"mine": wrong}})
    put_package(
        tmp_path, "your-package", brings={"extractors": {"mean": EXTRACTOR}, "methods": {"broken": "import no"}}
    )
    done = contract(tmp_path, "(mine-tiny and loss_terms) or (test_plugins and (mine or broken or mean))")
    assert done.returncode == 1
    failed = set(re.findall(r"FAILED .*::(test_\w+\[[\w-]+\])", done.stdout))
    assert {
        "test_every_setting_is_explained[method-mine]",
        "test_every_step_has_named_finite_loss_terms_and_a_gradient_for_every_parameter[mine-tiny]",
        "test_unknown_key_is_refused[method-broken]",
    } <= failed
    assert not [name for name in failed if "mean" in name]
    assert "my-package, my_package.mine: weight not explained" in done.stdout
    assert "method broken of your-package 1.0, your_package.broken:1: ModuleNotFoundError" in done.stdout


def test_without_pytest_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "error: the contract of plugins needs pytest: pip install 'wsol-search[contract]'\n"
    )
