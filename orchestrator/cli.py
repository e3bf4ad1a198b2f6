"""The verbs. No logic: every verb parses its words and calls what does it, mostly in `workflow.py`. Heavy packages are
imported on demand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=__doc__
    and "Train and search methods of weakly supervised object localization. Select on train_fullsup, test once.",
)
data = typer.Typer(no_args_is_help=True, help="Prepare and check data sets.")
app.add_typer(data, name="data")
clusters = typer.Typer(no_args_is_help=True, help="Check cluster files and running clusters.")
app.add_typer(clusters, name="cluster")

File = Annotated[Path, typer.Argument(metavar="FILE", help="a search-space file, such as search_spaces/synthetic.yaml")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="change values of the file: optim.lr=1e-4 study.trials=8; or variant=NAME"
    ),
]
Run = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="run folder (default: runs/<file name>, and -<variant>)")
]
Dataset = Annotated[str, typer.Argument(metavar="NAME", help="a data set: see `list datasets`")]
Kind = Annotated[str, typer.Argument(help="methods, backbones, datasets, extractors, normalizers or metrics")]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings of the data set, such as metadata=DIR")
]
Root = Annotated[str, typer.Option(help="folder of data sets")]
Address = Annotated[str | None, typer.Option(help="address of a Ray cluster, or auto; default: Ray on this machine")]


@app.command()
def search(
    file: File,
    overrides: Overrides = None,
    run: Run = None,
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be done, and how long it would take")
    ] = False,
) -> None:
    """Search the file's space, pick the winner on train_fullsup, test it once, write the report."""
    from orchestrator.preflight.dry_run import print_dry_run
    from orchestrator.verbs.search import search

    if dry_run:
        print_dry_run(file, overrides or [], run)
    else:
        search(file, overrides or [], run, address)


@app.command()
def train(file: File, overrides: Overrides = None, run: Run = None) -> None:
    """Train the file's published point only, without Ray; also under torchrun."""
    from orchestrator.verbs.train import train

    train(file, overrides or [], run)


@app.command()
def protocol(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="a campaign file, such as search_spaces/campaigns/demo.yaml")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="change the campaign: trials=4; or every cell: training.epochs=2"
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="folder of all runs (default: runs/<file name>)")
    ] = None,
    address: Address = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would take")] = False,
) -> None:
    """Search methods x backbones x data sets with the same budget, test each winner once, rank them; again, to go
    on."""
    from orchestrator.verbs.protocol import protocol as run_protocol

    run_protocol(file, overrides or [], run, address, dry_run=dry_run)


@app.command()
def resume(
    folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="folder of an interrupted run or campaign")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="resources.*, or more: study.trials=60")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="the same as RUN")] = None,
    address: Address = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="ADDRESS", help="make RUN of the store of a run first, such as s3://bucket/prefix/cam_cub"
        ),
    ] = None,
) -> None:
    """Go on with an interrupted search, training or campaign, or with a finished search that gets more trials."""
    from orchestrator.verbs.resume import resume

    words = list(overrides or [])
    if folder is not None and run is not None:
        words, folder = [str(folder), *words], None
    chosen = folder or run
    if chosen is None:
        raise typer.BadParameter("give the run folder")
    resume(chosen, words, address, store)


@app.command()
def retry(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a search")],
    trial: Annotated[list[int] | None, typer.Option(metavar="N", help="only this trial; may be repeated")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="all trials that failed (the default)")] = False,
    address: Address = None,
) -> None:
    """Train failed trials again with the same values, from their last checkpoints."""
    from orchestrator.verbs.resume import retry

    if failed and trial:
        raise typer.BadParameter("give --failed or --trial, not both")
    retry(folder, trial or None, address)


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a search")],
    trial: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="only this trial; may be repeated; default: all that completed"),
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="run folder (default: RUN-replay)")] = None,
    address: Address = None,
) -> None:
    """Train recorded points of a search again and compare with what was recorded."""
    from orchestrator.verbs.resume import replay

    replay(folder, trial or None, run, address)


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="folder of a finished run")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="with --experiment: change values of the file; of a RUN: post_hoc.PATH=[...]"
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train_fullsup or test")] = "train_fullsup",
    test_again: Annotated[
        str | None, typer.Option(metavar="REASON", help="evaluate test although it was before; recorded")
    ] = None,
    save_maps: Annotated[Path | None, typer.Option(metavar="DIR", help="write the raw maps as <image_id>.npy")] = None,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="score these maps, <image_id>.npy (h, w) of any size, instead of a run"),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option("--import", metavar="LAYOUT", help="RUN is a released checkpoint, of wsolevaluation, ..."),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="a search-space file, for its data set and metrics; of a RUN: for its post_hoc"
        ),
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="with --import: run folder (default: runs/<checkpoint>)")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="center_gaussian: score this instead of a run")] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="with --baseline: folder with the four metadata files of a split")
    ] = None,
    image_size: Annotated[int, typer.Option(min=8, help="with --baseline: side of the evaluation grid")] = 224,
) -> None:
    """Score the winner of a run, anybody's maps, a released checkpoint, or a baseline on metadata alone."""
    from orchestrator.verbs.evaluate import (
        evaluate,
        evaluate_baseline,
        evaluate_import,
        evaluate_maps,
        evaluate_settings,
    )

    words = [str(run), *(overrides or [])] if run is not None else []
    if split not in ("train_fullsup", "test"):
        raise typer.BadParameter(f"--split {split}: use train_fullsup or test")
    if baseline is not None:
        if baseline != "center_gaussian" or metadata is None or words:
            raise typer.BadParameter("use --baseline center_gaussian --metadata DIR, without a run")
        evaluate_baseline(metadata, image_size)
    elif maps is not None:
        if experiment is None or save_maps is not None or test_again is not None:
            raise typer.BadParameter("use --maps DIR --experiment FILE [KEY=VALUE]... [--split test]")
        evaluate_maps(maps, experiment, words, split)
    elif layout is not None:
        if run is None or experiment is None:
            raise typer.BadParameter("use --import LAYOUT CHECKPOINT --experiment FILE [KEY=VALUE]... [--run DIR]")
        evaluate_import(layout, run, experiment, overrides or [], into)
    elif run is None:
        raise typer.BadParameter("give one run folder; or see --maps, --import and --baseline in `evaluate --help`")
    elif experiment is not None or overrides:
        if split != "train_fullsup" or save_maps is not None or test_again is not None:
            raise typer.BadParameter(
                "post-hoc settings are chosen on train_fullsup: RUN [--experiment FILE] [post_hoc.PATH=[...]]"
            )
        evaluate_settings(run, experiment, overrides or [])
    else:
        evaluate(run, split, test_again, save_maps)


@app.command()
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="finished runs; the first is what the others are compared with"),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="max_box_acc_v2 unless given; top1 or max_box_acc_by_size/small; may be repeated"),
    ] = None,
    split: Annotated[str, typer.Option(help="test or train_fullsup")] = "test",
    form: Annotated[
        Literal["markdown", "latex", "html", "csv"] | None,
        typer.Option("--format", help="one table for all metrics, for elsewhere"),
    ] = None,
) -> None:
    """Compare finished runs: 95 % intervals over images and seeds, the paired bootstrap, published numbers."""
    from orchestrator.verbs.compare import print_comparison

    print_comparison(folders, metric or ["max_box_acc_v2"], split, form)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN")],
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="another search for the same objective, drawn beside; may be repeated"),
    ] = None,
) -> None:
    """Write report.html of a run, running or finished."""
    from orchestrator.report.page import write_report

    typer.echo(write_report(folder, beside or ()))


@app.command()
def status(folder: Annotated[Path, typer.Argument(metavar="RUN")]) -> None:
    """Say how far a search or a campaign is: what runs, when it will end, what waits and why, what failed."""
    from orchestrator.campaign.status import campaign_lines, read_campaign_status
    from orchestrator.console import console
    from orchestrator.report.status import read_status, status_lines
    from orchestrator.runs.folder import is_campaign_folder

    is_campaign = is_campaign_folder(folder)
    for part in (
        campaign_lines(folder, read_campaign_status(folder)) if is_campaign else status_lines(read_status(folder))
    ):
        console.print(part)


@app.command()
def validate(
    words: Annotated[
        list[str],
        typer.Argument(metavar="FILE... [KEY=VALUE]...", help="search-space files, and changes of their values"),
    ],
) -> None:
    """Check search-space files, with all of their variants, and campaign files, without running anything."""
    from orchestrator.campaign.load import is_campaign, load_campaign
    from orchestrator.campaign.model import campaign_in_words
    from orchestrator.experiment.load import load_variants
    from orchestrator.formats import counted, printable
    from wsol.errors import InputError
    from wsol.files import exists

    overrides = [word for word in words if "=" in word and not exists(Path(word))]
    files, wrong = [Path(word) for word in words if word not in overrides], 0
    if not files:
        raise typer.BadParameter("give a search-space file")
    for file in files:
        try:
            if is_campaign(file):
                typer.echo(f"{file}: ok, {campaign_in_words(load_campaign(file, overrides, Path('runs') / file.stem))}")
                continue
            own, variants = load_variants(file, overrides)
        except InputError as error:
            wrong += 1
            typer.echo(printable(str(error)), err=True)
        else:
            more = f", variants {' '.join(variants)}" if variants else ""
            typer.echo(
                f"{file}: ok, {own.trial.method.name} on {own.trial.data.name},"
                f" {counted(len(own.search), 'searched value')}{more}"
            )
    if wrong:
        raise typer.Exit(2)


@app.command("list")
def list_plugins(kind: Kind) -> None:
    """List the plugins of a kind."""
    import textwrap

    from wsol import plugins

    one = _kind_of_plugin(kind)
    for name in plugins.names(one):
        doc = (plugins.load(one, name).__doc__ or "").strip().splitlines()
        typer.echo(textwrap.fill(f"{name:<20} {doc[0] if doc else ''}", 80, subsequent_indent=" " * 21))


@app.command()
def describe(kind: Kind, name: Annotated[str, typer.Argument(metavar="NAME", help="see `list`")]) -> None:
    """Explain a plugin: idea, paper, symbols, what differs from the released code, settings, search spaces."""
    from orchestrator.verbs.describe import page

    try:
        typer.echo(page(_kind_of_plugin(kind), name), nl=False)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _kind_of_plugin(folder: str) -> str:
    from wsol import plugins

    kinds = {folder: name for name, folder in plugins.FOLDERS.items()}
    if folder not in kinds:
        raise typer.BadParameter(f"{folder}{plugins.did_you_mean(folder, list(kinds))}: use one of {', '.join(kinds)}")
    return kinds[folder]


@app.command()
def submit(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="-- VERB ...", help="what to run there, such as: -- search search_spaces/synthetic.yaml"
        ),
    ],
    address: Annotated[
        str | None,
        typer.Option(help="job server of the cluster (default: $RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265)"),
    ] = None,
    storage: Annotated[
        str,
        typer.Option(metavar="DIR", help="folder that every node sees: the job works there, on its data/ and runs/"),
    ] = "/shared",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="stay and print what the job prints")] = True,
) -> None:
    """Run a verb as a job on a Ray cluster, with the code of this checkout."""
    from orchestrator.cluster.submit import submit as submit_job

    submit_job(words, address, storage, wait=wait)


@clusters.command("check")
def check_cluster(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ADDRESS", help="clusters/*.yaml, checked offline; or a running cluster: auto, host:port"
        ),
    ],
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|ADDRESS", help="with ADDRESS: a folder that every node should see, or s3://bucket/prefix"
        ),
    ] = None,
) -> None:
    """Check a cluster file offline, or a running cluster on every node."""
    from orchestrator.cluster.check import check_cluster

    check_cluster(target, storage)


@data.command("prepare")
def prepare_data(
    name: Dataset,
    settings: Settings = None,
    root: Root = "data",
    source: Annotated[
        Path | None, typer.Option(help="folder with the archives that you have; default: ROOT/downloads")
    ] = None,
) -> None:
    """Download what can be, say what else to get, unpack or link, verify; again goes on."""
    from orchestrator.verbs.data import prepare_data

    prepare_data(name, root, settings or [], source)


@data.command("check")
def check_data(name: Dataset, settings: Settings = None, root: Root = "data") -> None:
    """Verify names and sizes of every image of a prepared data set."""
    from orchestrator.verbs.data import check_data

    check_data(name, root, settings or [])


def main() -> None:
    """Run a verb. Exit code 0 done, 1 failed, 2 bad input, 130 interrupted and resumable."""
    from orchestrator.formats import printable
    from wsol.errors import InputError, RunFailed

    try:
        app()
    except InputError as error:
        typer.echo(printable(f"error: {error}"), err=True)
        sys.exit(2)
    except RunFailed as error:
        typer.echo(printable(f"failed: {error}"), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
