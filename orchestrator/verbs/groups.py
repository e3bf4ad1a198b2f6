"""The verbs of two words, such as `data prepare`. They only parse, as `orchestrator/cli.py` does."""

from __future__ import annotations

from pathlib import Path

import typer

from orchestrator.verbs import options as of
from orchestrator.verbs.options import example

data = typer.Typer(no_args_is_help=True, help="Prepare and check data sets.")
clusters = typer.Typer(no_args_is_help=True, help="Check cluster files and running clusters; start one.")


@clusters.command("check", epilog=example("cluster check clusters/gpu.yaml", "cluster check auto --storage /shared"))
def check_cluster(target: of.Target, storage: of.CheckedStorage = None) -> None:
    """Check a cluster file offline, or a running cluster on every node."""
    from orchestrator.cluster.check import check_cluster

    check_cluster(target, storage)


@clusters.command("up", epilog=example("cluster up clusters/gpu.yaml"))
def start_cluster(file: of.ClusterFile) -> None:
    """Check a cluster file, then start its cluster with `ray up`; it is not started while anything is wrong."""
    from orchestrator.cluster.start import start_cluster

    start_cluster(file)


@data.command(
    "prepare",
    epilog=example(
        "data prepare synthetic",
        "data prepare cub --root data --source ~/CUB_200_2011.tgz",
        "data prepare coco annotations=instances.json images=photos test=0.2 --root data/mine",
    ),
)
def prepare_data(
    name: of.DatasetName, settings: of.Settings = None, root: of.Root = Path("data"), source: of.Source = None
) -> None:
    """Prepare a data set: download what needs no login, say what else to get, unpack or link it, and verify. The same
    command again continues. Or convert annotations in the format of coco, voc or yolo."""
    from orchestrator.verbs.data import prepare_data

    prepare_data(name, root, settings or [], source)


@data.command(
    "check", epilog=example("data check cub --root data", "data check folder --root data/mine --pictures looked")
)
def check_data(
    name: of.DatasetName, settings: of.Settings = None, root: of.Root = Path("data"), pictures: of.Pictures = None
) -> None:
    """Verify that every image of a prepared data set is there and has its size; draw some with their annotations."""
    from orchestrator.verbs.data import check_data

    check_data(name, root, settings or [], pictures)
