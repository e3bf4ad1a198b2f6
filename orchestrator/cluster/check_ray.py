"""Checks files for `ray up` before any cloud is asked: Ray's schema, versions, safety, shell, cost."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from orchestrator.cluster.autoscaler import largest_amounts
from orchestrator.cluster.check_credentials import credentials_finding
from orchestrator.cluster.cluster_file import REHEARSAL, ClusterFile
from orchestrator.cluster.findings import Finding, State
from orchestrator.cluster.plan import HEAD
from orchestrator.experiment.paths import Values
from orchestrator.runs.provenance import versions
from wsol.schema import first_problem

DASHBOARD = re.compile(r"--dashboard-host(?:=|\s+)[\"'\\]*(?P<host>[^\s\"'\\;&|]*)")


LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|\[?::1\]?")


RIGHTS = {
    r"--privileged\b(?!=false)": "--privileged",
    r"--(?:pid|ipc|uts|userns|cgroupns)[= ]host": "a namespace of its machine",
    r"docker\.sock": "docker's socket",
    r"(?:-v|--volume)[= ]+[\"']?/:|source=/,": "the whole disk of its machine",
    r"--cap-add[= ]+\S*(?:ALL|SYS_ADMIN|SYS_PTRACE|SYS_MODULE|NET_ADMIN)": "capabilities of root",
}
"""Docker options that make whoever is in the container root on its machine."""


TOKEN = ".ray/auth_token"


def check_ray_file(config: Values) -> Iterator[Finding]:
    """Check the content of a file for `ray up`; only the schema, if Ray does not accept it."""
    prepared, schema = fill_in_defaults(config)
    if prepared is None:
        yield schema
        return
    try:
        file = ClusterFile.model_validate(prepared)
    except ValidationError as error:
        yield Finding("schema", "wrong", first_problem(error))
        return
    yield schema
    yield _size(file, largest_amounts(prepared))
    yield from _findings(file)


def fill_in_defaults(config: Values) -> tuple[Values | None, Finding]:
    """The file with Ray's defaults filled in, if Ray's own schema accepts it, and the finding about the schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        with _quiet():
            rehearsal = config.get("provider", {}).get("type") == REHEARSAL  # Ray ships no defaults for it
            prepared: Values = config if rehearsal else prepare_config(config)
            validate_config(prepared)
    except Exception as error:  # whatever stops Ray: jsonschema's, click's, missing keys
        place = ".".join(str(part) for part in getattr(error, "absolute_path", []))
        message = getattr(error, "message", None) or str(error) or type(error).__name__
        return None, Finding("schema", "wrong", f"{place + ': ' if place else ''}{message}")
    return prepared, Finding(
        "schema", "ok", f"Ray {versions()['ray']} accepts it for provider {prepared['provider']['type']}"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Ray, which reports at length what it fills in."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _findings(file: ClusterFile) -> Iterator[Finding]:
    yield _shell(file)
    yield _head(file)
    if file.provider.type == REHEARSAL:
        return
    yield _image(file)
    yield _setup(file)
    yield _dashboard(file)
    yield _container(file)
    yield _token(file)
    yield _mounts(file)
    yield credentials_finding(file)
    if file.provider.type == "aws":
        yield _stopped_machines(file)
        yield from _instances(file)


def _size(file: ClusterFile, largest: dict[str, float]) -> Finding:
    kept = sum(kind.min_workers for kind in file.available_node_types.values())
    most = {name: amount for name, amount in largest.items() if amount}
    amounts = ", ".join(f"{amount:g} {name}" for name, amount in sorted(most.items())) or "what Ray detects on them"
    leave = f"the others leave after {file.idle_timeout_minutes:g} idle minutes"
    return Finding("size", "ok", f"at most {file.max_workers} workers with {amounts}; {kept} always on, {leave}")


def _shell(file: ClusterFile) -> Finding:
    """Check the commands with bash's parser."""
    for section, commands in {**file.setup(), **file.start()}.items():
        for command in commands:
            parsed = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            if parsed.returncode:
                return Finding("shell", "wrong", f"{section}: {command}: {parsed.stderr.strip()}")
    return Finding("shell", "ok", "bash can parse every command")


def _head(file: ClusterFile) -> Finding:
    resources = file.available_node_types[file.head_node_type].resources
    if HEAD in resources or any(f'"{HEAD}"' in command for command in file.head_start_ray_commands):
        return Finding("head", "ok", f"holds the drivers of trials, through its resource `{HEAD}`")
    return Finding(
        "head", "note", f"has no resource `{HEAD}`: drivers of trials may land on machines that leave; add {HEAD}: 1000"
    )


def _image(file: ClusterFile) -> Finding:
    image = file.docker.image
    if not image:
        return Finding(
            "versions", "note", "no container: the versions are those of the setup commands; every search compares them"
        )
    ours = versions()
    python = "py" + "".join(ours["python"].split(".")[:2])
    found = re.search(r":(\d+\.\d+\.\d+)-(py\d+)", image)
    if found is None:
        return Finding(
            "versions",
            "note",
            f"{image}: not an image of Ray's own; it needs Ray {ours['ray']} and Python {ours['python']}",
        )
    if found[1] != ours["ray"]:
        return Finding(
            "versions", "wrong", f"{image}: here is Ray {ours['ray']}; use rayproject/ray:{ours['ray']}-{python}-gpu"
        )
    if found[2] != python:
        return Finding(
            "versions",
            "note",
            f"{image}: here is Python {ours['python']}; jobs run all the same, a search from here cannot join",
        )
    return Finding("versions", "ok", f"{image}, as here")


def _setup(file: ClusterFile) -> Finding:
    commands = " ".join(command for section in file.setup().values() for command in section)
    if "dev0" in commands:
        return Finding(
            "setup",
            "wrong",
            "the setup commands are Ray's default, which installs a nightly Ray; write `setup_commands` out",
        )
    if "constraints.txt" not in commands:
        return Finding(
            "setup",
            "note",
            "the setup commands do not install with constraints.txt: versions may differ from those of `make`",
        )
    return Finding("setup", "ok", "installs with constraints.txt")


def _dashboard(file: ClusterFile) -> Finding:
    """Whoever reaches the dashboard can start jobs. By Ray's default it listens on loopback only."""
    hosts = [match["host"] for command in file.head_start_ray_commands for match in DASHBOARD.finditer(command)]
    reached = [host or "every address" for host in hosts if not LOOPBACK.fullmatch(host)]
    if reached:
        return Finding(
            "dashboard",
            "wrong",
            f"is open to the network ({', '.join(reached)}); start the head with --dashboard-host=127.0.0.1 and use"
            " `ray dashboard`",
        )
    return Finding("dashboard", "ok", "on the head's loopback")


def _container(file: ClusterFile) -> Finding:
    rights = [what for pattern, what in RIGHTS.items() if re.search(pattern, file.docker.options())]
    if rights:
        return Finding(
            "container",
            "wrong",
            f"is given {', '.join(rights)}: whoever is in it is root on its machine; leave that out",
        )
    return Finding("container", "ok", "has no rights on its machine" if file.docker.image else "there is none")


def _token(file: ClusterFile) -> Finding:
    options = " ".join(file.docker.run_options)
    starts = [command for section in file.start().values() for command in section if "ray start" in command]
    if not all("RAY_AUTH_MODE=token" in options + command for command in starts):
        return Finding(
            "token",
            "wrong",
            "Ray starts without authentication; put `-e RAY_AUTH_MODE=token` into docker.run_options",
        )
    if not any(remote.endswith(TOKEN) for remote in file.file_mounts):
        return Finding("token", "wrong", "no node gets the token: mount ~/.ray/auth_token in file_mounts")
    commands = " ".join(command for section in file.setup().values() for command in section)
    if not re.search(r"chmod (0?[46]00|go-rwx|go=) \S*" + re.escape(TOKEN), commands):
        return Finding(
            "token", "note", "other users of a node may read it: begin setup_commands with chmod 600 and its path"
        )
    return Finding("token", "ok", "required on every node, and readable by its owner only")


def _mounts(file: ClusterFile) -> Finding:
    places = {local: Path(local).expanduser() for local in file.file_mounts.values()}
    absent = [local for local, place in places.items() if not place.exists()]
    if absent:
        hint = (
            "; make the token with `ray get-auth-token --generate`" if any(TOKEN in local for local in absent) else ""
        )
        return Finding("files", "note", f"not here: {', '.join(absent)}; run from the root of the checkout{hint}")
    shared = [local for local, place in places.items() if local.endswith(TOKEN) and place.stat().st_mode & 0o077]
    if shared:
        return Finding("files", "note", f"other users of this machine may read the token: chmod 600 {' '.join(shared)}")
    return Finding("files", "ok", f"{len(file.file_mounts)} files and folders to send")


def _stopped_machines(file: ClusterFile) -> Finding:
    if file.provider.cache_stopped_nodes:
        return Finding(
            "idle cost",
            "note",
            "stopped machines keep their disks, which are billed; set provider.cache_stopped_nodes: false",
        )
    return Finding("idle cost", "ok", "machines are terminated, not stopped")


def _instances(file: ClusterFile) -> Iterator[Finding]:
    """Every `node_config` against the published parameters of EC2's RunInstances, which ship with botocore."""
    try:
        from botocore.loaders import Loader
        from botocore.model import ServiceModel
        from botocore.validate import ParamValidator
    except ImportError:
        yield Finding(
            "machines", "note", "node_config was not checked: `pip install boto3`, which `ray up` needs as well"
        )
        return
    model = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
    shape = model.operation_model("RunInstances").input_shape
    for name, kind in file.available_node_types.items():
        parameters = {key: value for key, value in kind.node_config.items() if key != "SubnetIds"}
        report = ParamValidator().validate({"MinCount": 1, "MaxCount": 1, **parameters}, shape)
        state: State = "wrong" if report.has_errors() else "ok"
        yield Finding(
            f"machines: {name}",
            state,
            report.generate_report() if report.has_errors() else str(parameters.get("InstanceType")),
        )
