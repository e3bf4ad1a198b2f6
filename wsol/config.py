"""The configuration of one training run. Every value a user can set has its field, range and meaning here or in a
plugin's file."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SerializeAsAny, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from wsol import plugins
from wsol.errors import InputError


class Strict(BaseModel):
    """Frozen, typed without guessing (`"3"` is no number, `true` is no number), closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PluginConfig(Strict):
    """Settings of one plugin; `name` is the plugin's file name.

    Attributes:
        needs_initial_run: a method that learns nothing about classes itself, and so trains on what another run learned.
    """

    needs_initial_run: ClassVar[bool] = False

    name: str


def any_plugin(kind: str) -> PlainValidator:
    """Validates a field of a `Config` by the `Config` of the plugin that its `name` names; `kind` is a key of
    `plugins.FOLDERS`."""

    def validate(value: Any) -> PluginConfig:
        if isinstance(value, PluginConfig):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "plugin", "expected a mapping with a name, one of {names}", {"names": ", ".join(plugins.names(kind))}
            )
        try:
            plugin = plugins.load(kind, value["name"])
        except (ValueError, InputError) as error:
            raise PydanticCustomError("plugin", "{message}", {"message": str(error)}) from None
        config: PluginConfig = plugin.Config.model_validate(value)
        return config

    return PlainValidator(validate)


class BackboneConfig(PluginConfig):
    """What every backbone takes.

    Attributes:
        weights: `imagenet` (the published ImageNet weights), `none` (random), or a file with a state dict.
        stride: pixels of the image per cell of the feature map.
    """

    weights: str = "imagenet"
    stride: Literal[8, 16, 32] = 16


class DatasetConfig(PluginConfig):
    """What every data set takes.

    Attributes:
        root: folder of data sets; relative paths start at the working directory. Or an archive with what such a folder
            holds, a path or an address that ends in .tar (`s3://bucket/cub.tar`; made by `tar -cf cub.tar -C data CUB
            metadata/CUB`), unpacked below `stage`.
        image_size: side in pixels of the square that the network sees and of the evaluation grid.
        resize_size: side in pixels to which training images are resized before the random crop of `image_size`.
        subset_per_class: train on this many images of each class of train_weaksup (the same ones in every trial); null:
            all.
        subset_list: train on the images that this file beside the metadata of train_weaksup lists instead, such as
            `image_ids_proxy.txt`, if there is one; null: no list.
        fullsup_per_class: use this many images of each class of train_fullsup, fewer where a class has fewer; null:
            all.
        subset_seed: draws both subsets.
        cache: decode the images once into a memory-mapped file: `auto` (when it fits on the disk), `on` or `off`.
        workers: threads that read images.
        stage: folder on each node's own disk, to which the packed images are copied once per node; needed where `root`
            is an archive, which is unpacked there once per node; null: they are read where they are.
    """

    root: str = "data"
    image_size: int = Field(default=224, ge=8, le=4096)
    resize_size: int = Field(default=256, ge=8, le=4096)
    subset_per_class: int | None = Field(default=None, ge=1)
    subset_list: str | None = Field(default=None, min_length=1)
    fullsup_per_class: int | None = Field(default=None, ge=1)
    subset_seed: int = Field(default=0, ge=0)
    cache: Literal["auto", "on", "off"] = "auto"
    workers: int = Field(default=4, ge=1)
    stage: str | None = Field(default=None, min_length=1, validate_default=True)

    @field_validator("stage")
    @classmethod
    def _has_what_to_stage(cls, stage: str | None, info: ValidationInfo) -> str | None:
        root = info.data.get("root", "")
        if "://" in root and not is_archive(root):
            raise ValueError(f"data.root {root} is an address and must be of an archive that ends in .tar")
        if is_archive(root) and stage is None:
            raise ValueError(
                f"data.root {root} is an archive: set data.stage to a folder on each node's own disk, where it is"
                " unpacked"
            )
        if not is_archive(root) and stage is not None and info.data.get("cache") == "off":
            raise ValueError("what is copied are the packed images: data.cache must not be off")
        return stage

    @field_validator("resize_size")
    @classmethod
    def _holds_a_crop(cls, resize_size: int, info: ValidationInfo) -> int:
        if resize_size < info.data.get("image_size", 0):
            raise ValueError(
                f"{resize_size} is smaller than image_size {info.data['image_size']}: no crop of that size fits"
            )
        return resize_size


def is_archive(root: str) -> bool:
    """Whether a root of data sets is a file to unpack."""
    return root.partition("?")[0].endswith(".tar")


class OptimConfig(Strict):
    """SGD with Nesterov momentum; the published step decay.

    Attributes:
        lr: learning rate of the backbone for one global batch.
        head_lr_scale: the other group (head, and the blocks a backbone names) learns at lr times this.
        momentum: Nesterov momentum.
        weight_decay: on every parameter, biases and batch norm included.
        lr_decay_every: f: at the start of epochs f, 2f, ... (1-based) all rates are multiplied by `lr_decay_factor`.
        lr_decay_epochs: the rates are multiplied at the start of these epochs (1-based) instead; null: see above.
        lr_decay_factor: see above.
    """

    lr: float = Field(default=0.001, gt=0, le=10)
    head_lr_scale: float = Field(default=10.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    lr_decay_every: int = Field(default=15, ge=1)
    lr_decay_epochs: list[Annotated[int, Field(ge=1)]] | None = Field(default=None, min_length=1)
    lr_decay_factor: float = Field(default=0.1, gt=0, le=1)


class TrainingConfig(Strict):
    """The loop.

    Attributes:
        epochs: passes over train_weaksup.
        batch_size: images of one step over all workers together (the global batch).
        precision: `fp32`, `bf16` (autocast), or `auto`: bf16 on a GPU, fp32 on a CPU.
        checkpoint: the weights that count, and with them the value of a trial: of the `best` epoch on train_fullsup, or
            of the `last` one, as in the published tables of the protocol.
    """

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint: Literal["best", "last"] = "best"


class EvaluationConfig(Strict):
    """From a network to numbers.

    Attributes:
        extractor: makes the raw map of the asked class.
        normalizer: brings the resized map to [0, 1].
        metrics: what is counted.
        threshold_step: distance of the score thresholds 0, step, 2*step, ... < 1.
        batch_size: images of one forward pass of one worker.
    """

    extractor: Annotated[SerializeAsAny[PluginConfig], any_plugin("extractor")] = Field(
        default={"name": "cam"}, validate_default=True
    )
    normalizer: Annotated[SerializeAsAny[PluginConfig], any_plugin("normalizer")] = Field(
        default={"name": "min_max"}, validate_default=True
    )
    metrics: list[Annotated[SerializeAsAny[PluginConfig], any_plugin("metric")]] = Field(
        default=[{"name": "max_box_acc_v2"}, {"name": "max_box_acc"}, {"name": "top1"}],
        min_length=1,
        validate_default=True,
    )
    threshold_step: float = Field(default=0.001, gt=0, le=0.5)
    batch_size: int = Field(default=64, ge=1)


class TrainConfig(Strict):
    """One complete training run: the `trial:` part of a search space.

    Attributes:
        seed: fixes initial weights, order, augmentation and the draws of the method.
        initial_run: folder of a finished run on the same data set and backbone, with whose best weights the network
            starts; null: with those of the backbone.
    """

    seed: int = Field(default=0, ge=0)
    initial_run: str | None = None
    method: Annotated[SerializeAsAny[PluginConfig], any_plugin("method")]
    backbone: Annotated[SerializeAsAny[BackboneConfig], any_plugin("backbone")]
    data: Annotated[SerializeAsAny[DatasetConfig], any_plugin("dataset")]
    optim: OptimConfig = OptimConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @field_validator("method")
    @classmethod
    def _has_its_start(cls, method: PluginConfig, info: ValidationInfo) -> PluginConfig:
        inside: PluginConfig | None = method
        while inside is not None:
            if inside.needs_initial_run and info.data.get("initial_run", "") is None:
                raise ValueError(
                    f"{inside.name} trains on what another run learned: set initial_run to the folder of a finished run"
                )
            inside = getattr(inside, "base", None)
        return method
