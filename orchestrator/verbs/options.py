"""What the verbs take, said once: arguments and options of the command line, and the example that ends each help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.preflight.place import named_place
from wsol.files import exists


def example(*commands: str) -> str:
    """What a verb's help ends with: commands that work, the first one most often."""
    lines = "\n".join(f"  python launch.py {command}" for command in commands)
    return f"\b\n{'Example' if len(commands) == 1 else 'Examples'}:\n{lines}"


def places_and_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """The words that name files or folders, and those that are `KEY=VALUE`: all with `=` but what is there."""
    overrides = [word for word in words if "=" in word and not exists(Path(word))]
    return [word for word in words if word not in overrides], overrides


SpaceFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="a search-space file, such as search_spaces/synthetic.yaml")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="change values of the file: optim.lr=1e-4 study.trials=8; or variant=NAME"
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
    typer.Argument(metavar="FILE... [KEY=VALUE]...", help="search-space files, and changes of their values"),
]
NewRun = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="DIR", parser=named_place, help="run folder (default: runs/<file name>, and -<variant>)"
    ),
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
        metavar="RUN...", parser=named_place, help="finished runs; the first is what the others are compared with"
    ),
]
SweptRuns = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN... [post_hoc.PATH=[VALUE,...]]...", help="finished runs that differ in their seed only, and values"
    ),
]
OfPostHoc = Annotated[
    Path | None, typer.Option("--experiment", metavar="FILE", help="a search-space file, for its post_hoc")
]
Beside = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RUN",
        parser=named_place,
        help="another search for the same objective, drawn beside; may be repeated",
    ),
]

Resumed = Annotated[str | None, typer.Argument(metavar="RUN", help="folder of an interrupted run or campaign")]
ResumeOverrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="resources.*, or more: study.trials=60")
]
SameAsRun = Annotated[Path | None, typer.Option("--run", metavar="DIR", parser=named_place, help="the same as RUN")]
FromStore = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="ADDRESS", help="make RUN of the store of a run first, such as s3://bucket/prefix/cam_cub"
    ),
]
RetriedTrials = Annotated[list[int] | None, typer.Option(metavar="N", help="only this trial; may be repeated")]
AllFailed = Annotated[bool, typer.Option("--failed", help="all trials that failed (the default)")]
ReplayedTrials = Annotated[
    list[int] | None, typer.Option(metavar="N", help="only this trial; may be repeated; default: all that completed")
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
        metavar="[KEY=VALUE]...", help="with --experiment: change values of the file; of a RUN: post_hoc.PATH=[...]"
    ),
]
ScoredSplit = Annotated[str, typer.Option(help="train_fullsup or test")]
TestAgain = Annotated[str | None, typer.Option(metavar="REASON", help="evaluate test although it was before; recorded")]
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
    typer.Option("--import", metavar="LAYOUT", help="RUN is a released checkpoint, of wsolevaluation, ..."),
]
OfExperiment = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="a search-space file, for its data set and metrics; of a RUN: for its post_hoc"),
]
ImportRun = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="DIR", parser=named_place, help="with --import: run folder (default: runs/<checkpoint>)"
    ),
]
Baseline = Annotated[str | None, typer.Option(help="center_gaussian: score this instead of a run")]
BaselineMetadata = Annotated[
    Path | None, typer.Option(help="with --baseline: folder with the four metadata files of a split")
]
GridSide = Annotated[int, typer.Option(min=8, help="with --baseline: side of the evaluation grid")]

FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", parser=named_place, help="folder of a finished run")]
Predicted = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER...", parser=named_place, help="image files, and folders that are searched for them"
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", parser=named_place, help="folder of the results, new or empty")
]
RawMaps = Annotated[bool, typer.Option("--maps", help="write the raw maps as well, DIR/maps/<image>.npy")]
Threshold = Annotated[
    float | None, typer.Option(metavar="T", help="score of the boxes, in [0, 1); default: what train_fullsup chose")
]

Metrics = Annotated[
    list[str] | None,
    typer.Option(help="max_box_acc_v2 unless given; top1 or max_box_acc_by_size/small; may be repeated"),
]
ComparedSplit = Annotated[str, typer.Option(help="test or train_fullsup")]
Form = Annotated[
    Literal["markdown", "latex", "html", "csv"] | None,
    typer.Option("--format", help="one table for all metrics, for elsewhere"),
]

Images = Annotated[
    Path, typer.Argument(metavar="DIR", parser=named_place, help="your images, with metadata/train, val and test")
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
    str, typer.Option(metavar="DIR", help="folder that every node sees: the job works there, on its data/ and runs/")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="stay and print what the job prints")]
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
        metavar="DIR|ADDRESS", help="with ADDRESS: a folder that every node should see, or s3://bucket/prefix"
    ),
]

DatasetName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="a data set: see `list datasets`; prepare: or annotations, coco, voc or yolo"),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="settings of the data set or the annotations, such as metadata=DIR or annotations=FILE",
    ),
]
Root = Annotated[Path, typer.Option(parser=named_place, help="folder of data sets")]
Source = Annotated[Path | None, typer.Option(help="folder with the archives that you have; default: ROOT/downloads")]
