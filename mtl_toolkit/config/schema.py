"""The tables of a whole configuration, as frozen records; also usable from Python without a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs

from ..plugin import Architecture, Backbone, Dataset, Head, Loss, Metric
from ..validators import above, at_least, between, each, not_empty, unique
from .stages import EnsembleStage, ExtractStage, Stage, doc


@attrs.frozen(kw_only=True)
class Task:
    """One task: its head, and the losses and metrics if they are not the head's own."""

    head: Head = attrs.field(metadata=doc("labels, layers and meaning of the output"))
    losses: tuple[Loss, ...] = attrs.field(default=(), metadata=doc("none: the head's default losses"))
    metrics: tuple[Metric, ...] = attrs.field(default=(), metadata=doc("none: the head's default metrics"))


@attrs.frozen(kw_only=True)
class Model:
    """The network: a backbone, and how the tasks share it."""

    backbone: Backbone = attrs.field(metadata=doc("from pictures to features"))
    architecture: Architecture = attrs.field(metadata=doc("how tasks share", toml_default="shared"))
    image_size: int = attrs.field(
        default=112, validator=at_least(8), metadata=doc("side in pixels of what the network sees")
    )
    crop: float = attrs.field(
        default=1.2,
        validator=between(1, 4),
        metadata=doc("pictures are read this much larger; training cuts at random, all else the centre"),
    )
    mean: tuple[float, float, float] | None = attrs.field(
        default=None, metadata=doc("of each channel, pictures in [0, 1]; none: the backbone's own")
    )
    std: tuple[float, float, float] | None = attrs.field(
        default=None,
        validator=each(above(0)),
        metadata=doc("of each channel; none: the backbone's own"),
    )
    batch_statistics: Literal["joint", "stream", "dataset"] = attrs.field(
        default="joint",
        metadata=doc("over which rows of a step batch norm takes its statistics: all, or each group's apart"),
    )

    @property
    def read_size(self) -> int:
        """Side in pixels at which pictures are read, before the cut."""
        return round(self.image_size * self.crop)


@attrs.frozen(kw_only=True)
class Tracker:
    """An experiment tracker of accelerate by name, with its own options.

    Its name alone, as in `trackers = ["tensorboard"]`, is short for a table with only `type`.
    """

    extra_keys: ClassVar[str] = "options"
    type: str = attrs.field(metadata=doc("tensorboard, wandb, mlflow ..."))
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TrainerOptions:
    """What holds for all stages of a run and does not belong to the method."""

    device: Literal["auto", "cpu", "cuda", "mps"] = attrs.field(
        default="auto", metadata=doc("where to train; auto: a GPU if there is one")
    )
    precision: Literal["fp32", "bf16", "fp16"] = attrs.field(
        default="fp32", metadata=doc("of the networks' arithmetic; weights and losses stay in fp32")
    )
    channels_last: bool = attrs.field(default=True, metadata=doc("memory format of pictures and weights"))
    workers: int | None = attrs.field(
        default=None,
        validator=at_least(0),
        metadata=doc("loader processes; none: 0 on the CPU, else up to 8"),
    )
    threads: int | None = attrs.field(
        default=None, validator=at_least(1), metadata=doc("CPU threads of torch; none: torch's choice")
    )
    log_every: int = attrs.field(default=50, validator=at_least(1), metadata=doc("steps between log lines"))
    save_every: int | None = attrs.field(
        default=None, validator=at_least(1), metadata=doc("steps between checkpoints; none: each epoch")
    )
    trackers: tuple[Tracker, ...] = attrs.field(
        default=(), metadata=doc("experiment trackers that losses and metrics go to")
    )


@attrs.frozen(kw_only=True)
class Plugins:
    """Which installed plugins are switched off."""

    disable: tuple[str, ...] = attrs.field(
        default=(), validator=unique(), metadata=doc("entry points, as distribution:entry-point")
    )


@attrs.frozen(kw_only=True)
class Config:
    """A whole job."""

    name: str = attrs.field(validator=not_empty(), metadata=doc("the run directory is runs/<name>"))
    seed: int = attrs.field(default=0, validator=at_least(0), metadata=doc("of all that is random"))
    plugins: Plugins = attrs.field(factory=Plugins, metadata=doc("installed plugins to switch off"))
    trainer: TrainerOptions = attrs.field(factory=TrainerOptions, metadata=doc("device, precision, logging"))
    tasks: Mapping[str, Task] = attrs.field(validator=not_empty(), metadata=doc("what is learnt, by name"))
    datasets: Mapping[str, Dataset] = attrs.field(validator=not_empty(), metadata=doc("samples, by name"))
    model: Model = attrs.field(metadata=doc("the network"))
    stages: tuple[Stage | ExtractStage | EnsembleStage, ...] = attrs.field(
        validator=not_empty(), metadata=doc("what is done, in order")
    )

    @property
    def trainings(self) -> tuple[Stage, ...]:
        """The stages that train."""
        return tuple(stage for stage in self.stages if isinstance(stage, Stage))

    @property
    def predictors(self) -> tuple[Stage | EnsembleStage, ...]:
        """The stages that leave a checkpoint to predict with."""
        return tuple(stage for stage in self.stages if not isinstance(stage, ExtractStage))

    @property
    def ensembles(self) -> tuple[EnsembleStage, ...]:
        """The stages that combine networks."""
        return tuple(stage for stage in self.stages if isinstance(stage, EnsembleStage))
