"""The record of looks at the test split: none is lost, and one is allowed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.runs.looks import BEGUN, FINISHED, SWEEP, extend_record
from orchestrator.runs.saved_maps import read_origin, record_look_at_maps, write_origin
from orchestrator.runs.scores import write_scores
from orchestrator.runs.store import Mirror, restore_run
from orchestrator.runs.tested import (
    complete_cut_off,
    final_test_of,
    looking_at_test,
    looks_at_test,
    record_look,
    recorded_tests,
    require_untested,
)
from wsol.errors import InputError

SHA = "c0ffee"
MEASURED: dict[str, Any] = {
    "metrics": {"max_box_acc_v2": 61.5},
    "intervals": {"max_box_acc_v2": [60.0, 63.0]},
    "baseline": {},
    "config": {},
    "training_images": "all",
}
NO_DRAWS: Any = SimpleNamespace(replicates={}, curves={}, threshold_step=0.01)
SPLIT: Any = SimpleNamespace(name="test", image_ids=("a", "b"))


def entries(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "test.json").read_text())["evaluations"])


def evaluate(folder: Path, reason: str | None = None) -> None:
    with looking_at_test(folder, SHA, reason) as look:
        (folder / "best").mkdir(exist_ok=True)
        (folder / "best" / "scores-test.npz").write_bytes(os.urandom(8))
        look.complete(MEASURED)


def test_a_look_is_written_down_before_it_begins_and_completed_after(tmp_path: Path) -> None:
    with looking_at_test(tmp_path, SHA, None) as look:
        [begun] = entries(tmp_path)
        assert (
            begun["state"] == BEGUN and begun["checkpoint_sha256"] == SHA and begun["time"] and "process" in begun["by"]
        )
        assert recorded_tests(tmp_path) == []
        look.complete(MEASURED)
    [finished] = recorded_tests(tmp_path)
    assert finished.state == FINISHED and finished.metrics == MEASURED["metrics"] and finished.reason is None
    assert final_test_of(tmp_path, SHA) == finished and final_test_of(tmp_path, "other") is None
    with pytest.raises(InputError, match=r"was already evaluated .*--test-again"):
        evaluate(tmp_path)
    evaluate(tmp_path, "the reviewers asked")
    assert [look.reason for look in recorded_tests(tmp_path)] == [None, "the reviewers asked"]


def test_what_could_not_be_measured_was_no_look(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"), looking_at_test(tmp_path, SHA, None):
        raise InputError("no images")
    assert not (tmp_path / "test.json").exists()
    evaluate(tmp_path)


def test_what_failed_after_its_numbers_were_written_was_one(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    with pytest.raises(OSError, match="disk"), looking_at_test(tmp_path, SHA, None):
        (tmp_path / "best" / "scores-test.npz").write_bytes(b"numbers")
        raise OSError("disk full")
    with pytest.raises(InputError, match=r"already evaluated \(begun .*, not finished\)"):
        evaluate(tmp_path)
    evaluate(tmp_path, "the disk was full")
    assert [entry["state"] for entry in entries(tmp_path)] == [BEGUN, FINISHED]


def die_while_looking(folder: Path, *, after_scores: bool, saves_maps: bool) -> None:
    with looking_at_test(folder, SHA, None, saves_maps=saves_maps):
        if after_scores:
            (folder / "best").mkdir()
            (folder / "best" / "scores-test.npz").write_bytes(b"numbers")
        os._exit(9)


@pytest.mark.parametrize(("after_scores", "saves_maps"), [(False, False), (True, False), (False, True)])
def test_a_process_killed_while_it_looks(tmp_path: Path, after_scores: bool, saves_maps: bool) -> None:
    """Nothing was left of it, or a number that somebody may have read, or maps that can be scored."""
    words = {"after_scores": after_scores, "saves_maps": saves_maps}
    process = multiprocessing.get_context("fork").Process(target=die_while_looking, args=(tmp_path,), kwargs=words)
    process.start()
    process.join(60)
    assert process.exitcode == 9 and [entry["state"] for entry in entries(tmp_path)] == [BEGUN]
    if after_scores or saves_maps:
        with pytest.raises(InputError, match="not finished"):
            evaluate(tmp_path)
        assert len(looks_at_test(tmp_path)) == 1 and recorded_tests(tmp_path) == []
    else:
        assert looks_at_test(tmp_path) == []
        evaluate(tmp_path)
        assert [entry["state"] for entry in entries(tmp_path)] == [FINISHED]


def cut_off_after_its_numbers(folder: Path, key: str | None = None) -> None:
    """A look that ends between its numbers and their record; they have its key, or another one."""
    with suppress(KeyboardInterrupt), looking_at_test(folder, SHA, None) as look:
        (folder / "best").mkdir(exist_ok=True)
        write_scores(folder / "best", NO_DRAWS, SPLIT, key or look.key, MEASURED)
        raise KeyboardInterrupt
    assert [entry["state"] for entry in entries(folder)] == [BEGUN] and recorded_tests(folder) == []


def test_a_look_that_was_cut_off_after_its_numbers_is_completed_with_them(tmp_path: Path) -> None:
    assert complete_cut_off(tmp_path) is None
    cut_off_after_its_numbers(tmp_path)
    completed = complete_cut_off(tmp_path)
    [look] = recorded_tests(tmp_path)
    assert completed is not None and completed.key == look.key and look.metrics == MEASURED["metrics"]
    assert (
        look.checkpoint_sha256 == SHA and look.intervals == MEASURED["intervals"] and looks_at_test(tmp_path) == [look]
    )
    before = (tmp_path / "test.json").read_text()
    assert complete_cut_off(tmp_path) is None and (tmp_path / "test.json").read_text() == before


def test_the_next_look_completes_the_one_before_and_is_refused(tmp_path: Path) -> None:
    cut_off_after_its_numbers(tmp_path)
    with pytest.raises(InputError, match="already evaluated") as refused:
        evaluate(tmp_path)
    assert "not finished" not in str(refused.value) and len(recorded_tests(tmp_path)) == 1


def test_numbers_of_another_look_complete_nothing(tmp_path: Path) -> None:
    cut_off_after_its_numbers(tmp_path, key="another")
    assert complete_cut_off(tmp_path) is None and recorded_tests(tmp_path) == []
    assert len(looks_at_test(tmp_path)) == 1  # somebody may have read them


def test_of_200_first_evaluations_at_once_one_is_allowed(tmp_path: Path) -> None:
    measured: list[int] = []

    def attempt(number: int) -> str:
        try:
            with looking_at_test(tmp_path, SHA, None) as look:
                measured.append(number)
                (tmp_path / "best").mkdir(exist_ok=True)
                (tmp_path / "best" / "scores-test.npz").write_text(str(number))
                look.complete(MEASURED)
        except InputError as error:
            return str(error)
        return "evaluated"

    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(attempt, range(200)))
    assert said.count("evaluated") == len(measured) == len(entries(tmp_path)) == 1
    assert all(
        "was already evaluated" in line or "is evaluating its test split" in line
        for line in said
        if line != "evaluated"
    )


def record_many(folder: Path, process: int) -> None:
    for number in range(50):
        record_look(folder, SHA, f"{process}-{number}", SWEEP)


def test_200_records_at_once_are_all_kept(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=record_many, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert {entry["reason"] for entry in entries(tmp_path)} == {f"{a}-{b}" for a in range(4) for b in range(50)}


def test_records_of_older_versions_are_read(tmp_path: Path) -> None:
    old = {"time": "2026-01-05T10:00:00+00:00", "checkpoint_sha256": SHA, "reason": None, "metrics": {"a": 1.0}}
    (tmp_path / "test.json").write_text(json.dumps({"evaluations": [old]}))
    assert recorded_tests(tmp_path)[0].metrics == {"a": 1.0} and len(looks_at_test(tmp_path)) == 1
    evaluate(tmp_path, "again")
    assert entries(tmp_path)[0] == old


DAMAGES = ["", "{", "[]", '{"evaluations": 3}', '{"evaluations": [3]}', '{"evaluations": [{"time": []}]}', "\x00"]


@pytest.mark.parametrize("text", DAMAGES)
@pytest.mark.parametrize(
    "read", [recorded_tests, looks_at_test, lambda folder: require_untested(folder, "why"), evaluate]
)
def test_a_damaged_record_is_named_with_the_remedy(tmp_path: Path, text: str, read: Callable[[Path], Any]) -> None:
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(InputError, match=r"test.json: is damaged .* restore it from a copy"):
        read(tmp_path)
    assert (tmp_path / "test.json").read_text() == text


def test_the_record_in_a_store_is_only_ever_extended(tmp_path: Path) -> None:
    run, store, half = tmp_path / "run", tmp_path / "store", tmp_path / "half"
    for folder in (run, half):
        folder.mkdir()
    (run / "study.json").write_text('{"study_name": "run"}')
    evaluate(run)
    evaluate(run, "again")
    Mirror(str(store), run).push()
    evaluate(half)  # a copy that lost its record looks again
    Mirror(str(store), half).push(lambda name: name == "test.json")
    assert len(entries(store)) == 3 and entries(half) == entries(store)
    Mirror(str(store), run).pull(lambda name: name == "test.json")
    assert len(entries(run)) == 3
    evaluate(run, "more")
    Mirror(str(store), run).pull(lambda name: name == "test.json")
    assert len(entries(run)) == 4


def test_of_two_copies_of_a_look_the_finished_one_counts(tmp_path: Path) -> None:
    with suppress(OSError), looking_at_test(tmp_path, SHA, None, saves_maps=True):
        raise OSError("the node is gone")
    [begun] = entries(tmp_path)
    finished = {**begun, "state": FINISHED, **MEASURED}
    for ours, theirs in ((begun, finished), (finished, begun)):
        (tmp_path / "test.json").write_text(json.dumps({"evaluations": [ours]}))
        extend_record(tmp_path, json.dumps({"evaluations": [theirs]}))
        assert entries(tmp_path) == [finished]


def test_a_record_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(tmp_path)
    before = entries(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        record_look(tmp_path, SHA, "the reviewers asked", SWEEP)
    assert entries(tmp_path) == before


def test_a_half_restored_folder_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = tmp_path / "run", tmp_path / "store"
    run.mkdir()
    (run / "study.json").write_text('{"study_name": "run"}')
    (run / "a.txt").write_text("a")
    evaluate(run)
    Mirror(str(store), run).push()
    fetch = Mirror._fetch

    def dying(mirror: Mirror, name: str) -> None:
        if name == "test.json":
            raise OSError("cut off")
        fetch(mirror, name)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_fetch", dying)
        with pytest.raises(InputError, match="cut off"):
            restore_run(str(store), tmp_path / "again")
    assert not (tmp_path / "again" / "study.json").exists()
    restore_run(str(store), tmp_path / "again")
    assert entries(tmp_path / "again") == entries(run) and (tmp_path / "again" / "study.json").exists()


def test_scoring_saved_maps_of_test_is_a_look(tmp_path: Path) -> None:
    run, maps = tmp_path / "run", tmp_path / "maps"
    run.mkdir()
    (run / "study.json").write_text("{}")
    assert "not known here" in record_look_at_maps(maps)
    write_origin(maps, run, "test", SHA)
    assert "recorded in its test.json" in record_look_at_maps(maps) and "recorded" in record_look_at_maps(maps)
    looks = looks_at_test(run)
    assert len(looks) == 2 and str(maps) in str(looks[0].reason) and recorded_tests(run) == []
    with pytest.raises(InputError, match="of saved maps"):
        evaluate(run)
    write_origin(maps, run, "train_fullsup", SHA)
    assert "not of test" in record_look_at_maps(maps) and len(looks_at_test(run)) == 2
    write_origin(maps, tmp_path / "gone", "test", SHA)
    assert "is not here" in record_look_at_maps(maps)
    (maps / ".wsol.json").write_text("{")
    assert read_origin(maps) is None
