"""`launch.py submit`: runs the code of this checkout as a job on a cluster, in a folder that all its nodes see."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any

from orchestrator.cluster.connection import token_refused, use_token
from orchestrator.runs.provenance import for_a_job
from orchestrator.shipped import ROOT
from wsol.errors import InputError, RunFailed
from wsol.files import is_file

JOB_SERVER = "http://127.0.0.1:8265"


NOT_READY, STARTS_SECONDS = "No available agent", 90


EXCLUDES = [
    "/.git",
    "/.venv",
    "venv",
    "/data",
    "/runs",
    "/tests",
    "/benchmarks",
    "*_cache",
    "__pycache__",
]  # .gitignore counts as well


CONNECTS = (
    "search",
    "protocol",
    "resume",
    "retry",
    "replay",
)  # verbs that would start a Ray of their own without --address


def submit(words: list[str], address: str | None, storage: str, *, wait: bool = True) -> None:
    """Run `launch.py WORDS` on a cluster and print its output.

    Args:
        words: a verb and its arguments. Files of this checkout are found in the job's copy; other relative paths start
            in `storage`.
        address: the address of the job server; None: `RAY_API_SERVER_ADDRESS`, or a tunnel on this machine.
        storage: folder that all nodes see; the job works there, with `data/` and `runs/` below.
        wait: return only when the job has ended.

    Raises:
        InputError: nothing answers, or the token is refused.
        RunFailed: the job failed.
        KeyboardInterrupt: the user stopped following the job, which keeps running.
    """
    server = address or os.environ.get("RAY_API_SERVER_ADDRESS", JOB_SERVER)
    command = entrypoint(words, storage)
    client = _client(server)
    job = _begin(client, server, command)
    follow = f"ray job logs --address {server} --follow {job}"
    print(
        f"job {job}: {shlex.join(words)}\nfollow it with: {follow}\nend it with:    ray job stop --address {server}"
        f" {job}",
        flush=True,
    )
    if not wait:
        return
    try:
        asyncio.run(_print_logs(client, job))
    except KeyboardInterrupt:
        print(f"\nthe job keeps running; follow it with: {follow}")
        raise
    details = client.get_job_info(job)
    if str(details.status) != "SUCCEEDED":
        reason = (details.message or "").partition(", last available logs")[0]  # they were printed
        raise RunFailed(f"job {job} ended as {details.status!s}: {reason}")


def _begin(client: Any, server: str, command: str) -> str:
    """Begin a job; returns its name. A cluster that has just started has no agent for jobs yet, so this tries again for
    a while."""
    end = time.monotonic() + STARTS_SECONDS
    while True:
        try:
            return str(client.submit_job(entrypoint=command, runtime_env=runtime_environment()))
        except RuntimeError as error:
            if NOT_READY not in str(error):
                raise
            if time.monotonic() > end:
                raise InputError(
                    f"{server}: the cluster takes no jobs yet; try again when its head is up (ray status)"
                ) from None
        time.sleep(1)


def entrypoint(words: list[str], storage: str) -> str:
    """The shell line of the job. It starts in the job's copy of the checkout; after the `cd` to the storage, `$OLDPWD`
    names that copy.

    Raises:
        InputError: there is no verb, or a file lies outside of the checkout.
    """
    if not words:
        raise InputError("submit: say what to run, such as `launch.py submit -- search search_spaces/synthetic.yaml`")
    if words[0] in CONNECTS and not any(word.split("=")[0] == "--address" for word in words):
        words = [*words, "--address", "auto"]
    return f'cd {shlex.quote(storage)} && python "$OLDPWD/launch.py" {" ".join(_in_copy(word) for word in words)}'


def runtime_environment() -> dict[str, Any]:
    """Ray's runtime environment for the job: this checkout without data and results, and the name of its commit.

    Raises:
        InputError: this code is an installed package, not a checkout.
    """
    if not (ROOT / "pyproject.toml").is_file():
        raise InputError(
            f"submit: the code of a checkout travels with the job, and {ROOT} is none; run it from a clone of the"
            " repository"
        )
    variables = {"PYTHONUNBUFFERED": "1", **for_a_job()}
    return {"working_dir": str(ROOT), "excludes": EXCLUDES, "env_vars": variables}


def _in_copy(word: str) -> str:
    """A word of the command line, with a file of the checkout replaced by its path in the job's copy."""
    path = Path(word)
    if not is_file(path):
        return shlex.quote(word)
    try:
        inside = path.resolve().relative_to(ROOT)
    except ValueError:
        raise InputError(
            f"submit: {word} lies outside of {ROOT}, and only that folder is sent with the job; copy it there"
        ) from None
    return '"$OLDPWD"/' + shlex.quote(str(inside))


def _client(server: str) -> Any:
    use_token()
    import ray.exceptions
    from ray.job_submission import JobSubmissionClient

    _quieten_ray()
    try:
        client = JobSubmissionClient(server)
        client.get_version()
        client.list_jobs()  # the version needs no token, this does
    except ConnectionError:
        raise InputError(
            f"{server}: no job server answers; open the tunnel with `ray dashboard FILE`, or name it with --address"
        ) from None
    except ray.exceptions.AuthenticationError:
        raise token_refused(server) from None
    return client


def _quieten_ray() -> None:
    """Show only Ray's warnings while it packs and sends the code, such as those of large files, and none of the folders
    that it excludes by itself: they are in `EXCLUDES`."""
    os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):  # each has a level
        logging.getLogger(name).setLevel(logging.WARNING)


async def _print_logs(client: Any, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
