"""A folder and its copy in a store: what travels, in which order, and what stays."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.store import Mirror, is_of_worker
from orchestrator.runs.tensorboard import BEGIN, END
from orchestrator.trials.workplace import Workplace
from tests.support.stored_files import files, write


def test_what_is_pushed_can_be_pulled_elsewhere(tmp_path: Path, address: str) -> None:
    here = tmp_path / "here"
    write(here, study_json="1", best__weights="2", trials__0000__manifest_json="3", study_lock="x", x_part="x")
    (here / ".tune").mkdir()
    (here / ".tune" / "state").write_text("x")
    Mirror(address, here).push()
    Mirror(address, tmp_path / "there").pull()
    expected = {"study.json": "1", "best/weights": "2", "trials/0000/manifest.json": "3"}
    assert files(tmp_path / "there") == expected
    Mirror(address, tmp_path / "part").pull(lambda name: name.endswith(".json"), part="trials")
    assert files(tmp_path / "part") == {"trials/0000/manifest.json": "3"}
    assert not any(Mirror(address + "-other", tmp_path / "none").pull() or files(tmp_path / "none"))


def test_only_changes_travel_and_checkpoints_that_are_gone_go_there_too(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, brought = tmp_path / "here", []
    write(here, epoch_1="a", epoch_2="b", manifest_json="m", events="e")
    for name in ("1", "2"):
        (here / f"epoch.{name}").rename(here / f"epoch-{name}")
    mirror, bring = Mirror(address, here), Mirror._bring
    monkeypatch.setattr(Mirror, "_bring", lambda self, name: (brought.append(name), bring(self, name)))
    mirror.push()
    assert brought[-1] == "manifest.json" and len(brought) == 4
    (here / "epoch-1").unlink()
    (here / "events").write_text("more")
    Workplace(here, mirror).save(
        first=False
    )  # of another worker: it neither brings nor deletes anything of the first one's
    assert len(brought) == 4
    Workplace(here, mirror).save(first=True)
    assert brought[4:] == ["events"]
    there = Mirror(address, tmp_path / "there")
    there.pull()
    assert files(tmp_path / "there") == {"epoch-2": "b", "manifest.json": "m", "events": "more"}
    there.push_all()
    assert len(brought) == 5, "what was just pulled is not brought back"


def test_nothing_but_checkpoints_is_ever_deleted_in_a_store(tmp_path: Path, address: str) -> None:
    """What others left there, and what a node lost, stays: records, events, a test."""
    here = tmp_path / "here"
    others = {"test.json": '{"evaluations": []}', "trials/0001/events": "e", "trials/0001/manifest.json": "m", "x": "1"}
    write(here, **{name.replace("/", "__").replace(".", "_"): text for name, text in others.items()})
    kept = ("trials/0000/epoch-0002.pt", "trials/0001/epoch-0001.pt", "trials/0000/epoch-0001.pt")
    for name in kept:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    mirror = Mirror(address, here)
    mirror.push()
    for name in (*others, kept[2]):
        (here / name).unlink()
    mirror.push_all()
    Mirror(address, here).push_all()
    Mirror(address, tmp_path / "there").pull()
    assert files(tmp_path / "there") == {**others, **{name: name for name in kept[:2]}}


def test_what_makes_a_folder_a_run_travels_last_and_what_names_others_before_it(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    write(tmp_path / "a", study_json="{}", zz="z", trials__0000__manifest_json="m", trials__0000__zz="z", best__w="w")
    for name, move in (("_bring", Mirror._bring), ("_fetch", Mirror._fetch)):
        monkeypatch.setattr(Mirror, name, lambda self, name, move=move: (move(self, name), order.append(name)))
    for mirror, travel in (
        (Mirror(address, tmp_path / "a"), Mirror.push),
        (Mirror(address, tmp_path / "b"), Mirror.pull),
    ):
        travel(mirror)
        assert order[-2:] == ["trials/0000/manifest.json", "study.json"] and len(order) == 5
        order.clear()


def test_a_file_in_a_folder_for_a_store_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = (tmp_path / "store").as_uri()
    write(tmp_path / "a", x="whole")
    Mirror(address, tmp_path / "a").push()
    write(tmp_path / "a", x="a longer one")

    def cut(source: Any, target: Any, length: int) -> None:
        target.write(source.read(3))
        raise OSError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.runs.store.shutil.copyfileobj", cut)
        with pytest.raises(OSError, match="the power failed"):
            Mirror(address, tmp_path / "a").push()
        with pytest.raises(OSError, match="the power failed"):
            Mirror(address, tmp_path / "b").pull()
    assert (tmp_path / "store" / "x").read_text() == "whole" and not files(tmp_path / "b")
    Mirror(address, tmp_path / "b").pull()
    assert files(tmp_path / "b") == {"x": "whole"}


def test_the_drivers_remarks_on_a_trial_do_not_come_back_from_the_store(tmp_path: Path, address: str) -> None:
    """It has newer ones by then; what the process wrote that trained the trial comes."""
    remarks, own = [f"events{BEGIN}", f"events{END}"], ["events.out", "manifest.json"]
    (tmp_path / "a").mkdir()
    for name in (*remarks, *own):
        (tmp_path / "a" / name).write_text("x")
    Mirror(address, tmp_path / "a").push()
    Mirror(address, tmp_path / "b").pull(is_of_worker)
    assert sorted(files(tmp_path / "b")) == own


class Overtaken:
    """A store in which another process replaces a file between its length and its bytes, some times over.

    An object store serves a range of bytes, as many as the object had when it was opened.
    """

    def __init__(self, store: Any, times: int) -> None:
        self._store, self._times, self._opened = store, times, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open_input_stream(self, path: str, **arguments: Any) -> Any:
        length = self._store.get_file_info(path).size
        self._opened += 1
        if self._opened <= self._times:
            with self._store.open_output_stream(path, compression=None) as file:
                file.write(b"longer" * self._opened)
        with self._store.open_input_stream(path, **arguments) as whole:
            return BytesIO(whole.read()[:length])


def test_a_file_that_is_replaced_while_it_is_read_comes_whole(tmp_path: Path, address: str) -> None:
    here = tmp_path / "here"
    write(here, manifest_json="short")
    Mirror(address, here).push()
    there = Mirror(address, tmp_path / "there")
    store = there._filesystem
    there._filesystem = Overtaken(store, 2)
    there.pull()
    assert files(tmp_path / "there") == {"manifest.json": "longerlonger"}
    there._filesystem = Overtaken(store, 9)
    with pytest.raises(OSError, match=r"manifest\.json: is replaced faster than it can be read"):
        there.pull()
    assert files(tmp_path / "there") == {"manifest.json": "longerlonger"}
