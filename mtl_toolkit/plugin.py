"""The recipes that plugins are made of.

A recipe is a frozen attrs class. Its typed fields are its TOML schema; `build` takes the facts known at run
time and returns the live object. Recipes are cheap: `mtl check` and `mtl plugins` build no network.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np

from .errors import ConfigError
from .samples import Samples
from .validators import at_least

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributions import Distribution
    from torchmetrics import Metric as LiveMetric

    from .batch import HeadOutput, Labels

    LiveLoss = Callable[[HeadOutput, Any, Tensor], Tensor]


@attrs.frozen(kw_only=True)
class Recipe(abc.ABC):
    """The base of all recipes; `name` is what `type = "..."` says in the TOML file."""

    kind: ClassVar[str]
    name: ClassVar[str]


@attrs.frozen(kw_only=True)
class Loss(Recipe):
    """A loss on the output of a head, against the ground truth."""

    kind: ClassVar[str] = "loss"
    weight: float = attrs.field(default=1.0, validator=at_least(0), metadata={"doc": "factor on the loss"})

    @abc.abstractmethod
    def build(self, head: Head) -> LiveLoss:
        """Return `callable(output, target, mask)`: a plain function, or an `nn.Module` with parameters.

        `output` is a `HeadOutput`, `target` has the head's target type, `mask` is bool in the shape of the
        target. Rows outside the mask hold anything, NaN included, and must change neither the value nor
        the gradient. The result is a scalar, the mean over the valid rows, or one value per unit of the
        head; where nothing is valid it is zero.
        """


@attrs.frozen(kw_only=True)
class TeacherLoss(Loss):
    """A loss against the teacher's output for the same rows, labelled or not.

    `build` returns `callable(output, teacher, mask)`, where `teacher` is the teacher's `HeadOutput` and
    `mask` is bool [rows, units]. It is called for the labelled elements and for the others.
    """

    weight: float = attrs.field(
        default=1.0, validator=at_least(0), metadata={"doc": "factor on rows that have the label"}
    )
    unlabelled_weight: float = attrs.field(
        default=1.0, validator=at_least(0), metadata={"doc": "factor on rows that lack the label"}
    )


@attrs.frozen(kw_only=True)
class Metric(Recipe):
    """A figure of merit of a head's output, exact over processes."""

    kind: ClassVar[str] = "metric"

    def outputs(self, head: Head) -> tuple[str, ...]:
        """The names that `compute()` reports; one, the recipe's, if it gives a scalar."""
        return (self.name,)

    @abc.abstractmethod
    def build(self, head: Head) -> LiveMetric:
        """Return a torchmetrics metric with `update(output, target, mask)`, arguments as in `Loss.build`.

        `compute()` returns one scalar, reported under the recipe's name, or a mapping of `outputs` to
        scalars.
        """


@attrs.frozen(kw_only=True)
class Head(Recipe):
    """A task: what its labels are, the layers that predict them, and what the prediction means.

    The label of a row has one or more *units* that may be missing one by one: the two axes of
    valence-arousal, each action unit; a class label is one unit.
    """

    kind: ClassVar[str] = "head"
    combine: ClassVar[Literal["sum", "mean"]] = "sum"  # how the units' losses make the task's loss

    @property
    def label(self) -> str:
        """The name under which datasets know this kind of label."""
        return self.name

    @property
    def members(self) -> tuple[str, ...]:
        """The tasks a combined head stands for; none for a head of its own."""
        return ()

    @property
    def separate(self) -> bool:
        """Whether streams of a combined head make a loss of their own."""
        return False

    @property
    @abc.abstractmethod
    def units(self) -> tuple[str, ...]:
        """Names of the units, in order."""

    @property
    @abc.abstractmethod
    def target_shape(self) -> tuple[int, ...]:
        """The shape of one row's target; () for a class id."""

    @property
    def target_dtype(self) -> np.dtype:
        """The numpy type of the targets."""
        return np.dtype(np.float32)

    @abc.abstractmethod
    def meaning(self) -> dict[str, Any]:
        """What the output stands for (classes, bins, axes ...), in plain JSON types.

        A teacher whose meaning differs is refused; the checkpoint stores it.
        """

    @abc.abstractmethod
    def check_labels(self, labels: Labels) -> str | None:
        """Return the rule that a valid label breaks and what was found, or None."""

    def strata(self, labels: Labels) -> np.ndarray:
        """Group the samples for balanced sampling: int64 [samples], -1 where the label is missing.

        Raises:
            ConfigError: if the head has no such groups, as by default.
        """
        raise ConfigError(f"head {self.name!r} has no strata for balanced sampling; use another sampler")

    def summary(self, labels: Labels) -> dict[str, Any]:
        """Describe the labels for people: histogram or range, in plain JSON types."""
        return {}

    def describe_label(self, values: np.ndarray, valid: np.ndarray) -> str:
        """One sample's label in a few characters, for contact sheets; '' where it is missing."""
        return " ".join(f"{value:.2f}" for value in np.atleast_1d(values)[np.atleast_1d(valid)])

    @abc.abstractmethod
    def build(self, features: int) -> nn.Module:
        """Return a module that maps [rows, features] to a `HeadOutput`."""

    @abc.abstractmethod
    def estimate(self, values: Tensor) -> Tensor:
        """Turn the raw output into the prediction: class ids [rows], or values [rows, units]."""

    @abc.abstractmethod
    def distribution(self, values: Tensor, temperature: float = 1.0) -> Distribution:
        """The predictive distribution at a temperature, with batch shape [rows, units]."""

    def unit_mask(self, mask: Tensor) -> Tensor:
        """Turn a mask in the shape of the targets into one per unit: bool [rows, units]."""
        return mask.reshape(len(mask), len(self.units))

    @abc.abstractmethod
    def default_losses(self) -> tuple[Loss, ...]:
        """The losses of a task whose `losses` are not given."""

    @abc.abstractmethod
    def default_metrics(self) -> tuple[Metric, ...]:
        """The metrics of a task whose `metrics` are not given."""

    @abc.abstractmethod
    def default_selection(self) -> Mapping[str, float]:
        """Weights of the task's metrics in choosing the best epoch."""


@attrs.frozen(eq=False)
class DataFacts:
    """What a dataset is told when it is built.

    Attributes:
        tasks: the heads whose labels are wanted, by task name.
        image_size: side in pixels of the square pictures to deliver.
        validation: whether the samples are read for validation.
    """

    tasks: Mapping[str, Head]
    image_size: int
    validation: bool = False


@attrs.frozen(kw_only=True)
class Dataset(Recipe):
    """Where samples come from."""

    kind: ClassVar[str] = "dataset"
    cache: bool = attrs.field(
        default=False, metadata={"doc": "keep decoded inputs in memory, shared by the workers"}
    )

    @abc.abstractmethod
    def build(self, facts: DataFacts) -> Samples:
        """Open the dataset; reads the labels, not the pictures.

        Raises:
            DataError: if files or columns are missing or labels are out of range.
        """

    @classmethod
    def write(
        cls,
        path: Path,
        samples: Samples,
        heads: Mapping[str, Head],
        *,
        size: int,
        quality: int = 95,
        workers: int = 0,
        origin: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> int:
        """Write samples to a file that this dataset reads.

        The file appears when it is complete; one that is there stays until then. A write that was cut short
        goes on when it is called again with equal arguments.

        Args:
            path: the file.
            samples: pictures, uint8 [n, 3, size, size], and their labels.
            heads: the tasks whose labels are written, each in the head's own terms.
            size: side of the pictures in pixels.
            quality: of JPEG, from 1 to 100.
            workers: processes that read and encode; 0 does it in the calling process.
            origin: what the samples were made from, in plain JSON types; kept in the file.
            progress: told the number of samples done.

        Returns:
            The number of samples written: those that cannot be read and may be skipped are left out.

        Raises:
            ConfigError: if this dataset writes no files.
            UserError: if a sample cannot be read, or the file cannot be written.
        """
        raise ConfigError(f"dataset {cls.name!r} writes no files")


@attrs.frozen(kw_only=True)
class Sampler(Recipe):
    """The order in which a stream's samples come."""

    kind: ClassVar[str] = "sampler"

    @abc.abstractmethod
    def build(
        self, length: int, labels: Mapping[str, Labels], heads: Mapping[str, Head]
    ) -> Callable[[np.random.Generator], np.ndarray]:
        """Return a function from a random generator to one pass over the stream: int64 indices.

        `labels` and `heads` hold the stream's own tasks.
        """


@attrs.frozen(kw_only=True)
class Backbone(Recipe):
    """The network that turns pictures into features."""

    kind: ClassVar[str] = "backbone"

    @abc.abstractmethod
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, of pictures scaled to [0, 1], that it expects."""

    def problems(self) -> list[str]:
        """Look for what would fail while building (an unknown network, a missing file), without building."""
        return []

    @abc.abstractmethod
    def build(self, image_size: int, *, weights: bool = True) -> nn.Module:
        """Return a module with `num_features` that maps [n, 3, size, size] to [n, num_features].

        `weights=False` leaves pretrained weights out, for a checkpoint that brings its own.
        """


@attrs.frozen(kw_only=True)
class Architecture(Recipe):
    """How tasks share a network."""

    kind: ClassVar[str] = "architecture"

    @abc.abstractmethod
    def build(self, backbone: Callable[[], nn.Module], tasks: Sequence[str]) -> nn.Module:
        """Return a trunk: `trunk(inputs, tasks)` gives features by task, `trunk.num_features` their sizes.

        `backbone()` makes a fresh backbone each time it is called.
        """


@attrs.frozen(kw_only=True)
class Balancer(Recipe):
    """How the losses of several tasks make one backward pass."""

    kind: ClassVar[str] = "balancer"

    @abc.abstractmethod
    def build(self, tasks: Sequence[str]) -> Any:
        """Return an object with `backward(losses, outputs, scale)`.

        `losses` holds the scalar losses of the tasks present in this step (at least one), `outputs` the
        `HeadOutput`s; it adds the gradient of their combination, times `scale`, to the parameters' `.grad`.
        """


KINDS: Mapping[str, type[Recipe]] = {
    recipe.kind: recipe for recipe in (Architecture, Backbone, Balancer, Dataset, Head, Loss, Metric, Sampler)
}
