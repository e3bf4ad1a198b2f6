"""Connects to Ray, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.cluster.autoscaler import autoscaler_maximum
from orchestrator.cluster.environment import ready_for_ray
from orchestrator.cluster.nodes import REINSTALL, on_every_node, version_differences
from orchestrator.cluster.plan import HEAD, local_resources
from orchestrator.runs.provenance import versions
from wsol.errors import InputError

SECONDS_TO_ANSWER = 10  # a port that is open takes a connection in far less


QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


ALONE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_AUTH_MODE": "token"}


SHARED = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900"}  # an autoscaler needs minutes for a machine


TOKEN_PLACES = "RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token, in this order"


@contextmanager
def connected(
    address: str | None, packages: Sequence[str] = (), *, same_versions: bool = True
) -> Iterator[dict[str, float]]:
    """Connect to Ray for the time of the block; yields the resource totals of the cluster, including what its
    autoscaler may add.

    Args:
        address: the address of a running cluster, or None for one on this machine that ends with the block.
        packages: those that plugins of the search are from, see `orchestrator.experiment.foreign.packages_of`.
        same_versions: refuse a running cluster whose nodes hold other versions than this process.

    Raises:
        InputError: nothing answers at the address, the token is wrong, or versions differ.
    """
    for name, value in {**QUIET, **(ALONE if address is None else SHARED)}.items():
        os.environ.setdefault(name, value)
    if address is not None:
        use_token()
    import ray

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # which trials failed, and why, is told by us
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    if address is None:
        _start()
    else:
        _join(address)
    with contextlib.suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)  # Ray leaves its token readable by everybody
    try:
        if address is not None:
            _require_that_nodes_use_the_token(address)
            if same_versions:
                _require_same_versions(packages)
        totals = ray.cluster_resources()
        yield {
            name: max(totals.get(name, 0.0), limit)
            for name, limit in {**totals, **(autoscaler_maximum() if address else {})}.items()
        }
    finally:
        ray.shutdown()


def use_token() -> None:
    """Use the token if there is one; a token file alone does not make a client use it."""
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if named or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def uses_token() -> bool:
    """Whether the Ray processes that this one belongs to, or will talk to, authenticate by a token."""
    return os.environ.get("RAY_AUTH_MODE") == "token"


def _require_that_nodes_use_the_token(address: str) -> None:
    """Refuse a cluster without a token if this process has one: it accepts calls, but cannot call back, so every trial
    would die."""
    if not uses_token():
        return
    answers = on_every_node(uses_token)
    if not any(answer is True for answer in answers.values()) and False in answers.values():
        raise InputError(
            f"--address {address}: the cluster was started without a token and this process has one, so that trials"
            " could not report: start the cluster with RAY_AUTH_MODE=token, or set RAY_AUTH_MODE=disabled here"
        )


def _require_same_versions(packages: Sequence[str]) -> None:
    here = versions(packages)
    answers = on_every_node(versions, packages)
    problems = [problem for node, there in answers.items() if (problem := version_differences(node, here, there))]
    if problems:
        raise InputError("versions differ between this process and the cluster's nodes:\n" + "\n".join(problems))


def _start() -> None:
    folder = ready_for_ray()
    import ray

    local = local_resources()
    ray.init(
        _temp_dir=str(folder),
        address="local",
        num_cpus=int(local["CPU"]),
        num_gpus=int(local["GPU"]),
        resources={HEAD: 1000},
        include_dashboard=False,
        object_store_memory=256 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens; Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: no connection ({error.strerror or error}); is the cluster up, and is the address"
            " right?"
        ) from None


def token_refused(place: str) -> InputError:
    """The error for a process whose token differs from the cluster's."""
    return InputError(
        f"{place}: the cluster refuses the token; it must be the one the cluster was started with, in {TOKEN_PLACES}"
    )


def _require_accepted_token(address: str) -> None:
    """Check the token first: Ray tries a refused one for 20 seconds, and then says that nobody answers."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        with _silent_errors():
            GcsClient(address=address)
    except ray.exceptions.AuthenticationError:
        raise token_refused(f"--address {address}") from None
    except Exception:  # of another kind of address, or another trouble, which `ray.init` will tell
        return


@contextmanager
def _silent_errors() -> Iterator[None]:
    """Drop everything that is written to standard error, also by native code."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _join(address: str) -> None:
    import ray

    _require_answer(address)
    _require_accepted_token(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, ray.exceptions.AuthenticationError) as error:
        hint = "is the cluster up, is the address right, and is its token in RAY_AUTH_TOKEN or ~/.ray/auth_token?"
        raise InputError(f"--address {address}: no connection ({str(error).partition('. ')[0]}); {hint}") from None
    except RuntimeError as error:
        raise InputError(
            f"--address {address}: {error}; {REINSTALL}, or submit a job, which runs on the cluster: `launch.py submit`"
        ) from None
