"""The contract that every method keeps, and the published numbers of the methods of one augmentation.

A new file in `wsol/methods/` or `wsol/backbones/` is tested here without being named, with the defaults of its
`Config`.
"""

from __future__ import annotations

import copy
import datetime
import multiprocessing
import traceback
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support.small_networks import CLASSES, make
from wsol import plugins
from wsol.method import Method
from wsol.methods.cutmix import cut_box, draw_share, mix
from wsol.methods.has import hide
from wsol.types import Batch, Progress

SIDE = 32
METHODS = plugins.names("method")
SMALL, LARGE = ("tiny", "efficientnet_lite0"), ("vgg16", "resnet50", "inception_v3")
OTHERS = tuple(
    name for name in plugins.names("backbone") if name not in (*SMALL, *LARGE, "timm")
)  # timm's have a file of their own
STACKS = [(method, backbone) for backbone in SMALL + LARGE + OTHERS for method in METHODS]
LONG_STACKS = [stack if stack[1] == "tiny" else pytest.param(*stack, marks=pytest.mark.slow) for stack in STACKS]
TINY_RATE, RATE = 0.05, 0.003
"""Learning rates; the wide networks need the small one."""

DEEP = ("resnet50", "inception_v3")
"""They leave 2x2 cells of small images, and a method may hide all four."""

FIRST, LAST = Progress(epoch=1, epochs=4, step=0, steps=20), Progress(epoch=4, epochs=4, step=19, steps=20)

every_method = pytest.mark.parametrize("name", METHODS)
every_stack = pytest.mark.parametrize(("name", "backbone"), STACKS)
every_long_stack = pytest.mark.parametrize(("name", "backbone"), LONG_STACKS)


def make_batch(count: int = 8, side: int = SIDE) -> Batch:
    """Noise with a bright square whose place is the class."""
    images = 0.2 * torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = (label // 2) * side // 2, (label % 2) * side // 2
        image[:, top : top + side // 2, left : left + side // 2] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[
            :, None, None
        ]
    return Batch(images, labels, tuple(f"image{i}" for i in range(count)))


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@torch.no_grad()
def mean_loss(method: Method, batch: Batch, progress: Progress) -> Tensor:
    """Over several draws of what a method hides or mixes: one draw may hide all of a small map."""
    losses = []
    for seed in range(4):
        torch.manual_seed(seed)
        losses.append(total(method(batch, progress)))
    return torch.stack(losses).mean()


# --- the contract -----------------------------------------------------------------------------------------------------


@every_stack
def test_loss_terms_are_named_finite_scalars(name: str, backbone: str) -> None:
    method = make(name, backbone).train()
    for progress in (FIRST, LAST):
        losses = method(make_batch(4), progress)
        assert losses
        for term, value in losses.items():
            assert isinstance(term, str) and term.isidentifier(), (
                f"{name}: the loss term {term!r} needs a name of letters, digits and _"
            )
            assert value.shape == () and torch.isfinite(value), (
                f"{name}: the loss term {term} should be one finite number, is {value}"
            )


@every_stack
@pytest.mark.parametrize("progress", [FIRST, LAST], ids=["first", "last"])
def test_every_trainable_parameter_gets_a_gradient_in_every_step(name: str, backbone: str, progress: Progress) -> None:
    """Distributed training waits for every one of them."""
    method = make(name, backbone).train()
    total(
        method(make_batch(3), progress)
    ).backward()  # one class is absent: the bias learns even where a method hides all of a small map
    trainable = {key: p for key, p in method.named_parameters() if p.requires_grad}
    assert trainable
    unused = [key for key, p in trainable.items() if p.grad is None]
    assert not unused, (
        f"{name} on {backbone}: no loss term depends on {', '.join(unused)}: use them in every step, or leave them out"
        " or frozen"
    )
    broken = [key for key, p in trainable.items() if not torch.isfinite(p.grad).all()]
    assert not broken, f"{name} on {backbone}: the gradient of {', '.join(broken)} has NaN or infinity"
    if progress == LAST:
        assert any(p.grad.abs().sum() > 0 for p in trainable.values())


@every_stack
def test_parameter_groups_hold_every_trainable_parameter_once(name: str, backbone: str) -> None:
    method = make(name, backbone)
    grouped = [id(p) for group in method.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters() if p.requires_grad)


@every_long_stack
def test_loss_falls(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).train(), make_batch(side=2 * SIDE if backbone in DEEP else SIDE)
    before = mean_loss(method, batch, FIRST)
    optimizer = torch.optim.SGD(method.parameters(), lr=TINY_RATE if backbone == "tiny" else RATE, momentum=0.9)
    for step in range(20):
        optimizer.zero_grad()
        total(method(batch, Progress(1, 4, step, 20))).backward()
        optimizer.step()
    assert mean_loss(method, batch, FIRST) < before, (
        f"{name} on {backbone}: the loss does not fall over 20 steps on one batch"
    )


@every_stack
def test_maps_are_finite_and_repeatable(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).eval(), make_batch(4)
    first, second = (method.score_maps(batch.images, batch.labels) for _ in range(2))
    assert first.maps.ndim == 3 and len(first.maps) == len(batch.labels) and first.maps.dtype == torch.float32
    assert first.logits.shape == (len(batch.labels), CLASSES) and first.logits.dtype == torch.float32
    assert torch.isfinite(first.maps).all() and torch.isfinite(first.logits).all()
    assert not first.maps.requires_grad and not first.logits.requires_grad
    assert torch.equal(first.maps, second.maps) and torch.equal(first.logits, second.logits)


@every_stack
def test_maps_of_constant_images_are_finite(name: str, backbone: str) -> None:
    images = torch.tensor([0.0, 2.5])[:, None, None, None].expand(2, 3, SIDE, SIDE)
    finite = bool(torch.isfinite(make(name, backbone).eval().score_maps(images, torch.tensor([1, 0])).maps).all())
    assert finite, (
        f"{name} on {backbone}: the map of an image of one colour has NaN or infinity: see that nothing is divided by 0"
    )


@every_stack
def test_each_image_gets_the_map_of_its_own_class(name: str, backbone: str) -> None:
    method, images = make(name, backbone).eval(), make_batch(4).images
    labels = torch.tensor([3, 0, 0, 2])
    batched = method.score_maps(images, labels)
    for image in range(len(labels)):
        single = method.score_maps(images[image : image + 1], labels[image : image + 1])
        torch.testing.assert_close(batched.maps[image], single.maps[0], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(batched.logits[image], single.logits[0], rtol=1e-3, atol=1e-5)


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_score_maps_leave_modes_gradients_and_random_state_alone(name: str, training: bool) -> None:
    method, batch = make(name).train(training), make_batch()
    modes = [module.training for module in method.modules()]
    frozen = [p.requires_grad for p in method.parameters()]
    if not training:
        state = copy.deepcopy(method.state_dict())
    random = torch.get_rng_state()
    method.score_maps(batch.images, batch.labels)
    assert [module.training for module in method.modules()] == modes
    assert [p.requires_grad for p in method.parameters()] == frozen
    assert all(p.grad is None for p in method.parameters())
    if not training:
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(value, state[key]) for key, value in method.state_dict().items())


@every_method
def test_training_steps_do_not_change_their_batch(name: str) -> None:
    method, batch = make(name).train(), make_batch()
    images, labels = batch.images.clone(), batch.labels.clone()
    total(method(batch, LAST)).backward()
    assert torch.equal(batch.images, images) and torch.equal(batch.labels, labels)
    assert batch.mixed_labels is None


@every_method
def test_steps_repeat_with_the_seed(name: str) -> None:
    first, second = (mean_loss(make(name).train(), make_batch(), LAST) for _ in range(2))
    assert torch.equal(first, second)


@every_method
def test_label_mixing_composes(name: str) -> None:
    """Two label sets with the same labels are one label set."""
    plain = make_batch()
    same = Batch(plain.images, plain.labels, plain.image_ids, mixed_labels=plain.labels, mixed_weight=0.3)
    losses = []
    for batch in (plain, same):
        method = make(name).train()
        torch.manual_seed(7)
        losses.append(total(method.losses(batch, LAST)))
    torch.testing.assert_close(losses[0], losses[1])


@every_long_stack
def test_checkpoint_round_trip(name: str, backbone: str, tmp_path: Path) -> None:
    method, batch = make(name, backbone).train(), make_batch(4)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    total(method(batch, FIRST)).backward()
    optimizer.step()
    torch.save(method.state_dict(), tmp_path / "weights.pt")
    again = make(name, backbone)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    maps, restored = (m.eval().score_maps(batch.images, batch.labels).maps for m in (method, again))
    assert torch.equal(maps, restored)


# --- two workers ------------------------------------------------------------------------------------------------------


def train_three_steps(name: str, backbone: str, rank: int) -> dict[str, Tensor]:
    """Every parameter and buffer, batch norm's statistics apart: those are rank 0's, sent with the next forward
    pass."""
    method = make(name, backbone).train()
    wrapped = nn.parallel.DistributedDataParallel(method)
    optimizer = torch.optim.SGD(method.parameters(), lr=RATE)
    whole = make_batch()
    batch = Batch(whole.images[rank::2], whole.labels[rank::2], whole.image_ids[rank::2])
    torch.manual_seed(rank)
    for step in range(3):
        optimizer.zero_grad()
        total(wrapped(batch, Progress(step + 1, 3, step, 3))).backward()
        optimizer.step()
    return {
        key: value for key, value in method.state_dict().items() if not key.endswith(("running_mean", "running_var"))
    }


def worker(rank: int, folder: str, stacks: list[tuple[str, str]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    for name, backbone in stacks:
        try:
            result: object = train_three_steps(name, backbone, rank)
        except Exception:
            result = traceback.format_exc()
        torch.save(result, Path(folder) / f"{name}_{backbone}_{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both workers train every stack that is tested in this run, because starting them takes longer than training."""
    tests = [item for item in request.session.items if "two_workers" in getattr(item, "fixturenames", ())]
    stacks = [(item.callspec.params["name"], item.callspec.params["backbone"]) for item in tests]
    folder = tmp_path_factory.mktemp("two_workers")
    multiprocessing.set_forkserver_preload(["torch._dynamo"])  # imported once for both
    torch.multiprocessing.start_processes(worker, (str(folder), stacks), nprocs=2, start_method="forkserver")
    return folder


@every_long_stack
def test_two_workers_end_with_the_same_network(name: str, backbone: str, two_workers: Path) -> None:
    paths = [two_workers / f"{name}_{backbone}_{rank}.pt" for rank in range(2)]
    first, second = (torch.load(path, weights_only=True) for path in paths)
    for path in paths:
        path.unlink()  # hundreds of megabytes
    assert isinstance(first, dict), first
    assert isinstance(second, dict), second
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    start = make(name, backbone).state_dict()
    assert any(not torch.equal(first[key], start[key]) for key in first)


# --- Hide-and-Seek ----------------------------------------------------------------------------------------------------


def test_has_hides_the_cells_of_the_reference() -> None:
    """Cells of 100 pixels on 224: 100, 100 and 24 in each axis; K K D / D K D / K D D are the reference's draws at seed
    0."""
    kept = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 0]]).bool()
    pixels = hide(torch.ones(1, 3, 224, 224), kept[None], 100)[0]
    edges = [0, 100, 200, 224]
    for row in range(3):
        for column in range(3):
            cell = pixels[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            assert (cell == kept[row, column]).all()


def test_has_hides_both_axes_of_a_wide_image() -> None:
    assert (hide(torch.ones(1, 3, 4, 8), torch.zeros(1, 2, 4).bool(), 2) == 0).all()


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.3, 0.65, 0.75)])
def test_has_drop_rate(rate: float, low: float, high: float) -> None:
    plugin = plugins.load("method", "has")
    method = plugin.build(plugin.Config(cell_size=3, drop_rate=rate), make("cam").network)
    images = method.augment(Batch(torch.ones(4, 3, 100, 130), torch.zeros(4).long())).images
    assert low <= images.mean() <= high
    assert (images == images[:, :1]).all()  # all channels
    assert rate in (0, 1) or not torch.equal(images[0], images[1])  # each image for itself


# --- CutMix -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "center", "box", "left_over"),
    [
        (0.5, (112, 112), (33, 33, 191, 191), 0.5024713010204082),
        (0.5, (0, 223), (0, 144, 79, 224), 0.8740433673469388),
        (0.25, (50, 60), (0, 0, 146, 156), 0.5460778061224489),
        (0.0, (112, 112), (0, 0, 224, 224), 0.0),
        (1.0, (5, 5), (5, 5, 5, 5), 1.0),
    ],
)
def test_cutmix_boxes_of_the_reference(
    share: float, center: tuple[int, int], box: tuple[int, ...], left_over: float
) -> None:
    found = cut_box((224, 224), share, center)
    assert found == box
    batch = mix(Batch(torch.zeros(2, 3, 224, 224), torch.tensor([0, 1])), torch.tensor([1, 0]), found)
    assert 1 - batch.mixed_weight == pytest.approx(left_over, abs=1e-12)


def test_cutmix_pastes_from_the_unmixed_batch() -> None:
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 10, 20)
    batch = mix(Batch(images, torch.tensor([5, 6, 7])), torch.tensor([1, 2, 0]), (2, 4, 6, 14))
    for image, other in enumerate((1, 2, 0)):
        assert (batch.images[image, :, 2:6, 4:14] == other).all()
        assert (batch.images[image] == other).sum() == 3 * 4 * 10
    assert batch.mixed_labels is not None and batch.mixed_labels.tolist() == [6, 7, 5]
    assert batch.mixed_weight == pytest.approx(40 / 200)
    assert [weight for _, weight in batch.label_sets()] == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_cutmix_probability(probability: float) -> None:
    plugin = plugins.load("method", "cutmix")
    method = plugin.build(plugin.Config(probability=probability), make("cam").network)
    batch = Batch(torch.randn(4, 3, 8, 8), torch.arange(4))
    torch.manual_seed(0)
    mixed = sum(method.augment(batch).mixed_labels is not None for _ in range(300)) / 300
    assert mixed == pytest.approx(probability, abs=0.09 if 0 < probability < 1 else 0)


@pytest.mark.parametrize("alpha", [0.001, 0.04, 1.0, 50.0])
def test_cutmix_share_is_beta_distributed(alpha: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), also where gamma variables would underflow."""
    torch.manual_seed(0)
    draws = torch.tensor([draw_share(alpha) for _ in range(2000)])
    assert ((draws >= 0) & (draws <= 1)).all()
    assert draws.mean().item() == pytest.approx(0.5, abs=0.04)
    assert draws.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("has", {"cell_size": 0}),
        ("has", {"drop_rate": 1.1}),
        ("cutmix", {"alpha": 0.0}),
        ("cutmix", {"probability": -0.1}),
    ],
)
def test_ranges(name: str, fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        plugins.load("method", name).Config(**fields)
