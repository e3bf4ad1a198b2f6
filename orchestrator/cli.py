"""The command line. It only parses: every verb passes its arguments on to the file of its name in `verbs/`. These files
are imported on demand, because most of them need heavy packages."""

from __future__ import annotations

from pathlib import Path

import typer

from orchestrator.preflight.place import named_place
from orchestrator.verbs import groups
from orchestrator.verbs import options as of
from orchestrator.verbs.ending import exit_codes
from orchestrator.verbs.options import example

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train and search methods of weakly supervised object localization. Select on train_fullsup, test once.",
)
app.add_typer(groups.data, name="data")
app.add_typer(groups.clusters, name="cluster")


@app.command(epilog=example("init photos"))
def init(folder: of.Images) -> None:
    """Write a commented search space for a folder of your own images, ready for `search`."""
    from orchestrator.verbs.init import init

    init(folder)


@app.command(
    epilog=example(
        "search search_spaces/synthetic.yaml study.trials=8",
        "search search_spaces/crop_imagenet.yaml variant=vgg16 --dry-run",
    )
)
def search(
    file: of.SpaceFile,
    overrides: of.Overrides = None,
    run: of.NewRun = None,
    address: of.Address = None,
    dry_run: of.DryRun = False,
) -> None:
    """Search the space of a file, choose the winner on train_fullsup, test it once, and write the report."""
    from orchestrator.preflight.dry_run import print_dry_run
    from orchestrator.verbs.search import search

    if dry_run:
        print_dry_run(file, overrides or [], run)
    else:
        search(file, overrides or [], run, address)


@app.command(
    epilog=example(
        "train search_spaces/synthetic.yaml optim.lr=1e-3 --run runs/mine",
        "train runs/mine/best.yaml seed=1 --run runs/again",
    )
)
def train(file: of.SpaceFile, overrides: of.Overrides = None, run: of.NewRun = None) -> None:
    """Train only the published point of a file, without Ray; also under torchrun."""
    from orchestrator.verbs.train import train

    train(file, overrides or [], run)


@app.command(
    epilog=example(
        "protocol search_spaces/campaigns/demo.yaml --dry-run",
        "protocol search_spaces/campaigns/demo.yaml trials=4 training.epochs=2",
    )
)
def protocol(
    file: of.CampaignFile,
    overrides: of.CampaignOverrides = None,
    run: of.CampaignFolder = None,
    address: of.Address = None,
    dry_run: of.DryRun = False,
) -> None:
    """Search methods x backbones x data sets with the same budget, test each winner once, and rank them. The same
    command again continues."""
    from orchestrator.verbs.protocol import print_forecast
    from orchestrator.verbs.protocol import protocol as run_protocol

    if dry_run:
        print_forecast(file, overrides or [], run)
    else:
        run_protocol(file, overrides or [], run, address)


@app.command(
    epilog=example(
        "resume runs/synthetic",
        "resume runs/synthetic study.trials=60",
        "resume runs/cam --from s3://bucket/prefix/cam",
    )
)
def resume(
    folder: of.Resumed = None,
    overrides: of.ResumeOverrides = None,
    run: of.SameAsRun = None,
    address: of.Address = None,
    store: of.FromStore = None,
) -> None:
    """Continue an interrupted search, training or campaign, or give a finished search more trials."""
    from orchestrator.verbs.resume import resume

    words = [*([] if folder is None else [folder]), *(overrides or [])]
    if run is None and not words:
        raise typer.BadParameter("give the run folder")
    resume(run or named_place(words.pop(0)), words, address, store)


@app.command(epilog=example("retry runs/synthetic", "retry runs/synthetic --trial 3"))
def retry(
    folder: of.SearchRun,
    trial: of.RetriedTrials = None,
    failed: of.AllFailed = False,
    address: of.Address = None,
) -> None:
    """Train failed trials again with the same values, from their last checkpoints."""
    from orchestrator.verbs.resume import retry

    if failed and trial:
        raise typer.BadParameter("give --failed or --trial, not both")
    retry(folder, trial or None, address)


@app.command(epilog=example("replay runs/synthetic --trial 0 --run runs/once-more"))
def replay(
    folder: of.SearchRun,
    trial: of.ReplayedTrials = None,
    run: of.ReplayRun = None,
    address: of.Address = None,
) -> None:
    """Train recorded points of a search again and compare their values with the recorded ones."""
    from orchestrator.verbs.replay import replay

    replay(folder, trial or None, run, address)


@app.command(
    epilog=example(
        "evaluate runs/cam --split test",
        "evaluate runs/cam 'post_hoc.evaluation.normalizer=[{name: pas}, {name: max}]'",
        "evaluate --maps maps --experiment search_spaces/cam_cub.yaml",
        "evaluate --import wsolevaluation last.pth.tar --experiment search_spaces/cam_cub.yaml",
        "evaluate --baseline center_gaussian --metadata metadata/CUB/test",
    )
)
def evaluate(
    run: of.Scored = None,
    overrides: of.EvaluateOverrides = None,
    split: of.ScoredSplit = "train_fullsup",
    test_again: of.TestAgain = None,
    save_maps: of.SaveMaps = None,
    maps: of.Maps = None,
    layout: of.Layout = None,
    experiment: of.OfExperiment = None,
    into: of.ImportRun = None,
    baseline: of.Baseline = None,
    metadata: of.BaselineMetadata = None,
    image_size: of.GridSide = 224,
) -> None:
    """Score the winner of a run, maps from elsewhere, a released checkpoint, or a baseline that needs only metadata."""
    from orchestrator.verbs.asked import Asked, evaluate_as_asked

    words = [*([] if run is None else [run]), *(overrides or [])]
    given = (split, test_again, save_maps, maps, layout, experiment, into, baseline, metadata, image_size)
    evaluate_as_asked(Asked(tuple(words), *given))


@app.command(epilog=example("predict runs/cam photos --out predictions", "predict runs/cam a.jpg b.png --out o --maps"))
def predict(
    run: of.FinishedRun, images: of.Predicted, out: of.Out, maps: of.RawMaps = False, threshold: of.Threshold = None
) -> None:
    """Predict class and boxes of images without annotations, with the winner of a run; write tables and overlays."""
    from orchestrator.verbs.predict import predict

    predict(run, images, out, maps=maps, threshold=threshold)


@app.command(
    epilog=example(
        "compare runs/cam runs/has --metric max_box_acc_v2 --metric top1", "compare runs/cam runs/has --format latex"
    )
)
def compare(
    folders: of.Runs, metric: of.Metrics = None, split: of.ComparedSplit = "test", form: of.Form = None
) -> None:
    """Compare finished runs: 95 % intervals over images and seeds, paired bootstrap of the gain, published numbers."""
    from orchestrator.verbs.compare import print_comparison

    print_comparison(folders, metric or ["max_box_acc_v2"], split, form)


@app.command(
    epilog=example(
        "sweep runs/cam --experiment search_spaces/extractors_tiny_imagenet.yaml",
        "sweep runs/cam-1 runs/cam-2 'post_hoc.evaluation.normalizer=[{name: pas}, {name: max}]' --split test",
    )
)
def sweep(
    words: of.SweptRuns,
    experiment: of.OfPostHoc = None,
    metric: of.Metrics = None,
    split: of.ScoredSplit = "train_fullsup",
    form: of.Form = None,
) -> None:
    """Score finished runs that differ only in their seed under every post-hoc setting; nothing is chosen."""
    from orchestrator.verbs.sweep import print_sweep

    places, overrides = of.places_and_overrides(words)
    if not places:
        raise typer.BadParameter("give a run folder")
    print_sweep(list(map(named_place, places)), experiment, overrides, metric or ["max_box_acc_v2"], split, form)


@app.command(epilog=example("export runs/cam --format hub", "export runs/cam --format onnx --out models/cam"))
def export(folder: of.Run, form: of.ExportForm = "hub", out: of.ExportFolder = None) -> None:
    """Export the winner of a run: for the Hugging Face hub, as safetensors, or as one network (ONNX, TorchScript)."""
    from orchestrator.verbs.export import export

    export(folder, form, out)


@app.command(epilog=example("report runs/synthetic", "report runs/tpe --beside runs/random"))
def report(folder: of.Run, beside: of.Beside = None) -> None:
    """Write report.html of a run, whether it is running or finished."""
    from orchestrator.verbs.report import report

    report(folder, beside or ())


@app.command(epilog=example("status runs/synthetic"))
def status(folder: of.Run) -> None:
    """Show the progress of a search or a campaign: what runs, when it will end, what waits and why, what failed."""
    from orchestrator.verbs.status import print_status

    print_status(folder)


@app.command(
    epilog=example("validate search_spaces/synthetic.yaml", "validate search_spaces/cam_cub.yaml optim.lr=1e-3")
)
def validate(words: of.Words) -> None:
    """Check search-space files, with all of their variants, and campaign files, without running anything."""
    from orchestrator.verbs.validate import validate

    places, overrides = of.places_and_overrides(words)
    if not places:
        raise typer.BadParameter("give a search-space file")
    if not validate(list(map(Path, places)), overrides):
        raise typer.Exit(2)


@app.command("list", epilog=example("list methods"))
def list_plugins(kind: of.Kind) -> None:
    """List the plugins of a kind, with a line for each."""
    from orchestrator.verbs.plugins import print_list

    print_list(kind)


@app.command(epilog=example("describe methods cam"))
def describe(kind: of.Kind, name: of.PluginName) -> None:
    """Explain a plugin: its idea, paper and symbols, differences from the released code, settings, search spaces."""
    from orchestrator.verbs.plugins import print_description

    print_description(kind, name)


@app.command(epilog=example("submit --address http://127.0.0.1:8265 -- search search_spaces/synthetic.yaml"))
def submit(
    words: of.Job, address: of.JobServer = None, storage: of.SharedFolder = "/shared", wait: of.Wait = True
) -> None:
    """Run a verb as a job on a Ray cluster, with the code of this checkout."""
    from orchestrator.cluster.submit import submit as submit_job

    submit_job(words, address, storage, wait=wait)


def main() -> None:
    """Run the verb that the command line names; see `exit_codes` for how it ends."""
    from orchestrator.console import go_on_unread

    go_on_unread()
    with exit_codes():
        app()
