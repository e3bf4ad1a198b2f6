"""Checkpoints survive a crash at any moment and are never taken for what they are not."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import TINY
from wsol.checkpoint import Checkpoints, holds_state, read_state, write_state
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.files import sha256, write_text


def record(epoch: int, value: float) -> dict[str, float]:
    return {"epoch": epoch, "objective_now": value, "objective": value}


def test_latest_and_best_are_kept_and_nothing_else(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for epoch, (value, best) in enumerate([(1.0, True), (3.0, True), (2.0, False), (2.5, False)], start=1):
        reached = {**record(epoch, value), "objective": [1.0, 3.0, 3.0, 3.0][epoch - 1]}
        checkpoints.save({"w": torch.tensor(epoch)}, reached, best=best)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002.pt", "epoch-0004.pt", "manifest.json"]
    again = Checkpoints(tmp_path)
    assert again.best and again.latest and (again.best.epoch, again.latest.epoch) == (2, 4)
    assert (again.best.objective, again.latest.objective) == (3.0, 2.5)
    assert [entry["objective_now"] for entry in again.history] == [1.0, 3.0, 2.0, 2.5]
    newest = again.newest_intact()
    assert newest is not None and newest[0]["w"] == 4 and len(newest[1]) == 4
    (tmp_path / again.latest.file).write_bytes(b"cut off")
    before = again.newest_intact()
    assert before is not None and before[0]["w"] == 2 and before[1] == again.history[:2]
    again.drop_latest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002.pt", "manifest.json"]
    again.drop_all()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert Checkpoints(tmp_path).history == [] and Checkpoints(tmp_path).newest_intact() is None


class Died(BaseException):
    """The process is gone: nothing that it would still do is done."""


@dataclass
class Disk:
    """What a process asks of the disk, in order; it dies before it asks for more than `limit` things."""

    limit: int = 1000
    asked: list[str] = field(default_factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("fsync", "replace", "rename", "unlink"):
            patch.setattr(os, name, partial(self._asked, name, getattr(os, name)))

    def _asked(self, name: str, call: Callable[..., object], *arguments: Any, **named: Any) -> object:
        if len(self.asked) >= self.limit:
            raise Died
        place = f"/proc/self/fd/{arguments[0]}" if name == "fsync" else arguments[-1]
        path = Path(os.path.realpath(place)) if name == "fsync" else Path(place)
        self.asked.append(f"{name} {re.sub('[.][0-9a-f]{8}[.]part$', '.part', path.name)}")
        return call(*arguments, **named)


FIRST_SAVE = [
    *("fsync epoch-0001.pt.part", "replace epoch-0001.pt", "fsync run"),
    *("fsync manifest.json.part", "replace manifest.json", "fsync run"),
]
"""Bytes before names, names before those who refer to them."""


def test_a_checkpoint_is_written_synced_named_and_only_then_referred_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, checkpoints = Disk(), Checkpoints(tmp_path / "run")
    with monkeypatch.context() as patch:
        disk.watch(patch)
        checkpoints.save({"w": torch.tensor(1)}, record(1, 1.0), best=True)
        first, disk.asked = [each for each in disk.asked if not each.startswith("unlink")], []
        checkpoints.save({"w": torch.tensor(2)}, record(2, 2.0), best=True)
    assert first == FIRST_SAVE
    second = [
        each for each in disk.asked if each != "unlink manifest.json.part" and each != "unlink epoch-0002.pt.part"
    ]
    assert second == [*(each.replace("0001", "0002") for each in FIRST_SAVE), "unlink epoch-0001.pt"]


def test_a_process_that_dies_at_any_step_of_a_save_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = []
    for limit in range(20):
        folder = tmp_path / str(limit)
        Checkpoints(folder).save({"w": torch.tensor(1)}, record(1, 1.0), best=True)
        with monkeypatch.context() as patch, contextlib.suppress(Died):
            Disk(limit).watch(patch)
            Checkpoints(folder).save({"w": torch.tensor(2)}, record(2, 2.0), best=True)
        found = Checkpoints(folder).newest_intact()
        assert found is not None and found[0]["w"] == len(found[1])
        reached.append(len(found[1]))
        Checkpoints(folder).save({"w": torch.tensor(3)}, record(3, 3.0), best=True)  # the next save sweeps up
        assert sorted(path.name for path in folder.iterdir()) == ["epoch-0003.pt", "manifest.json"]
    assert reached == sorted(reached) and set(reached) == {1, 2}


def test_the_same_state_has_the_same_digest_each_time_and_at_each_place(tmp_path: Path) -> None:
    """A winner that is exported again, after a kill, is the one whose test is on record."""
    state = {"method": {"w": torch.arange(5.0)}}
    places = [tmp_path / "weights.pt", tmp_path / "weights.pt", tmp_path / "other.pt"]
    assert len({write_state(path, state) for path in places}) == 1


def test_a_file_that_holds_a_state_is_told_from_all_others(tmp_path: Path) -> None:
    path, state = tmp_path / "weights.pt", {"method": {"w": torch.arange(5.0), "steps": 3}}
    assert not holds_state(path, state)
    write_state(path, state)
    assert holds_state(path, {"method": {"w": torch.arange(5.0), "steps": 3}})
    for other in ({"w": torch.arange(5), "steps": 3}, {"w": torch.arange(5.0), "steps": 4}, {"w": torch.arange(5.0)}):
        assert not holds_state(path, {"method": other})
    assert not holds_state(path, {"method": {"w": torch.arange(5.0).nextafter(torch.ones(())), "steps": 3}})
    for content in (path.read_bytes()[:200], b"", b"no weights"):
        path.write_bytes(content)
        assert not holds_state(path, state)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    digest = write_state(path, {"w": torch.arange(5)})
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged"):
            read_state(path, digest)
    path.write_bytes(whole)
    assert torch.equal(read_state(path, digest)["w"], torch.arange(5))
    assert sha256(path) == digest
    with pytest.raises(InputError, match="missing"):
        read_state(tmp_path / "y.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "owned"),)

    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError):
        read_state(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two")
    assert (tmp_path / "a.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_checkpoints_of_another_configuration_are_refused(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(TINY["trial"])
    Checkpoints(tmp_path, config).save({"w": torch.tensor(1)}, record(1, 1.0), best=True)
    moved = config.model_copy(update={"data": config.data.model_copy(update={"root": "elsewhere"})})
    assert Checkpoints(tmp_path, moved).latest is not None  # the images may lie anywhere
    seeded = config.model_copy(update={"seed": 7})
    with pytest.raises(InputError, match=r"manifest.json: .* another configuration \(seed: 7 and 0\)"):
        Checkpoints(tmp_path, seeded)
    manifest = tmp_path / "manifest.json"
    first = {name: value for name, value in json.loads(manifest.read_text()).items() if name != "config"}
    manifest.write_text(json.dumps(first))  # as the first version wrote it
    assert Checkpoints(tmp_path, seeded).latest is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"latest": 3, "best": null, "history": []}', "\x00" * 9])
def test_a_damaged_manifest_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest.json: is damaged .* or delete it: .* begins again at epoch 1"):
        Checkpoints(tmp_path)


def test_a_temporary_file_is_nobody_elses_and_no_link(tmp_path: Path) -> None:
    """A stranger's folder may have a link where a temporary file would go."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.html.part").symlink_to(victim)
    write_text(folder / "report.html", "ours")
    assert victim.read_text() == "kept" and (folder / "report.html").read_text() == "ours"
    assert not (folder / "report.html").is_symlink()


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    texts = [str(number) * 1000 for number in range(8)] * 25
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "a.txt", text), texts))
    assert (tmp_path / "a.txt").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
