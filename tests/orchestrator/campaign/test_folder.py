"""The folder of a campaign: what may begin there, and what is told of a damaged one."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from orchestrator.campaign.folder import begin_campaign, read_campaign, require_same_campaign
from orchestrator.campaign.header import end_campaign, read_campaign_header
from orchestrator.campaign.load import load_campaign
from orchestrator.runs import names
from tests.support.campaigns import CELLS, Machines
from tests.support.tiny import Launch
from wsol.errors import InputError


def test_another_campaign_is_not_mixed_in(campaign_file: Path, launch: Launch, machines: Machines) -> None:
    words = ["protocol", "all.yaml", "backbones={narrow: {}}"]
    machines.budget = 1
    assert launch(*words)[0] == 130
    code, _, err = launch(*words, "training.epochs=2")
    assert (
        code == 2
        and "runs/all: holds a campaign of all.yaml that has changed since (cam-narrow, has-narrow differ)" in err
    )
    code, _, err = launch(*words, "reruns.top=1")
    assert code == 2 and "its reruns or published points differ" in err
    code, _, err = launch("resume", "runs/all", "trials=9")
    assert code == 2 and "can only change resources.*" in err
    assert machines.trained == ["cam-narrow 0"]


def test_dry_run_writes_nothing(campaign_file: Path, launch: Launch) -> None:
    code, out, _ = launch("protocol", "all.yaml", "--dry-run")
    assert code == 0 and "forecast" in out and not Path("runs").exists()
    assert max(map(len, out.splitlines())) <= 80
    line = next(line.split() for line in out.splitlines() if line.startswith("all "))
    assert line[1:3] == ["12", "12"]
    again = "reruns={top: 1, seeds: [1, 2], set: {training.epochs: 5}}"
    code, out, _ = launch("protocol", "all.yaml", again, "backbones={narrow: {}}", "--dry-run")
    line = next(line.split() for line in out.splitlines() if line.startswith("all "))
    assert line[1:3] == ["10", str(2 * (3 * 1 + 2 * 5))]


def test_the_header_comes_back_as_it_was_written(campaign_file: Path) -> None:
    planned = load_campaign(campaign_file, ["reruns={top: 2, set: {optim.lr: 0.1}}"], Path("runs/all"))
    begin_campaign(Path("runs/all"), planned)
    header = read_campaign_header(Path("runs/all"))
    assert [cell.name for cell in header.cells] == CELLS and header.hashes == planned.hashes()
    assert header.reruns == planned.reruns and header.ended is None
    assert read_campaign(Path("runs/all"), []).hashes() == planned.hashes()
    require_same_campaign(Path("runs/all"), planned)
    end_campaign(Path("runs/all"), done=True)
    assert read_campaign_header(Path("runs/all")).ended is not None
    end_campaign(Path("runs/all"), done=False)
    assert read_campaign_header(Path("runs/all")) == header


def test_a_campaign_begun_by_a_version_with_other_entries_goes_on(campaign_file: Path) -> None:
    """Its hashes are others, its experiments are the same."""
    folder, planned = Path("runs/all"), load_campaign(campaign_file, [], Path("runs/all"))
    begin_campaign(folder, planned)
    header = json.loads((folder / "campaign.json").read_text())
    older = dict.fromkeys(header["hashes"], "0123456789abcdef")
    (folder / "campaign.json").write_text(json.dumps({**header, "hashes": older}))
    require_same_campaign(folder, planned)
    with pytest.raises(InputError, match="differ"):
        require_same_campaign(folder, load_campaign(campaign_file, ["training.epochs=3"], folder))
    (folder / "cam-wide" / "experiment.yaml").unlink()
    with pytest.raises(InputError, match=r"that has changed since \(cam-wide differ"):
        require_same_campaign(folder, planned)


def test_a_header_made_before_is_read(campaign_file: Path) -> None:
    """The form of the file: what other versions wrote and will read."""
    begin_campaign(Path("runs/all"), load_campaign(campaign_file, ["reruns={}"], Path("runs/all")))
    content = json.loads(Path("runs/all/campaign.json").read_text())
    keys = "name source cells hashes reruns published_points started ended command git versions"
    assert list(content) == keys.split()
    assert content["cells"][0] == {
        "name": "cam-narrow",
        "method": "cam",
        "backbone": "narrow",
        "dataset": "synthetic",
        "after": None,
    }
    assert content["reruns"] == {"top": 1, "seeds": [1, 2, 3], "set": {}}


DAMAGE = {
    "half of it": lambda content: json.dumps(content)[:100],
    "empty": lambda content: "",
    "a list": lambda content: "[]",
    "no cells": lambda content: json.dumps({**content, "cells": []}),
    "an entry missing": lambda content: json.dumps({key: value for key, value in content.items() if key != "hashes"}),
    "a cell elsewhere": lambda content: json.dumps(
        {**content, "cells": [{**content["cells"][0], "name": "../elsewhere"}]}
    ),
    "no text": lambda content: "\udcff",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_header_is_told_in_one_line(damage: str, campaign_file: Path, launch: Launch) -> None:
    begin_campaign(Path("runs/all"), load_campaign(campaign_file, [], Path("runs/all")))
    path = Path("runs/all/campaign.json")
    path.write_text(DAMAGE[damage](json.loads(path.read_text())), errors="surrogateescape")
    for words in (["status", "runs/all"], ["resume", "runs/all"], ["protocol", "all.yaml"]):
        code, _, err = launch(*words)
        assert code == 2 and "runs/all/campaign.json: is damaged" in err, words
        assert len(err.strip().splitlines()) == 1 and "each folder beside it is a run of its own" in err


def test_a_campaign_begins_in_a_place_of_its_own(campaign_file: Path, launch: Launch) -> None:
    Path("photographs").mkdir()
    Path("photographs/mine.jpg").write_text("a picture")
    Path("file").write_text("text")
    for place, told in (
        ("photographs", "holds other files (mine.jpg)"),
        ("file", "is no folder"),
        ("file/below", "is no folder"),
    ):
        code, _, err = launch("protocol", "all.yaml", "--run", place)
        assert code == 2 and told in err and len(err.strip().splitlines()) == 1, place
    assert sorted(path.name for path in Path("photographs").iterdir()) == ["mine.jpg"]


def test_what_was_cut_off_at_its_beginning_begins_again(campaign_file: Path) -> None:
    folder, planned = Path("runs/all"), load_campaign(campaign_file, [], Path("runs/all"))
    begin_campaign(folder, planned)
    (folder / names.CAMPAIGN).unlink()
    begin_campaign(folder, planned)
    assert read_campaign(folder, []).hashes() == planned.hashes()


def test_of_two_that_begin_at_the_same_moment_one_writes(campaign_file: Path) -> None:
    """The cells' files and the header are always of one campaign."""
    plans = [load_campaign(campaign_file, [f"optim.weight_decay={decay}"], Path("runs/all")) for decay in (0.1, 0.2)]
    for round in range(10):
        folder, together = Path(f"runs/{round}"), Barrier(2, timeout=60)

        def begin(place: int, folder: Path = folder, together: Barrier = together) -> str:
            together.wait()
            try:
                begin_campaign(folder, plans[place])
            except InputError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(begin, range(2)))
        winner = told.index("")
        assert re.search("that has changed since|is working on this study", told[1 - winner])
        assert read_campaign_header(folder).hashes == plans[winner].hashes() == read_campaign(folder, []).hashes()
