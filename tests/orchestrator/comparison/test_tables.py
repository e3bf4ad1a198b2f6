"""How a comparison is written down: for the terminal, and for elsewhere."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from orchestrator.comparison.cell import Cell
from orchestrator.comparison.rows import Row, comparison_rows
from orchestrator.comparison.tables import FORMATS, comparison_table, legend
from orchestrator.console import PlainConsole
from tests.support.tested_runs import METRIC, make_run, seeds
from tests.support.tiny import Launch


def terminal(folders: list[Path], metric: str = METRIC, width: int = 80) -> str:
    """What a terminal of so many columns shows."""
    rows, file = comparison_rows(folders, [metric], "test"), StringIO()
    console = PlainConsole(file=file, width=width, soft_wrap=True)
    console.print(comparison_table(rows, metric, "test"))
    for line in legend(rows):
        console.print(line, soft_wrap=False)
    return file.getvalue()


def test_the_terminal_shows_all_of_it_in_80_columns(tmp_path: Path) -> None:
    joint = {"name": "crop_cam", "base": {"name": "bridging_gap"}}
    runs = [
        *seeds(tmp_path, "a_run_with_a_name_that_is_rather_long", (61.0, 63.0, 62.5)),
        make_run(tmp_path / "crop", 59.25, method=joint),
    ]
    text = terminal(runs)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for part in (
        "62.17",
        "3 seeds",
        "63.00",
        "yes",
        "59.25",
        "crop_cam(bridging_gap)",
        "-2.92*",
        "56.80",
        "Choe et al., CVPR 2020",
    ):
        assert part in text
    assert "seeds" not in terminal(runs[-1:]) and "published" not in terminal(runs[-1:])


def test_a_name_has_as_many_columns_as_the_terminal_leaves_it(tmp_path: Path) -> None:
    name = "crop_cam_ivr_resnet50_stride_16_of_the_second_try"
    runs = seeds(tmp_path, name, (61.0, 63.0, 62.5))
    assert any(line.startswith(f"{name}0 ") for line in terminal(runs, width=120).splitlines())
    narrow = terminal(runs)
    assert name not in narrow and max(map(len, narrow.splitlines())) <= 80 and "62.17" in narrow


def test_tables_for_elsewhere_have_seeds_published_numbers_and_the_rule(tmp_path: Path) -> None:
    rows = comparison_rows(
        [*seeds(tmp_path, "cam", (62.0, 64.0, 63.0)), make_run(tmp_path / "has", 59.0, method={"name": "has"})],
        [METRIC, "top1/loc"],
        "test",
    )
    for form in ("markdown", "latex", "html"):
        text = FORMATS[form](rows)
        assert (
            "3 seeds: " in text
            and "63.0 (yes)" in text
            and "64.7 (no)" in text
            and "inside one of our 95" in text
            and "CVPR 2020" in text
        )
        assert text.count("published") == 2  # one column, one rule
    table = [line for line in FORMATS["markdown"](rows).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    first, *_, last = csv.DictReader(StringIO(FORMATS["csv"](rows)))
    assert (first["seeds"], first["published"], first["reproduced"], last["published"]) == ("0 1 2", "63.0", "yes", "")
    assert float(first["seeds_low"]) < 63 < float(first["seeds_high"])


def test_the_command_prints_it(tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runs = [str(path) for path in seeds(tmp_path, "cam", (62.0, 64.0))]
    code, out, _ = launch("compare", *runs)
    assert code == 0 and "2 seeds" in out and "yes" in out
    assert launch("compare", *runs, "--split", "train_fullsup")[0] == 2


ODD = r"a_b & c % d $ e # f {g} ~ ^ \ h | <i> *j* [k](l) `m` _n_"
CELLS = {METRIC: Cell(60.5, (58.4, 63.0), 1.25, (0.5, 2.0), None)}


def one_row(name: str, method: str = "cam") -> list[Row]:
    return [Row(name, method, "resnet50", "cub", CELLS)]


def test_markdown_shows_every_name_as_it_is() -> None:
    parsed = MarkdownIt("commonmark").enable("table").parse(FORMATS["markdown"](one_row(ODD, "b" + ODD)))
    cells = [token for token, before in zip(parsed[1:], parsed, strict=False) if before.type == "td_open"]
    assert len(cells) == 5
    for cell, name in zip(cells, (ODD, "b" + ODD), strict=False):
        assert "".join(part.content for part in cell.children or []) == name
        assert {part.type for part in cell.children or []} <= {"text", "text_special"}
    assert "$" not in FORMATS["markdown"](one_row(ODD)).replace(r"\$", "")  # GitHub reads formulas


def test_latex_shows_every_name_as_it_is() -> None:
    expected = (
        r"a\_b \& c \% d \$ e \# f \{g\} \textasciitilde{} \textasciicircum{} \textbackslash{} h \textbar{} "
        r"\textless{}i\textgreater{} {*}j{*} {[}k{]}(l) `m` \_n\_ & cam & resnet50"
    )
    text = FORMATS["latex"](one_row(ODD))
    assert expected in text
    assert r"max\_box\_acc\_v2" in text


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("markdown", r"| two\\nlines\\u2028more\\x1b\[31m\\ud800 | cam |"),
        (
            "latex",
            r"two\textbackslash{}nlines\textbackslash{}u2028more\textbackslash{}x1b{[}31m\textbackslash{}ud800 & cam &",
        ),
        ("html", r"<td>two\nlines\u2028more\x1b[31m\ud800</td>"),
        ("csv", r"two\nlines\u2028more\x1b[31m\ud800,cam,"),
    ],
)
def test_a_name_stays_in_its_line_and_has_no_control_codes(form: str, expected: str) -> None:
    text = FORMATS[form](one_row("two\nlines\u2028more\x1b[31m\ud800"))
    assert expected in text
    assert len(text.splitlines()) == len(FORMATS[form](one_row("plain")).splitlines())


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_cell_of_a_csv_file_is_a_formula(name: str) -> None:
    (line,) = csv.DictReader(StringIO(FORMATS["csv"](one_row(name, method=name))))
    assert line["run"] == line["method"] == f"'{name}"
    assert line["gain"] == "1.25"


def test_html_shows_every_name_as_it_is() -> None:
    text = FORMATS["html"](one_row('<script>alert("a & b")</script>'))
    assert "<td>&lt;script&gt;alert(&quot;a &amp; b&quot;)&lt;/script&gt;</td>" in text


def test_markup_in_names_is_shown_on_a_terminal() -> None:
    file = StringIO()
    console = PlainConsole(file=file, width=80)
    console.print(comparison_table(one_row("cor[x]", "[red]\x1b[2J[/]"), METRIC, "test"))
    assert "cor[x]" in file.getvalue() and r"[red]\x1b[2J[/]" in file.getvalue()


def test_what_was_trained_on_boxes_is_marked_everywhere(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "cam", 61.0)]
    few = make_run(tmp_path / "few", 70.0, boxes="50 images", method={"name": "few_shot"})
    rows = comparison_rows([*runs, few], [METRIC], "test")
    assert [row.uses_boxes for row in rows] == [False, True]
    for text in (terminal([*runs, few]), *(FORMATS[form](rows) for form in ("markdown", "latex", "html"))):
        plain = text.replace(r"\_", "_")
        assert "few_shot (boxes)" in plain and "cam (boxes)" not in plain
        assert "boxes: trained on boxes or masks of train_fullsup" in plain.replace("\n", " ")
    assert "boxes" not in terminal(runs)
    assert [line["boxes"] for line in csv.DictReader(StringIO(FORMATS["csv"](rows)))] == ["no", "yes"]
