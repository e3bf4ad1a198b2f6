"""Variants and files that extend others: what is merged, and whose line a mistake has."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.experiment.load import load_experiment, load_variants
from orchestrator.experiment.variants import chosen_variants
from orchestrator.runs.folder import create_run, open_experiment
from wsol.errors import InputError

VARIANTS = """extends: tiny.yaml
trial: {method: {name: has, cell_size: 8}}
search: {method.cell_size: {low: 4, high: 16}}
points: [{name: ours, values: {method.cell_size: 4}}]
variants:
  wide:
    trial: {backbone: {width: 8}, optim: {lr: 0.05}}
    points: [{name: theirs, values: {method.cell_size: 16}}]
  other:
    trial:
      method: {name: cutmix}
    search: {optim.lr: {high: 0.2}}
"""


@pytest.fixture
def variants_file(space_file: Path) -> Path:
    """A file that extends the tiny one and has variants; the second one is wrong."""
    path = space_file.with_name("has.yaml")
    path.write_text(VARIANTS)
    return path


def test_a_variant_is_merged_over_the_file(variants_file: Path) -> None:
    own, wide = load_experiment(variants_file), load_experiment(variants_file, ["optim.momentum=0.5", "variant=wide"])
    assert (own.name, wide.name) == ("has", "has-wide")
    trial = wide.experiment.trial
    assert (
        trial.model_copy(update={"backbone": own.experiment.trial.backbone, "optim": own.experiment.trial.optim})
        == own.experiment.trial
    )
    assert (trial.backbone.model_dump()["width"], trial.optim.lr, trial.optim.momentum) == (8, 0.05, 0.5)
    assert list(wide.experiment.search) == ["optim.lr", "method.cell_size"]
    assert [[point.name for point in loaded.experiment.points] for loaded in (own, wide)] == [["ours"], ["theirs"]]
    assert load_experiment(variants_file, ["variant=wide", "optim.lr=0.02"]).experiment.trial.optim.lr == 0.02


def test_the_mistakes_of_a_variant_have_its_lines(variants_file: Path) -> None:
    message = f"{variants_file}:3: search.method.cell_size: no key 'cell_size'"
    with pytest.raises(InputError) as error:
        load_experiment(variants_file, ["variant=other"])
    assert message in str(error.value)
    with pytest.raises(InputError) as error:
        load_variants(variants_file)
    assert message in str(error.value)
    variants_file.write_text(
        VARIANTS.replace("width: 8", "widht: 8").replace("method: {name: cutmix}", "optim: {lr: -1}")
    )
    with pytest.raises(InputError) as error:
        load_variants(variants_file)
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()] == [
        f"{variants_file}:7",
        f"{variants_file}:11",
    ]
    variants_file.write_text(VARIANTS.replace("other", "# other").partition("# other")[0])
    assert list(load_variants(variants_file)[1]) == ["wide"]


def test_mistakes_of_an_inherited_part_have_its_file_and_line(space_file: Path, variants_file: Path) -> None:
    space_file.write_text(space_file.read_text().replace("epochs: 2", "epochs: zero"))
    line = next(number for number, text in enumerate(space_file.read_text().splitlines(), 1) if "zero" in text)
    with pytest.raises(InputError) as error:
        load_experiment(variants_file, ["variant=wide"])
    assert str(error.value).startswith(
        f"{space_file}:{line}: trial.training.epochs: should be a valid integer, got 'zero'"
    )


@pytest.mark.parametrize(
    ("file", "variant", "message"),
    [
        (
            "has.yaml",
            "wiede",
            "command line: variant=wiede: has.yaml has no such variant, did you mean 'wide'?; there are wide, other",
        ),
        ("tiny.yaml", "wide", "command line: variant=wide: tiny.yaml has no such variant; it has none"),
    ],
)
def test_there_is_no_such_variant(variants_file: Path, file: str, variant: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(Path(file), [f"variant={variant}"])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [("[a]", "variants: should be a mapping"), ("{a: 3}", "variants.a: should be a mapping with trial, search")],
)
def test_variants_are_mappings(space_file: Path, text: str, message: str) -> None:
    lines = space_file.read_text().splitlines()
    space_file.write_text("\n".join([*lines, f"variants: {text}"]))
    with pytest.raises(InputError) as error:
        load_experiment(space_file)
    assert str(error.value).startswith(f"{space_file}:{len(lines) + 1}: {message}")


def test_a_run_folder_needs_no_other_file(variants_file: Path, tmp_path: Path) -> None:
    """What is written there is resolved: no `extends`, no `variants`."""
    loaded = load_experiment(variants_file, ["variant=wide"])
    (tmp_path / "elsewhere").mkdir()
    create_run(tmp_path / "elsewhere", loaded, "search")
    (tmp_path / "elsewhere" / "study.json").write_text("{}")
    for path in tmp_path.glob("*.yaml"):
        path.unlink()
    assert open_experiment(tmp_path / "elsewhere") == loaded.experiment


def test_of_several_variants_the_last_is_chosen() -> None:
    assert chosen_variants(["variant=a", "optim.lr=1", "variant=b"]) == (["b"], ["optim.lr=1"])
    assert chosen_variants(["optim.lr=1"]) == ([], ["optim.lr=1"])


TOGETHER = """extends: tiny.yaml
variants:
  wide: {trial: {backbone: {width: 8}, optim: {lr: 0.05}}}
  narrow: {trial: {backbone: {width: 2}, optim: {lr: 0.05}}}
  slow:
    trial: {optim: {momentum: 0.5}}
    variants:
      wide: {trial: {optim: {lr: 0.01}}}
"""


@pytest.fixture
def together_file(space_file: Path) -> Path:
    """A file with two networks, and a setting of both that changes more with one of them."""
    path = space_file.with_name("together.yaml")
    path.write_text(TOGETHER)
    return path


@pytest.mark.parametrize(
    ("chosen", "name", "values"),
    [
        ("slow,narrow", "together-narrow-slow", (2, 0.05, 0.5)),
        ("wide,slow", "together-wide-slow", (8, 0.01, 0.5)),
        ("slow,wide", "together-wide-slow", (8, 0.01, 0.5)),
        ("wide", "together-wide", (8, 0.05, 0.9)),
    ],
)
def test_several_variants_together(together_file: Path, chosen: str, name: str, values: tuple[float, ...]) -> None:
    """In whatever order; the run's name has that of the file."""
    loaded = load_experiment(together_file, [f"variant={chosen}"])
    trial = loaded.experiment.trial
    assert loaded.name == name
    assert (trial.backbone.model_dump()["width"], trial.optim.lr, trial.optim.momentum) == values


def test_variants_that_set_one_value_differently_are_refused(together_file: Path) -> None:
    message = "command line: variant=wide,narrow: both set trial.backbone.width, and differ; choose one of them"
    with pytest.raises(InputError) as error:
        load_experiment(together_file, ["variant=narrow,wide"])
    assert str(error.value) == message


def test_what_variants_change_together_is_checked_too(together_file: Path) -> None:
    assert list(load_variants(together_file)[1]) == ["wide", "narrow", "slow", "wide,slow"]
    together_file.write_text(TOGETHER.replace("lr: 0.01", "lr: -1"))
    with pytest.raises(InputError) as error:
        load_variants(together_file)
    assert str(error.value).startswith(f"{together_file}:8: trial.optim.lr: should be greater than 0")


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ("[a]", "variants.slow.variants: should be a mapping of names"),
        ("{wide: 3}", "variants.slow.variants.wide: should be a mapping with trial, search"),
        ("{wid: {}}", "variants.slow.variants.wid: the file has no other variant wid, did you mean 'wide'?"),
        ("{slow: {}}", "variants.slow.variants.slow: the file has no other variant slow"),
    ],
)
def test_a_variant_changes_more_with_another_of_the_file(together_file: Path, nested: str, message: str) -> None:
    head = TOGETHER.partition("    variants:\n")[0]
    together_file.write_text(f"{head}    variants: {nested}\n")
    with pytest.raises(InputError) as error:
        load_experiment(together_file)
    assert str(error.value).startswith(f"{together_file}:7: {message}")
