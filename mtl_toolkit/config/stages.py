"""The tables of a stage: what it reads, how it trains, and what else a stage may do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import attrs

from ..plugin import Architecture, Backbone, Balancer, Loss, Sampler, Temporal
from ..validators import Rule, above, at_least, between, inside, not_empty, unique

NETWORK_KEYS = ("architecture", "backbone")  # of a stage: they have no effect where it works on features
OWN_AVERAGE = "ema"  # as a teacher: the average of the weights that the stage itself trains


def doc(text: str, **more: Any) -> dict[str, Any]:
    """Field metadata: what the field means."""
    return {"doc": text, **more}


@attrs.frozen(kw_only=True)
class Augmentation:
    """Random changes of training pictures, on whole batches on the device, beside the cut of `model.crop`.

    `mixup` also mixes inputs that are no pictures.
    """

    flip: bool = attrs.field(default=True, metadata=doc("mirror half of the pictures"))
    brightness: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata=doc("largest change, as a share")
    )
    contrast: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata=doc("largest change, as a share")
    )
    saturation: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata=doc("largest change, as a share")
    )
    grey: float = attrs.field(default=0.0, validator=between(0, 1), metadata=doc("share made grey"))
    erase: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata=doc("share that loses a random rectangle")
    )
    mixup: float = attrs.field(
        default=0.0,
        validator=at_least(0),
        metadata=doc("mix rows in pairs, by shares from Beta(mixup, mixup); 0: no mixing"),
    )


@attrs.frozen(kw_only=True)
class Feed:
    """Samples of a dataset (or of several, one after the other) for a task."""

    dataset: str | tuple[str, ...] = attrs.field(metadata=doc("a dataset's name, or several"))
    task: str = attrs.field(metadata=doc("the task that it is for"))
    name: str = attrs.field(default="", metadata=doc("how logs and reports call it; '': the datasets' names"))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return (self.dataset,) if isinstance(self.dataset, str) else self.dataset

    @property
    def title(self) -> str:
        """How logs and reports call it."""
        return self.name or "+".join(self.datasets)


@attrs.frozen(kw_only=True)
class Stream(Feed):
    """Training samples for a task, with the rows it gives to each step and their order."""

    batch_size: int = attrs.field(
        default=64, validator=at_least(1), metadata=doc("rows (or windows) per step, over all processes")
    )
    sampler: Sampler = attrs.field(metadata=doc("order of the samples", toml_default="shuffle"))


@attrs.frozen(kw_only=True)
class Validation(Feed):
    """Samples on which a task's metrics are taken after each epoch."""

    batch_size: int = attrs.field(default=256, validator=at_least(1), metadata=doc("rows at a time"))


@attrs.frozen(kw_only=True)
class Optimizer:
    """An optimizer of torch by name, with its own options; `backbone` and `heads` override them."""

    extra_keys: ClassVar[str] = "options"
    type: str = attrs.field(default="AdamW", metadata=doc("a class of torch.optim"))
    lr: float = attrs.field(default=1e-3, validator=above(0), metadata=doc("learning rate"))
    backbone: Mapping[str, Any] = attrs.field(factory=dict, metadata=doc("overrides for the backbone"))
    heads: Mapping[str, Any] = attrs.field(factory=dict, metadata=doc("overrides for everything else"))
    options: Mapping[str, Any] = attrs.field(factory=dict)
    sam: float | None = attrs.field(
        default=None,
        validator=above(0),
        metadata=doc(
            "sharpness-aware minimisation: how far weights climb before their gradient is taken; none: off"
        ),
    )
    sam_adaptive: bool = attrs.field(
        default=False, metadata=doc("measure each weight's way by its size (ASAM); `sam` is then about 0.5")
    )


@attrs.frozen(kw_only=True)
class Scheduler:
    """A learning-rate scheduler of torch by name, with its own options, after a linear warm-up.

    Where torch's class wants the number of steps (`total_steps`, `T_max`), it is filled in.
    """

    extra_keys: ClassVar[str] = "options"
    type: str | None = attrs.field(
        default=None, metadata=doc("a class of torch.optim.lr_scheduler; none: constant after the warm-up")
    )
    per: Literal["step", "epoch"] = attrs.field(default="step", metadata=doc("after what it is stepped"))
    warmup: int = attrs.field(default=0, validator=at_least(0), metadata=doc("steps (or epochs) of warm-up"))
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Windows:
    """Runs of frames of one video, which are the samples of a temporal stage.

    Validation cuts every video into windows that follow each other, so that each frame is in just one.
    """

    length: int = attrs.field(default=32, validator=at_least(1), metadata=doc("frames, at most"))
    stride: int = attrs.field(
        default=16,
        validator=at_least(1),
        metadata=doc("frames between the starts of windows, in training"),
    )
    gaps: Literal["drop", "cut"] = attrs.field(
        default="drop",
        metadata=doc("drop training windows with a missing frame, or cut videos there into shorter windows"),
    )
    step: int = attrs.field(
        default=1,
        validator=at_least(1),
        metadata=doc("largest distance of two frames' numbers that is no gap, for videos that were thinned"),
    )


@attrs.frozen(kw_only=True)
class Stage:
    """One training: which streams, how long, how, with which teacher."""

    name: str = attrs.field(validator=not_empty(), metadata=doc("its folder in the run directory"))
    kind: Literal["train"] = attrs.field(default="train", metadata=doc("what is done"))
    features: str | None = attrs.field(
        default=None,
        metadata=doc("an earlier extract stage, or its folder, whose features stand in for pictures"),
    )
    temporal: Temporal | None = attrs.field(
        default=None,
        metadata=doc("a network over the frames of windows, under each head; none: single rows"),
    )
    windows: Windows | None = attrs.field(
        default=None,
        metadata=doc("how videos are cut; none: the defaults, with a temporal network"),
    )
    streams: tuple[Stream, ...] = attrs.field(validator=not_empty(), metadata=doc("what a step is made of"))
    validation: tuple[Validation, ...] = attrs.field(
        default=(), metadata=doc("on what metrics are taken after each epoch")
    )
    epochs: int = attrs.field(default=10, validator=at_least(1), metadata=doc("how many at most"))
    epoch_length: Literal["shortest", "longest"] | int = attrs.field(
        default="shortest", metadata=doc("an epoch ends with this stream, others cycle; or a number of steps")
    )
    sharing: bool = attrs.field(
        default=True, metadata=doc("use labels that are not the stream's own, where a row has them")
    )
    teacher: str | Mapping[str, str] | None = attrs.field(
        default=None,
        metadata=doc(
            "an earlier stage, a checkpoint's path, or 'ema' for the average of `ema`; or one per task"
        ),
    )
    losses: tuple[Loss, ...] = attrs.field(default=(), metadata=doc("further losses, on every task"))
    ground_truth_weight: float | None = attrs.field(
        default=None, validator=at_least(0), metadata=doc("none: 1 minus the weights of the teacher losses")
    )
    balancer: Balancer = attrs.field(metadata=doc("how losses are combined", toml_default="sum"))
    optimizer: Optimizer = attrs.field(factory=Optimizer, metadata=doc("how weights are updated"))
    scheduler: Scheduler = attrs.field(factory=Scheduler, metadata=doc("how the learning rate changes"))
    clip_norm: float | None = attrs.field(default=None, validator=above(0), metadata=doc("none: no clipping"))
    accumulate: int = attrs.field(default=1, validator=at_least(1), metadata=doc("batches per step"))
    patience: int | None = attrs.field(
        default=None, validator=at_least(1), metadata=doc("stop after so many epochs without improvement")
    )
    select: Mapping[str, float] = attrs.field(
        factory=dict, metadata=doc("weights of metrics in choosing the best epoch; none: the heads' own")
    )
    augmentation: Augmentation = attrs.field(
        factory=Augmentation, metadata=doc("random changes of training pictures")
    )
    start_from: str | None = attrs.field(
        default=None, metadata=doc("an earlier stage or a checkpoint's path whose weights to start from")
    )
    allow_overlap: bool = attrs.field(
        default=False, metadata=doc("train although validation shares files or groups with training")
    )
    seeds: int = attrs.field(
        default=1, validator=at_least(1), metadata=doc("how often it is trained, each time with other seeds")
    )
    folds: int | None = attrs.field(
        default=None,
        validator=at_least(2),
        metadata=doc(
            "train so many times, each without one of so many parts of the data; none: on all of it"
        ),
    )

    architecture: Architecture | None = attrs.field(
        default=None, metadata=doc("how tasks share this stage's network; none: as the model says")
    )
    backbone: Backbone | None = attrs.field(
        default=None, metadata=doc("of this stage's network; none: the model's")
    )

    ema: float | None = attrs.field(
        default=None,
        validator=inside(0, 1),
        metadata=doc(
            "decay of a moving average of the weights, which is validated and kept as best; none: no average"
        ),
    )

    @property
    def teachers(self) -> dict[str, str]:
        """The teacher by task; the key '' stands for every task, "ema" for the average of the own weights."""
        if self.teacher is None:
            return {}
        return {"": self.teacher} if isinstance(self.teacher, str) else dict(self.teacher)

    @property
    def trained_teachers(self) -> dict[str, str]:
        """Those of them that are trained before: earlier stages and checkpoints' paths."""
        return {task: teacher for task, teacher in self.teachers.items() if teacher != OWN_AVERAGE}


@attrs.frozen(kw_only=True)
class ExtractStage:
    """Runs a trained network over datasets and keeps its features, so that later stages need not run it."""

    name: str = attrs.field(validator=not_empty(), metadata=doc("its folder in the run directory"))
    kind: Literal["extract"] = attrs.field(default="extract", metadata=doc("what is done"))
    network: str = attrs.field(metadata=doc("an earlier stage or a checkpoint's path: whose features"))
    datasets: tuple[str, ...] = attrs.field(
        validator=[not_empty(), unique()], metadata=doc("the datasets' names; each makes one file")
    )
    part: Literal["heads", "trunk"] = attrs.field(
        default="heads",
        metadata=doc("what is kept: what each head's last layer reads, or what the heads read"),
    )
    dtype: Literal["float32", "float16"] = attrs.field(
        default="float32", metadata=doc("how numbers are kept; float16 takes half the room")
    )
    batch_size: int = attrs.field(default=256, validator=at_least(1), metadata=doc("rows at a time"))


Combine: TypeAlias = Literal["mean", "weighted", "majority"]


@attrs.frozen(kw_only=True)
class EnsembleStage:
    """Combines trained networks into one that predicts, is judged and teaches as they do."""

    name: str = attrs.field(validator=not_empty(), metadata=doc("its folder in the run directory"))
    kind: Literal["ensemble"] = attrs.field(default="ensemble", metadata=doc("what is done"))
    members: tuple[str, ...] = attrs.field(
        validator=[not_empty(), unique()],
        metadata=doc("earlier stages or checkpoints' paths; a repeated stage stands for all of its repeats"),
    )
    combine: Combine | Mapping[str, Combine] = attrs.field(
        default="mean",
        metadata=doc("mean of predictions, mean with fitted weights, or majority; or one per task"),
    )
    weights: Mapping[str, float] = attrs.field(
        factory=dict,
        validator=Rule(
            "must be numbers from 0", lambda weights: all(0 <= one < math.inf for one in weights.values())
        ),
        metadata=doc("by member, where they are not fitted; 1 for those not named"),
    )
    fit_on: tuple[Validation, ...] = attrs.field(
        default=(), metadata=doc("on what weights and decisions are fitted; nothing that is validated")
    )
    tune: bool = attrs.field(
        default=False, metadata=doc("fit what heads decide by, such as thresholds, on fit_on")
    )
    validation: tuple[Validation, ...] = attrs.field(default=(), metadata=doc("on what metrics are taken"))
    select: Mapping[str, float] = attrs.field(
        factory=dict, metadata=doc("weights of metrics in the reported score; none: the heads' own")
    )
    allow_overlap: bool = attrs.field(
        default=False, metadata=doc("combine although members are trained on what is fitted or validated")
    )

    def combination(self, task: str) -> Combine:
        """How the outputs of a task are combined."""
        return self.combine if isinstance(self.combine, str) else self.combine.get(task, "mean")


AnyStage: TypeAlias = Stage | ExtractStage | EnsembleStage
