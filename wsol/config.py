"""The configuration of one training run. Every value a user can set has its field, range and meaning here, in
`schema.py` (what all backbones and all data sets take) or in a plugin's file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, SerializeAsAny, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from wsol import plugins
from wsol.console import say_once
from wsol.errors import InputError
from wsol.packages import OURS
from wsol.schema import BackboneConfig, DatasetConfig, FilePath, Interpolation, PluginConfig, Strict

LARGEST_SEED = 2**34
"""The largest seed: torch's random state is a 64-bit number made from seed, epoch and worker."""


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
        if origin := plugins.origin(kind, value["name"]):
            say_once(f"note: {origin} ({origin.module}), a package that is no part of {OURS}")
        config: PluginConfig = plugin.Config.model_validate(value)
        return config

    return PlainValidator(validate)


class OptimConfig(Strict):
    """The optimizer, and the published step decay of its learning rates.

    Attributes:
        optimizer: `sgd` (with Nesterov momentum), or `adamw` (transformers).
        lr: learning rate of the backbone for one global batch.
        head_lr_scale: the head, and the blocks that a backbone names as fast, learn at lr times this.
        momentum: Nesterov momentum of `sgd`.
        betas: decay rates of the running means of the gradient and of its square, for `adamw`.
        epsilon: what is added to the root of the second mean, for `adamw`.
        weight_decay: `sgd` adds it to the gradient of every parameter, biases and batch norm included. `adamw`
            subtracts it, times lr, from the weights, but not from biases, norms, class token and positions.
        lr_decay_every: f: at the start of epochs f, 2f, ... (1-based) all rates are multiplied by `lr_decay_factor`.
        lr_decay_epochs: the rates are multiplied at the start of these epochs (1-based) instead; null: see above.
        lr_decay_factor: see above.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.001, gt=0, le=10)
    head_lr_scale: float = Field(default=10.0, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default=[0.9, 0.999], min_length=2, max_length=2)
    epsilon: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    lr_decay_every: int = Field(default=15, ge=1)
    lr_decay_epochs: list[Annotated[int, Field(ge=1)]] | None = Field(default=None, min_length=1)
    lr_decay_factor: float = Field(default=0.1, gt=0, le=1)


class TrainingConfig(Strict):
    """The training loop.

    Attributes:
        epochs: passes over the images that are trained on: train_weaksup, for most methods.
        batch_size: images of one step over all workers together (the global batch).
        precision: `fp32`, `bf16` (autocast), or `auto`: bf16 on a GPU, fp32 on a CPU.
        checkpoint: the epoch whose weights count, and which gives the value of a trial: the `best` one on
            train_fullsup, or the `last` one, as in the published tables of the protocol.
    """

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint: Literal["best", "last"] = "best"


class EvaluationConfig(Strict):
    """How a network is evaluated.

    Attributes:
        extractor: makes the raw map of the requested class.
        interpolation: how a raw map is enlarged to the evaluation grid: `bicubic` as in the protocol, or `bilinear`, as
            in the released code of some methods whose maps are of gradients or tokens.
        normalizer: brings the enlarged map to [0, 1].
        metrics: the metrics that are computed.
        test_metrics: further metrics on test, for annotations that only test has.
        threshold_step: distance of the score thresholds 0, step, 2*step, ... < 1. Steps below 1e-4 would only fill the
            memory, because box metrics see 256 levels.
        batch_size: number of images in one forward pass of one worker.
    """

    extractor: Annotated[SerializeAsAny[PluginConfig], any_plugin("extractor")] = Field(
        default={"name": "cam"}, validate_default=True
    )
    interpolation: Interpolation = "bicubic"
    normalizer: Annotated[SerializeAsAny[PluginConfig], any_plugin("normalizer")] = Field(
        default={"name": "min_max"}, validate_default=True
    )
    metrics: list[Annotated[SerializeAsAny[PluginConfig], any_plugin("metric")]] = Field(
        default=[{"name": "max_box_acc_v2"}, {"name": "max_box_acc"}, {"name": "top1"}],
        min_length=1,
        validate_default=True,
    )
    test_metrics: list[Annotated[SerializeAsAny[PluginConfig], any_plugin("metric")]] = []
    threshold_step: float = Field(default=0.001, ge=1e-4, le=0.5)
    batch_size: int = Field(default=64, ge=1)

    def on(self, split: str) -> EvaluationConfig:
        """The metrics for a split; on `test`, those of `test_metrics` too."""
        metrics = [*self.metrics, *(self.test_metrics if split == "test" else [])]
        return self.model_copy(update={"metrics": metrics, "test_metrics": []})


class TrainConfig(Strict):
    """One complete training run: the `trial:` part of a search space.

    Attributes:
        seed: determines initial weights, order of images, augmentation and the draws of the method.
        initial_run: folder of a finished run on the same data set and backbone, with whose best weights the network
            starts; null: with those of the backbone.
    """

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    initial_run: FilePath | None = None
    method: Annotated[SerializeAsAny[PluginConfig], any_plugin("method")]
    backbone: Annotated[SerializeAsAny[BackboneConfig], any_plugin("backbone")]
    data: Annotated[SerializeAsAny[DatasetConfig], any_plugin("dataset")]
    optim: OptimConfig = OptimConfig()
    training: TrainingConfig = Field(default=TrainingConfig(), validate_default=True)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @field_validator("method")
    @classmethod
    def _has_its_start(cls, method: PluginConfig, info: ValidationInfo) -> PluginConfig:
        for inside in method.with_bases():
            if inside.needs_initial_run and info.data.get("initial_run", "") is None:
                raise ValueError(
                    f"{inside.name} trains on what another run learned: set initial_run to the folder of a finished run"
                )
        return method

    @field_validator("method")
    @classmethod
    def _stands_alone_with_boxes(cls, method: PluginConfig) -> PluginConfig:
        for inside in method.with_bases():
            if inside is not method and inside.fullsup_share():
                raise ValueError(f"{inside.name} trains on boxes, which {method.name} around it would not see")
        return method

    @field_validator("training")
    @classmethod
    def _has_what_to_select_by(cls, training: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        method, data = info.data.get("method"), info.data.get("data")
        if method and data and training.checkpoint == "best" and trains_on_all(method, data):
            raise ValueError(
                f"{method.name} trains on all images of train_fullsup here, and none is left to choose an epoch by: set"
                " training.checkpoint: last"
            )
        return training

    @property
    def uses_boxes(self) -> bool:
        """Whether it trains on boxes or masks of train_fullsup, and on no image of train_weaksup."""
        return self.method.fullsup_share() > 0

    @property
    def withheld(self) -> tuple[float, int | None, int] | None:
        """What decides which images of train_fullsup are trained on, and so cannot select; None where none is."""
        share = self.method.fullsup_share()
        return (share, self.data.fullsup_per_class, self.data.subset_seed) if share else None

    @property
    def selects_blindly(self) -> bool:
        """Whether it trains on all images of train_fullsup, so that none is left to select by."""
        return trains_on_all(self.method, self.data)

    @field_validator("backbone")
    @classmethod
    def _fits_the_method(cls, backbone: BackboneConfig, info: ValidationInfo) -> BackboneConfig:
        if (method := info.data.get("method")) and (reason := misfit(method, backbone)):
            raise ValueError(reason)
        return backbone

    @field_validator("data")
    @classmethod
    def _is_cut_evenly(cls, data: DatasetConfig, info: ValidationInfo) -> DatasetConfig:
        backbone: BackboneConfig | None = info.data.get("backbone")
        if backbone is not None and data.image_size % backbone.image_side_multiple:
            side = backbone.image_side_multiple
            raise ValueError(f"image_size {data.image_size} is no multiple of {side}, which {backbone.name} needs")
        return data

    @field_validator("evaluation")
    @classmethod
    def _shows_the_backbone(cls, evaluation: EvaluationConfig, info: ValidationInfo) -> EvaluationConfig:
        if (backbone := info.data.get("backbone")) and (reason := misfit(evaluation.extractor, backbone)):
            raise ValueError(reason)
        return evaluation


def trains_on_all(method: PluginConfig, data: DatasetConfig) -> bool:
    """Whether a method trains on every image of train_fullsup: it wants all, or there is one of each class."""
    share = method.fullsup_share()
    return share == 1 or (share > 0 and data.fullsup_per_class == 1)


def misfit(plugin: PluginConfig, backbone: BackboneConfig) -> str:
    """Why a method, or one inside of it, or an extractor cannot work on a backbone; nothing where all can."""
    if plugin.needs_tokens and not backbone.has_tokens:
        return f"{plugin.name} reads the attention of a transformer, which {backbone.name} is not; use deit"
    if backbone.has_tokens and (reason := plugin.reason_against_tokens()):
        return f"{plugin.name} does not work on {backbone.name}, a transformer: {reason}"
    base: PluginConfig | None = getattr(plugin, "base", None)
    return misfit(base, backbone) if base is not None else ""
