"""The loop: repeatable, resumable, equal on one and two workers, honest about divergence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.support.tiny import OBJECTIVE, changed
from wsol import build, training
from wsol.checkpoint import Checkpoints, Record
from wsol.config import EvaluationConfig, TrainConfig
from wsol.contract.workers import run_two_workers
from wsol.errors import Diverged, InputError
from wsol.evaluation import Pipeline, evaluate, evaluate_together
from wsol.method import Method
from wsol.optim import build_optimizer, decay
from wsol.training import build_loader, train, train_epoch
from wsol.types import ScoreMaps


def numbers(history: list[Record]) -> list[Record]:
    """Records without clock readings."""
    return [{name: value for name, value in record.items() if "second" not in name} for record in history]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoints = Checkpoints(folder)
    assert checkpoints.best is not None
    state: dict[str, torch.Tensor] = checkpoints.load(checkpoints.best)["method"]
    return state


def test_the_same_seed_gives_the_same_run_bit_for_bit(config: TrainConfig, tmp_path: Path) -> None:
    first, second = (train(config, tmp_path / name, OBJECTIVE) for name in "ab")
    assert numbers(first) == numbers(second)
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(tmp_path / "a").values(), weights(tmp_path / "b").values(), strict=True)
    )
    other = train(config.model_copy(update={"seed": 1}), tmp_path / "c", OBJECTIVE)
    assert numbers(first) != numbers(other)


class Stop(Exception):
    pass


def test_an_interrupted_run_ends_like_an_uninterrupted_one(config: TrainConfig, tmp_path: Path) -> None:
    config = changed(config, "training", epochs=3)
    whole = train(config, tmp_path / "whole", OBJECTIVE)

    def stop(record: Record) -> None:
        raise Stop

    for _ in range(3):  # killed after every epoch
        with pytest.raises(Stop):
            train(config, tmp_path / "parts", OBJECTIVE, stop)
    seen: list[Record] = []
    parts = train(config, tmp_path / "parts", OBJECTIVE, seen.append)
    assert seen == []  # everything was done already
    assert numbers(parts) == numbers(whole)
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(tmp_path / "whole").values(), weights(tmp_path / "parts").values(), strict=True)
    )


def test_a_damaged_latest_checkpoint_falls_back_to_the_best(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epoch is the best one, so training goes on with the second."""
    config = changed(config, "training", epochs=4)
    values = iter([*(3.0, 1.0, 2.0), *(1.0, 2.0, 0.0), *(3.0, 1.0, 2.0, 0.0)])
    monkeypatch.setattr(
        training, "evaluate", lambda *arguments: {**evaluate(*arguments), "max_box_acc_v2": next(values)}
    )

    def stop_at_three(record: Record) -> None:
        if record["epoch"] == 3:
            raise Stop

    with pytest.raises(Stop):
        train(config, tmp_path, OBJECTIVE, stop_at_three)
    latest, best = Checkpoints(tmp_path).latest, Checkpoints(tmp_path).best
    assert latest is not None and best is not None and (best.epoch, latest.epoch) == (1, 3)
    (tmp_path / latest.file).write_bytes(b"half a file")
    seen: list[Record] = []
    outcome = train(config, tmp_path, OBJECTIVE, seen.append)
    assert [record["epoch"] for record in seen] == [2, 3, 4]
    assert [record["epoch"] for record in outcome] == [1, 2, 3, 4]
    assert Checkpoints(tmp_path).history == outcome  # those of the lost epochs are taken back
    assert numbers(outcome) == numbers(train(config, tmp_path / "whole", OBJECTIVE))


def test_best_is_the_first_highest_epoch_and_only_it_is_kept(config: TrainConfig, tmp_path: Path) -> None:
    outcome = train(changed(config, "training", epochs=4), tmp_path, OBJECTIVE)
    values = [record["objective_now"] for record in outcome]
    best = Checkpoints(tmp_path).best
    assert best is not None and best.epoch == values.index(max(values)) + 1
    assert [record["objective"] for record in outcome] == [max(values[: i + 1]) for i in range(4)]
    assert [path.name for path in tmp_path.glob("epoch-*")] == [best.file]


@pytest.mark.filterwarnings("ignore")
def test_divergence_is_said_with_epoch_and_rate(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"train/loss/classification became (nan|inf).* in epoch 1 at optim.lr 1e\+30"):
        train(changed(config, "optim", lr=1e30), tmp_path, OBJECTIVE)


def test_an_objective_that_is_not_measured_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"'train_fullsup/max_box_acc_v2/iou_33' is not measured.*max_box_acc_v2/iou_30"
    ):
        train(config, tmp_path, "train_fullsup/max_box_acc_v2/iou_33")


def test_the_published_decay_is_one_epoch_early(config: TrainConfig) -> None:
    optim = config.optim.model_copy(update={"lr_decay_every": 3})
    assert [round(decay(epoch, optim), 6) for epoch in range(1, 11)] == [
        1,
        1,
        0.1,
        0.1,
        0.1,
        0.01,
        0.01,
        0.01,
        0.001,
        0.001,
    ]
    optim = config.optim.model_copy(update={"lr_decay_every": 15})
    assert [round(decay(epoch, optim), 6) for epoch in (14, 15, 29, 30, 45, 50)] == [1, 0.1, 0.1, 0.01, 0.001, 0.001]
    optim = config.optim.model_copy(update={"lr_decay_every": 3, "lr_decay_epochs": [41, 61], "lr_decay_factor": 0.2})
    assert [round(decay(epoch, optim), 6) for epoch in (1, 40, 41, 60, 61, 70)] == [1, 1, 0.2, 0.2, 0.04, 0.04]


def test_evaluation_restores_modes_and_random_state(config: TrainConfig) -> None:
    dataset = build.dataset(config.data)
    method = build.method(config, dataset.num_classes).train()
    method.network.head.eval()
    state = torch.get_rng_state()
    evaluate(method, build.images(dataset, "train_fullsup", config.data), config.evaluation)
    assert method.training and not method.network.head.training
    assert torch.equal(state, torch.get_rng_state())


def _two_workers(rank: int, config_json: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    config = TrainConfig.model_validate_json(config_json)
    images: list[list[float]] = []
    outcome = train(config, Path(folder) / "two", OBJECTIVE, by_image=lambda numbers: images.append(numbers.tolist()))
    (Path(folder) / f"images-{rank}.json").write_text(json.dumps(images))
    (Path(folder) / f"{rank}.json").write_text(json.dumps(numbers(outcome)))
    dist.destroy_process_group()


def test_two_workers_equal_one(config: TrainConfig, tmp_path: Path) -> None:
    """No batch norm, so the same global batches give the same weights; 14 images in batches of 13: shares are uneven,
    and of the last image the second worker has none."""
    config = changed(config, "backbone", batch_norm=False)
    config = changed(config, "data", train_images=7, fullsup_images=5)
    config = changed(config, "training", batch_size=13, epochs=1)
    images: list[list[float]] = []
    one = train(config, tmp_path / "one", OBJECTIVE, by_image=lambda numbers: images.append(numbers.tolist()))
    run_two_workers(_two_workers, config.model_dump_json(), str(tmp_path))
    two: list[list[Record]] = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert {k: v for k, v in two[0][0].items() if k.startswith("train/")} == {
        k: v for k, v in two[1][0].items() if k.startswith("train/")
    }
    assert one[0]["train/loss"] == pytest.approx(two[0][0]["train/loss"], abs=1e-6)
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-5)
    losses = [
        history[0].pop("train_fullsup/loss/classification") for history in (one, two[0], two[1])
    ]  # a sum of floats, not of counts
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and losses[1] == losses[2]
    counted = [
        {k: v for k, v in history[0].items() if k.startswith("train_fullsup/")} for history in (one, two[0], two[1])
    ]
    assert counted[0] == counted[1] == counted[2]
    both = [json.loads((tmp_path / f"images-{rank}.json").read_text()) for rank in range(2)]
    assert images == both[0] == both[1] and len(images[0]) == 10


def test_settings_with_the_same_extractor_share_one_forward_pass(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build.dataset(config.data)
    method = build.method(config, dataset.num_classes)
    images = build.images(dataset, "train_fullsup", config.data)
    clipped = EvaluationConfig.model_validate(
        {**config.evaluation.model_dump(), "normalizer": {"name": "pas", "percentile": 50.0}}
    )
    calls: list[int] = []
    forward = type(method).score_maps

    def counted(self: Method, *arguments: torch.Tensor) -> ScoreMaps:
        calls.append(len(arguments[0]))
        return forward(self, *arguments)

    monkeypatch.setattr(type(method), "score_maps", counted)
    bilinear = config.evaluation.model_copy(update={"interpolation": "bilinear"})
    settings = (config.evaluation, clipped, bilinear)
    together = evaluate_together([Pipeline(one, method) for one in settings], images)
    assert sum(calls) == len(images)
    assert together == [evaluate(method, images, one) for one in settings]
    assert together[0] != together[1] and together[0] != together[2]


def test_order_and_crops_depend_on_the_seed_of_the_configuration(config: TrainConfig) -> None:
    images, method = build.images(build.dataset(config.data), "train_weaksup", config.data), build.method(config, 2)

    def first_epoch(seed: int) -> torch.Tensor:
        loader = build_loader(images, method, config.model_copy(update={"seed": seed}))
        return torch.cat([raw.images for raw in loader.epoch(1)])

    assert torch.equal(first_epoch(0), first_epoch(0)) and not torch.equal(first_epoch(0), first_epoch(1))


def test_an_epoch_trains_in_training_mode(config: TrainConfig) -> None:
    images, method = build.images(build.dataset(config.data), "train_weaksup", config.data), build.method(config, 2)
    method.eval()
    train_epoch(method, method, build_optimizer(method, config.optim), build_loader(images, method, config), 1, config)
    assert all(module.training for module in method.modules())
