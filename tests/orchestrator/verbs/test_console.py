"""What others named or caused is printed as it is: no markup, no emoji, no control codes."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from orchestrator import cli
from orchestrator.cluster.findings import Finding, show
from orchestrator.console import PlainConsole, console, print_whole
from tests.support.paths import ROOT
from tests.support.recorded_runs import fail_trial, make_run
from tests.support.tiny import Launch
from wsol.errors import InputError, RunFailed

HOSTILE = "node\x1b[2J\x1b]0;owned\x07 fell over\x9b31m"
SHOWN = r"node\x1b[2J\x1b]0;owned\x07 fell over\x9b31m"


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("cor[x] [/] :warning: [bold]b[/bold]", style="red")
    table = Table("cor[x]", title=":warning: [bold]")
    table.add_row("[/]")
    console.print(table)
    printed = capsys.readouterr().out
    assert "cor[x] [/] :warning: [bold]b[/bold]" in printed
    assert printed.count("cor[x]") == 2 and printed.count("[/]") == 2 and ":warning: [bold]\n" in printed


def test_a_terminal_is_not_driven_by_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = PlainConsole(force_terminal=True, color_system="standard")
    table = Table(box=None)
    table.add_column("why")
    table.add_row(HOSTILE)
    terminal.print(HOSTILE, style="red")
    terminal.print(table)
    printed = capsys.readouterr().out
    assert "\x1b[31m" in printed, "the colour is ours"
    assert "\x1b[2J" not in printed and "\x1b]0;" not in printed and "\x9b" not in printed
    assert printed.count(r"node\x1b[2J") == 2


def test_a_failure_of_a_trial_is_shown_by_status(tmp_path: Path, launch: Launch) -> None:
    fail_trial(make_run(tmp_path / "cor[x]"), HOSTILE)
    code, out, _ = launch("status", str(tmp_path / "cor[x]"))
    assert code == 0 and "\x1b" not in out and r"node\x1b[2J" in out and "cor[x]" in out


@pytest.mark.parametrize("error", [InputError, RunFailed])
def test_errors_are_shown(error: type[Exception], launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise error(HOSTILE)

    monkeypatch.setattr(cli, "app", broken)
    code, _, err = launch("status", "somewhere")
    assert code in (1, 2) and SHOWN in err and "\x1b" not in err


def test_findings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("cor[x]", "wrong", "[bold]\x1b[2J"), Finding("b", "ok", "fine")]
    with pytest.raises(InputError, match="1 of 2 checks failed"):
        show("cluster[x]", findings, PlainConsole(width=100))
    printed = capsys.readouterr().out
    assert "cluster[x]" in printed and "cor[x]" in printed and r"[bold]\x1b[2J" in printed and "wrong" in printed


def test_every_console_is_plain() -> None:
    """A `Console` of rich would read names as markup."""
    assert type(console) is PlainConsole and issubclass(PlainConsole, Console)
    root = Path(cli.__file__).parent
    made = [path for path in root.rglob("*.py") if "= Console(" in (text := path.read_text()) or " Console(h" in text]
    assert not made, made


def narrow(*lines: Table | str, terminal: bool = True) -> list[str]:
    """What 40 columns show."""
    file = StringIO()
    screen = PlainConsole(file=file, width=40, soft_wrap=True, force_terminal=terminal, color_system=None)
    for line in lines:
        print_whole(screen, line)
    return file.getvalue().splitlines()


def test_words_stay_whole_in_40_columns() -> None:
    table = Table("trial", "state", "epoch", "best", "time", "on", box=None)
    table.add_row("3", "interrupted", "12/50", "62.78", "1m 20s", "node-with-a-name.of.a.cluster:15097")
    table.add_row("10", "waiting", "0/50", "", "", "")
    shown = narrow(table, "best so far: trial 0, train_fullsup/max_box_acc_v2 77.59")
    assert shown == [
        "trial 3: interrupted",
        "  epoch 12/50, best 62.78, time 1m 20s,",
        "  on node-with-a-name.of.a.cluster:15097",
        "trial 10: waiting",
        "  epoch 0/50",
        "best so far: trial 0, ",
        "train_fullsup/max_box_acc_v2 77.59",
    ]
    small = Table("cell", "state", box=None)
    small.add_row("cam", "finished")
    assert [line.split() for line in narrow(small)] == [["cell", "state"], ["cam", "finished"]]


def test_a_command_can_be_copied_from_40_columns() -> None:
    command = "python launch.py resume runs/a_name_that_is_long --address auto"
    assert narrow(f"nothing runs; go on with: {command}") == ["nothing runs; go on with:", command]
    assert narrow("one line that is longer than forty columns", terminal=False) == [
        "one line that is longer than forty columns"
    ]


def test_a_table_in_a_log_is_not_folded() -> None:
    program = (
        "from orchestrator.console import console\nfrom rich.table import Table\n"
        "table = Table(*['a long title'] * 20)\ntable.add_row(*['w' * 20] * 20)\nconsole.print(table)"
    )
    nowhere = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, env=nowhere, cwd=ROOT
    )
    assert sum("w" * 20 in line for line in done.stdout.splitlines()) == 1 and done.stdout.count("w" * 20) == 20
