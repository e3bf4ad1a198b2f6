"""Clusters of several raylets on this machine, with token authentication."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.launcher import LONG
from tests.support.paths import ROOT

RAY = str(Path(sys.executable).with_name("ray"))
TOKEN, WRONG = "a1" * 32, "b2" * 32


@dataclass(frozen=True)
class Head:
    """A running cluster: addresses of its GCS and its job server, and the environment of who may use it."""

    address: str
    jobs: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def lose_a_node(self) -> None:
        """The node that came last dies, without a word to the others."""
        assert self.process.stdin
        self.process.stdin.write(b"lose\n")
        self.process.stdin.flush()

    def launch(self, *words: str, **changes: str) -> tuple[int, str]:
        """Run `launch.py`: exit code and everything it printed."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "launch.py"), *words],
            capture_output=True,
            text=True,
            env={**self.environment, **changes},
            cwd=ROOT,
            timeout=LONG,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# `ray start --head` would start a server for Ray Client as well, whose death on a slow machine ends the head.
CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
head, *others = json.loads(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args=head)
for other in others:
    cluster.add_node(**other)
print("started", flush=True)
for _ in sys.stdin:
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
cluster.shutdown()
"""


@contextlib.contextmanager
def started(command: list[str], environment: dict[str, str], log: Path, sign: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that says when it has started and ends with its input; what remains of its group is killed by its
    id."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=ROOT,
        )
    try:
        end = time.monotonic() + LONG
        while sign not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        if sign != "started":
            process.terminate()  # `ray start --block` does not read
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(folder: Path, *nodes: dict[str, object], port: int | None = None, **changes: str) -> Iterator[Head]:
    """Nodes on this machine, the first one with head, under ports, a session folder and a token of their own."""
    port, jobs = port or free_port(), free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PATH"] = f"{Path(RAY).parent}:{environment['PATH']}"  # jobs run `python`
    environment |= {
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "HOME": str(folder),
    }
    ports = {"gcs_server_port": port, "dashboard_port": jobs, "dashboard_agent_listen_port": free_port()}
    first = {**ports, "include_dashboard": True, "resources": {"head": 1000}, **nodes[0]}
    with tempfile.TemporaryDirectory(
        prefix="r", dir="/tmp", ignore_cleanup_errors=True
    ) as sessions:  # sockets allow short paths only
        environment["RAY_TMPDIR"] = sessions
        command = [sys.executable, "-c", CLUSTER, json.dumps([first, *nodes[1:]])]
        with started(command, {**environment, **changes}, folder / "head.log", "started") as process:
            yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{jobs}", environment, process)
