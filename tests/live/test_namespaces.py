"""Nodes with networks of their own on this machine: workers of one trial meet across them, a cut cable and a killed
node do not end a study. Slow.

Every node is a raylet in a network namespace with one interface on a bridge. What tells such nodes from several raylets
in one network: each has its own address, the loopback leads nowhere else, and a cable can be cut so that nothing closes
a connection.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.runs.journal import open_study
from tests.support.launcher import LONG, rows, torchrun, wait_until
from tests.support.object_store import object_store
from tests.support.paths import ROOT
from tests.support.raylets import RAY

pytestmark = pytest.mark.slow


NAMES, BRIDGE, NETWORK, PORT = ("wsol-head", "wsol-one", "wsol-two"), "wsol-bridge", "10.91.77", 6391
CUT_SECONDS = 60


def run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def unavailable() -> str | None:
    """Why no namespaces can be made here."""
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    try:
        run("ip", "netns", "add", "wsol-try")
        run("ip", "netns", "del", "wsol-try")
    except RuntimeError as error:
        return f"network namespaces cannot be made: {error}"
    return None


def address(name: str) -> str:
    return f"{NETWORK}.{10 + NAMES.index(name)}"


@dataclass
class Nodes:
    """The nodes that run, by the names of their namespaces; the first one is the head."""

    folder: Path
    bucket: str
    environment: dict[str, str]
    raylets: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *, sees_runs: bool = True) -> None:
        """Start the raylet of a node and wait until it runs; its `runs/` can be an empty folder of its own."""
        log = self.folder / f"{name}-{time.monotonic():.0f}.log"
        place = (
            ["--head", f"--port={PORT}", "--include-dashboard=false"]
            if name == NAMES[0]
            else [f"--address={address(NAMES[0])}:{PORT}"]
        )
        resources = '{"head": 100}' if name == NAMES[0] else "{}"
        words = [
            RAY,
            "start",
            "--block",
            *place,
            f"--node-ip-address={address(name)}",
            "--num-cpus=1",
            f"--resources={resources}",
        ]
        if not sees_runs:
            (self.folder / "runs").mkdir(exist_ok=True)
            words = ["sh", "-c", 'mount -t tmpfs own runs && exec "$@"', "sh", *words]
        with log.open("w") as output:
            self.raylets[name] = self.inside(
                name, words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_until(lambda: "Ray runtime started" in log.read_text() or self.raylets[name].poll() is not None)
        assert self.raylets[name].poll() is None, log.read_text()

    def kill(self, name: str) -> None:
        """A node dies: all of its processes at once."""
        for process in pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if (raylet := self.raylets.pop(name, None)) is not None:
            raylet.wait()

    def training(self) -> str:
        """A node other than the head on which a worker of a trial is."""
        return next(name for name in NAMES[1:] if any(is_train_worker(process) for process in pids(name)))

    def cable(self, name: str, state: str) -> None:
        """Cut or mend the cable of a node: `down` or `up`."""
        run("ip", "link", "set", name, state)

    def inside(self, name: str, words: list[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a process on a node."""
        return subprocess.Popen(["ip", "netns", "exec", name, *words], env=self.environment, cwd=self.folder, **options)  # type: ignore[call-overload, no-any-return]

    def launch(self, *words: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start `launch.py` on the head; the process, and what it prints."""
        log = self.folder / f"{words[0]}.log"
        command = [sys.executable, str(ROOT / "launch.py"), *words, "--address", f"{address(NAMES[0])}:{PORT}"]
        with log.open("w") as output:
            return self.inside(NAMES[0], command, stdout=output, stderr=subprocess.STDOUT), log


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Three namespaces on a bridge, which has an address, too. The end of a node's cable outside of it has the node's
    name."""
    clean_up()
    try:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for name in NAMES:
            run("ip", "netns", "add", name)
            run("ip", "link", "add", name, "type", "veth", "peer", "name", "cable0", "netns", name)
            run("ip", "link", "set", name, "master", BRIDGE, "up")
            run("ip", "-n", name, "addr", "add", f"{address(name)}/24", "dev", "cable0")
            for interface in ("lo", "cable0"):
                run("ip", "-n", name, "link", "set", interface, "up")
        yield
    finally:
        clean_up()


def clean_up() -> None:
    """Remove what a run left; what is not there is no error.

    The cables go first: a namespace takes its own away some time after `ip netns del` returned, and until then the
    names are taken.
    """
    cables = [["ip", "link", "del", name] for name in (*NAMES, BRIDGE)]
    for words in (*cables, *(["ip", "netns", "del", name] for name in NAMES)):
        subprocess.run(words, check=False, capture_output=True)


@pytest.fixture
def cold_nodes(space_file: Path) -> Iterator[Nodes]:
    """Three nodes with one CPU each, not started, and an object store that they reach."""
    if reason := unavailable():
        pytest.skip(reason)
    sessions = tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True)
    with sessions, network(), object_store(f"{NETWORK}.1") as bucket:
        found = Nodes(space_file.parent, bucket, environment(sessions.name))
        try:
            yield found
        finally:
            for name in NAMES:
                found.kill(name)


@pytest.fixture
def nodes(cold_nodes: Nodes) -> Nodes:
    """Three running nodes."""
    for name in NAMES:
        cold_nodes.start(name)
    return cold_nodes


def environment(sessions: str) -> dict[str, str]:
    """What the nodes' processes start with."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    quick = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**clean, **quick, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": sessions}


def pids(name: str) -> list[int]:
    """The processes of a node."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    return [int(process) for process in found.stdout.split()]


def is_train_worker(process: int) -> bool:
    with contextlib.suppress(OSError):
        return b"TrainWorker" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


def epochs_of(folder: Path, number: int) -> list[int]:
    """The epochs of a trial that the study knows."""
    if not (folder / "study.json").exists():
        return []
    trials = open_study(folder).get_trials(deepcopy=False)
    return sorted(trials[number].intermediate_values) if number < len(trials) else []


TWO_WORKERS = [
    "resources.workers=2",
    "resources.placement=strict_spread",
    "resources.concurrent_trials=1",
    "backbone.batch_norm=false",
]


def test_two_workers_on_two_nodes_train_as_two_on_one(nodes: Nodes, space_file: Path) -> None:
    words = [str(space_file), "study.trials=1", *TWO_WORKERS]
    process, log = nodes.launch("search", *words, "--run", "runs/apart")
    assert process.wait(300) == 0, log.read_text()
    together = torchrun("train", str(space_file), *TWO_WORKERS)
    done = subprocess.run(together, env=nodes.environment, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    apart, near = rows("runs/apart")[0], rows("runs/tiny")[0]
    measured = [name for name in apart if name.startswith(("train_fullsup/", "train/loss"))]
    assert measured and {name: apart[name] for name in measured} == {name: near[name] for name in measured}


def test_a_study_survives_a_cut_cable_and_a_killed_node(nodes: Nodes, space_file: Path) -> None:
    """The cable of one node of a trial is cut for a minute, then a node is killed; the trial goes on each time and no
    epoch is lost."""
    process, log = nodes.launch(
        "search", str(space_file), "study.trials=1", "training.epochs=200", *TWO_WORKERS, "--run", "runs/faults"
    )
    folder = space_file.parent / "runs" / "faults"
    wait_until(lambda: len(epochs_of(folder, 0)) >= 3 or process.poll() is not None)
    cut = nodes.training()
    nodes.cable(cut, "down")
    time.sleep(CUT_SECONDS)
    nodes.cable(cut, "up")
    reached = len(epochs_of(folder, 0))
    with contextlib.suppress(subprocess.TimeoutExpired):
        nodes.raylets[cut].wait(
            30
        )  # where it learns that it was given up it ends; whoever keeps nodes running starts it anew
    if nodes.raylets[cut].poll() is not None:
        nodes.kill(cut)
        nodes.start(cut)
    wait_until(lambda: len(epochs_of(folder, 0)) > reached + 3 or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    nodes.kill(nodes.training())
    assert process.wait(300) == 0, log.read_text()
    trial = open_study(folder).trials[0]
    assert trial.state.name == "COMPLETE" and sorted(trial.intermediate_values) == list(range(1, 201))


def test_nodes_that_share_no_folder_work_through_the_store(cold_nodes: Nodes, space_file: Path) -> None:
    """Two nodes do not see the run folder: two workers of one trial, then trials of one worker, and the final test run
    there."""
    cold_nodes.start(NAMES[0])
    for name in NAMES[1:]:
        cold_nodes.start(name, sees_runs=False)
    words = ["study.trials=1", *TWO_WORKERS, "--run", "runs/apart"]
    process, log = cold_nodes.launch("search", str(space_file), *words)
    process.wait(300)
    assert "this node does not see this folder" in log.read_text()
    shutil.rmtree("runs/apart")
    process, log = cold_nodes.launch("search", str(space_file), *words, f"resources.storage={cold_nodes.bucket}")
    assert process.wait(300) == 0, log.read_text()
    process, log = cold_nodes.launch(
        "resume", "runs/apart", "study.trials=4", "resources.workers=1", "resources.concurrent_trials=3"
    )
    assert process.wait(300) == 0, log.read_text()
    assert [row["state"] for row in rows("runs/apart")] == ["complete"] * 4
    assert Path("runs/apart/report.html").exists() and len(list(Path("runs/apart/trials").rglob("epoch-*.pt"))) == 4
