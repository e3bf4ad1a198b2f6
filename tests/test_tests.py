"""Tests that could pass whatever the code does, or wait for ever, are no tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import hypothesis
import pytest

from tests.support.paths import ROOT
from tests.support.scheduling import CHAINS, FIRST, PARTED, TwoRays

FILES = sorted(path for folder in ("tests", "wsol/contract") for path in (ROOT / folder).rglob("test_*.py"))
WAITING = ("get", "join", "communicate", "Barrier")
"""Calls that wait for others, where no limit is given."""


def weak_places(text: str, *, sleeps: bool = False) -> Iterator[str]:
    """Line and reason of every weak place in a test file.

    Args:
        text: of the file.
        sleeps: whether it may sleep: where processes are watched from outside.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.IfExp):
            yield f"{node.lineno}: asserts one of two things: write `(a) == (b)`, or two tests"
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            limited = {word.arg for word in node.keywords} & {"timeout"} or (name != "Barrier" and node.args)
            if name in WAITING and not limited and not ast.unparse(node.func).startswith(("os.", "app.")):
                yield f"{node.lineno}: {name} waits without a limit"
            if ast.unparse(node.func) == "time.sleep" and not sleeps:
                yield f"{node.lineno}: sleeps against a clock"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_can_fail_and_ends(path: Path) -> None:
    assert list(weak_places(path.read_text(encoding="utf-8"), sleeps=path.parent.name == "live")) == []


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        ('assert a <= b if name == "size" else own', "assert (a <= b) == (name == 'size')"),
        ("queue.get()", "queue.get(timeout=60)"),
        ("process.join()", "process.join(60)"),
        ("context.Barrier(2)", "Barrier(2, timeout=60)"),
        ("process.communicate()", "', '.join(words)"),
        ("time.sleep(0.7)", "clock.append(0.7)"),
    ],
)
def test_a_weak_place_is_found(weak: str, strong: str) -> None:
    assert len(list(weak_places(weak))) == 1 and list(weak_places(strong)) == []


def test_drawn_cases_are_the_same_every_time() -> None:
    assert hypothesis.settings().derandomize and hypothesis.settings(max_examples=3).derandomize


def test_who_waits_for_ever_is_ended(pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("faulthandler_timeout")) > 0
    assert pytestconfig.getini("faulthandler_exit_on_timeout") is True


def test_those_that_start_ray_come_first_in_two_chains() -> None:
    tests = [f"tests/test_house.py::test_{number}" for number in range(9)] + [f"{FIRST[-1]}::test_a"]
    tests += [f"tests/live/test_{name}.py::test_a" for name in ("store", "cluster", "namespaces", "search", "campaign")]
    option = Mock(loadscopereorder=True, tx=["popen", "popen"], debug=False, verbose=0)
    scheduler = TwoRays(Mock(option=option, getvalue=lambda name: getattr(option, name)))
    nodes = [Mock(shutting_down=False), Mock(shutting_down=False)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    assert list(scheduler.assigned_work[nodes[0]])[1] == FIRST[-1]  # its chain has hardly begun
    first, second = (next(iter(scheduler.assigned_work[node].values())) for node in nodes)
    assert list(first) == [tests[-4], tests[-2]] and list(second) == [tests[-5], tests[-3], tests[-1]]
    parts = {case: scheduler._split_scope(f"{PARTED}::test_a[{case}]") for case in ("cam-vgg16", "has-vgg16", "cam")}
    assert parts["cam-vgg16"] == parts["has-vgg16"] != parts["cam"]
    assert scheduler._split_scope("wsol/contract/test_metrics.py::test_a[cam-vgg16]") == "wsol/contract/test_metrics.py"
    live = {path.name for path in (ROOT / "tests" / "live").glob("test_*.py")}
    assert {f"test_{name}.py" for files in CHAINS.values() for name in files} == live
