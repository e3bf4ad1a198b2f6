"""The verb `cluster up`: reports every mistake that can be found before machines cost money."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from orchestrator.cluster.check_file import check_file, is_of_kubernetes
from orchestrator.cluster.findings import Finding, show
from orchestrator.console import PlainConsole
from orchestrator.shipped import shipped
from wsol.errors import InputError, RunFailed

RAY = (sys.executable, "-m", "ray.scripts.scripts")
"""Ray's program, of this Python."""


def start_cluster(file: Path) -> None:
    """Check a file and pass it to `ray up`, which asks before it starts anything.

    Raises:
        InputError: something is wrong with the file, credentials are missing, or it is for Kubernetes; nothing was
            started.
        RunFailed: Ray could not start the cluster; it has said why.
    """
    if is_of_kubernetes(file):
        raise InputError(f"{file}: is for Kubernetes: kubectl apply -f {file}")
    findings = check_file(file)
    if reasons := [f"{one.subject}: {one.detail}" for one in findings if _prevents(one)]:
        raise InputError(f"{file}: not started; {'; '.join(reasons)}")
    show(str(file), [one for one in findings if one.state != "ok"], PlainConsole())
    if code := ray_up(shipped(file)):
        raise RunFailed(f"{file}: `ray up` ended with exit code {code}; its reason is above")


def ray_up(file: Path) -> int:
    """Ray's own command on this terminal; returns its exit code."""
    return subprocess.run([*RAY, "up", file], check=False).returncode


def _prevents(finding: Finding) -> bool:
    """Whether `ray up` would fail, or would start an unsafe cluster."""
    return finding.state == "wrong" or (finding.subject == "credentials" and finding.lacks)
