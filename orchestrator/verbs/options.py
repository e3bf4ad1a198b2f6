"""The arguments and options of the command line, each defined once, and the examples that end each help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.preflight.place import named_place
from wsol.files import exists


def example(*commands: str) -> str:
    """The end of a verb's help text: commands that work, the most common one first."""
    lines = "\n".join(f"  python launch.py {command}" for command in commands)
    return f"\b\n{'Example' if len(commands) == 1 else 'Examples'}:\n{lines}"


def places_and_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Split words into those that name files or folders and those that are `KEY=VALUE`. A word with `=` is a change
    unless a file of that name exists."""
    overrides = [word for word in words if "=" in word and not exists(Path(word))]
    return [word for word in words if word not in overrides], overrides


SpaceFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="a search-space file, such as search_spaces/synthetic.yaml")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="change values of the file: optim.lr=1e-4 study.trials=8; or choose variant=NAME"
    ),
]
CampaignFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="a campaign file, such as search_spaces/campaigns/demo.yaml")
]
CampaignOverrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="change the campaign: trials=4; or every cell: training.epochs=2"),
]
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE... [KEY=VALUE]...", help="search-space or campaign files, and changes of their values"
    ),
]
NewRun = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", parser=named_place, help="run folder (default: runs/<file name>[-<variant>])"),
]
CampaignFolder = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", parser=named_place, help="folder of all runs (default: runs/<file name>)"),
]
Address = Annotated[str | None, typer.Option(help="address of a Ray cluster, or auto; default: Ray on this machine")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be done, and how long it would take")]

Run = Annotated[Path, typer.Argument(metavar="RUN", parser=named_place, help="folder of a run")]
SearchRun = Annotated[Path, typer.Argument(metavar="RUN", parser=named_place, help="folder of a search")]
Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...", parser=named_place, help="finished runs; the others are compared with the first one"
    ),
]
SweptRuns = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN... [post_hoc.PATH=[VALUE,...]]...",
        help="finished runs that differ only in their seed, and post-hoc values",
    ),
]
OfPostHoc = Annotated[
    Path | None,
    typer.Option("--experiment", metavar="FILE", help="a search-space file; only its post_hoc section is used"),
]
Beside = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RUN",
        parser=named_place,
        help="another search for the same objective, drawn in the same figure; may be repeated",
    ),
]

Resumed = Annotated[str | None, typer.Argument(metavar="RUN", help="folder of an interrupted run or campaign")]
ResumeOverrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="change resources.*, or the bounds of the search: study.trials=60"),
]
SameAsRun = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", parser=named_place, help="another way to give RUN")
]
FromStore = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="ADDRESS", help="first restore RUN from an object store, such as s3://bucket/prefix/cam_cub"
    ),
]
RetriedTrials = Annotated[
    list[int] | None, typer.Option(metavar="N", help="number of a failed trial; may be repeated (default: all)")
]
AllFailed = Annotated[bool, typer.Option("--failed", help="retry all failed trials (the default)")]
ReplayedTrials = Annotated[
    list[int] | None, typer.Option(metavar="N", help="number of a trial; may be repeated (default: all completed ones)")
]
ReplayRun = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", parser=named_place, help="run folder (default: RUN-replay)"),
]

Scored = Annotated[
    str | None, typer.Argument(metavar="RUN", help="folder of a finished run; with --import: the checkpoint")
]
EvaluateOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="with --experiment: change values of the file; with RUN: post_hoc.PATH=[VALUE,...]",
    ),
]
ScoredSplit = Annotated[str, typer.Option(help="train_fullsup or test")]
TestAgain = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="evaluate test although it was evaluated before; the reason is recorded"),
]
SaveMaps = Annotated[
    Path | None, typer.Option(metavar="DIR", parser=named_place, help="write the raw maps as <image_id>.npy")
]
Maps = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", parser=named_place, help="score these maps, <image_id>.npy (h, w) of any size, instead of a run"
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        "--import", metavar="LAYOUT", help="RUN is a released checkpoint in the layout of wsolevaluation, ..."
    ),
]
OfExperiment = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="a search-space file: its data set and metrics are used; with RUN, its post_hoc section"
    ),
]
ImportRun = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="DIR", parser=named_place, help="with --import: run folder (default: runs/<checkpoint>)"
    ),
]
Baseline = Annotated[str | None, typer.Option(help="score this baseline instead of a run: center_gaussian")]
BaselineMetadata = Annotated[
    Path | None, typer.Option(help="with --baseline: folder with the four metadata files of a split")
]
GridSide = Annotated[int, typer.Option(min=8, help="with --baseline: side of the evaluation grid in pixels")]

FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", parser=named_place, help="folder of a finished run")]
Predicted = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER...", parser=named_place, help="image files, or folders that are searched for images"
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", parser=named_place, help="folder of the results, new or empty")
]
RawMaps = Annotated[bool, typer.Option("--maps", help="write the raw maps as well, DIR/maps/<image>.npy")]
Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="T", help="score threshold of the boxes, in [0, 1) (default: the one chosen on train_fullsup)"
    ),
]

Metrics = Annotated[
    list[str] | None,
    typer.Option(help="a metric, such as top1 or max_box_acc_by_size/small; may be repeated (default: max_box_acc_v2)"),
]
ComparedSplit = Annotated[str, typer.Option(help="test or train_fullsup")]
Form = Annotated[
    Literal["markdown", "latex", "html", "csv"] | None,
    typer.Option("--format", help="print one table of all metrics in this format"),
]

Images = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        parser=named_place,
        help="folder of your images, with metadata/train, metadata/val and metadata/test",
    ),
]
ExportForm = Annotated[
    Literal["hub", "safetensors", "onnx", "torchscript"],
    typer.Option("--format", help="hub: config.json, safetensors, model card; onnx, torchscript: the network alone"),
]
ExportFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", parser=named_place, help="folder of the files (default: RUN-FORMAT)"),
]

Kind = Annotated[str, typer.Argument(help="methods, backbones, datasets, extractors, normalizers or metrics")]
PluginName = Annotated[str, typer.Argument(metavar="NAME", help="see `list`")]

Job = Annotated[
    list[str],
    typer.Argument(metavar="-- VERB ...", help="what to run there, such as: -- search search_spaces/synthetic.yaml"),
]
JobServer = Annotated[
    str | None,
    typer.Option(help="job server of the cluster (default: $RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265)"),
]
SharedFolder = Annotated[
    str, typer.Option(metavar="DIR", help="folder that every node sees; the job works in it, on its data/ and runs/")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="wait for the job and print its output")]
Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE|ADDRESS", help="clusters/*.yaml, checked offline; or a running cluster: auto, host:port"
    ),
]
ClusterFile = Annotated[Path, typer.Argument(metavar="FILE", help="clusters/*.yaml, a file for `ray up`")]
CheckedStorage = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|ADDRESS", help="with ADDRESS: also test a folder that every node should see, or s3://bucket/prefix"
    ),
]

DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="a data set, see `list datasets`; prepare also takes annotations: coco, voc or yolo"
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="settings of the data set or the annotations, such as metadata=DIR or annotations=FILE",
    ),
]
Root = Annotated[Path, typer.Option(parser=named_place, help="folder that holds the data sets")]
Pictures = Annotated[
    Path | None,
    typer.Option(metavar="DIR", parser=named_place, help="draw images of each split with their boxes or masks"),
]
Source = Annotated[
    Path | None, typer.Option(help="folder with the archives that you already have (default: ROOT/downloads)")
]
