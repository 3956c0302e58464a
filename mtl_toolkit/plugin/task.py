"""The recipes of a task: its head, losses and metrics."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np

from ..errors import ConfigError
from ..validators import at_least
from .base import Recipe
from .mixing import mixture

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributions import Distribution
    from torchmetrics import Metric as LiveMetric

    from ..batch import HeadOutput, Labels

    LiveLoss = Callable[[HeadOutput, Any, Tensor], Tensor]
    LiveCoupling = Callable[[Mapping[str, HeadOutput], Mapping[str, Any], Mapping[str, Tensor]], Tensor]


@attrs.frozen(kw_only=True)
class Loss(Recipe):
    """A loss on the output of a head, against the ground truth."""

    kind: ClassVar[str] = "loss"
    weight: float = attrs.field(default=1.0, validator=at_least(0), metadata={"doc": "factor on the loss"})

    def fitted(self, head: Head, labels: Labels) -> Loss:
        """The loss with what it takes from the training labels filled in, such as weights of classes.

        Called before `build` with the labels that a stage trains the task on; by default the loss as it is.

        Args:
            head: the task.
            labels: of all samples of the stage's streams, a stream after the other; missing ones included.
                There may be none, as before the data can be read.
        """
        return self

    @abc.abstractmethod
    def build(self, head: Head) -> LiveLoss:
        """Return `callable(output, target, mask)`: a plain function, or an `nn.Module` with parameters.

        `output` is a `HeadOutput`, `target` has the head's target type, `mask` is bool in the shape of the
        target. Rows outside the mask hold anything, NaN included, and must change neither the value nor
        the gradient. The result is a scalar, the mean over the valid rows, or one value per unit of the
        head; where nothing is valid it is zero.

        Parameters whose sizes are those of the output may be torch's lazy ones: they get their sizes from a
        call with two rows, none of them valid, before training.
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
class CouplingLoss(Loss):
    """A loss over the outputs of several tasks for the same rows, named in `losses` of a combined task.

    It is taken over all rows of a step, of every stream, labelled or not, in the stages that have a stream
    of the combined task; there it is a loss of its own, under the combined task's name.
    """

    def build(self, head: Head) -> LiveLoss:
        """Not for one task.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.name}: couples tasks; name it in the losses of a combined task")

    @abc.abstractmethod
    def build_joint(self, heads: Mapping[str, Head]) -> LiveCoupling:
        """Return `callable(outputs, targets, masks)`: a plain function, or an `nn.Module` with parameters.

        `heads` are the members by task, in the combined task's order; the arguments are mappings by task, of
        what `Loss.build` says. A member that no row is labelled for has a mask that is false throughout. The
        result is a scalar; what lies outside a mask changes neither it nor its gradient.
        """


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

    @property
    def self_supervised(self) -> bool:
        """Whether `target_of` makes the targets of the network's inputs; datasets need not know of them."""
        return False

    def target_of(self, inputs: Tensor) -> Tensor:
        """The targets of a self-supervised head: [rows, *target_shape], on the device of the inputs.

        `inputs` are what the network sees, after augmentation and the cut to its size: [rows, ...], for
        pictures uint8, or floats in [0, 1]. Every row has a target.

        Raises:
            TypeError: if the head is not self-supervised.
        """
        raise TypeError(f"head {self.name!r} is not self-supervised")

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

    def build_last(self, features: int) -> nn.Module:
        """As `build`, for features that are the task's own already, as those of a temporal network.

        The layers that make the outputs, and no hidden ones; by default the same as `build`.
        """
        return self.build(features)

    @abc.abstractmethod
    def estimate(self, values: Tensor) -> Tensor:
        """Turn the raw output into the prediction: class ids [rows], or values [rows, units]."""

    @abc.abstractmethod
    def distribution(self, values: Tensor, temperature: float = 1.0) -> Distribution:
        """The predictive distribution at a temperature, with batch shape [rows, units]."""

    def unit_mask(self, mask: Tensor) -> Tensor:
        """Turn a mask in the shape of the targets into one per unit: bool [rows, units]."""
        return mask.reshape(len(mask), len(self.units))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what is predicted of a row, in order: classes, axes, units."""
        return self.units

    def predictions(self, values: Tensor) -> Tensor:
        """Turn the raw output into what is predicted, before any decision: float32 [rows, columns].

        A probability per class or unit, or the estimate of an axis, as by default.
        """
        return self.estimate(values).float().reshape(len(values), len(self.columns))

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """Turn predictions [rows, columns] into what `estimate` would say: class ids, or values per unit."""
        return predictions

    def average(self, values: Tensor, weights: Tensor) -> Tensor:
        """The raw output whose predictions are the weighted mean of those of several networks.

        By default the mixture of the predictive distributions, if these are categorical or Bernoulli and the
        raw outputs are their logits; else the weighted mean of the raw outputs. Override it where predictions
        are another function of the raw output, as the exponential of it.

        Args:
            values: raw outputs, [members, rows, ...].
            weights: [members], not negative, adding up to 1.

        Returns:
            float32 [rows, ...].
        """
        return mixture(self, values, weights)

    def vote(self, values: Tensor, weights: Tensor) -> Tensor:
        """The raw output that decides as most of several networks do, each deciding for itself.

        Its predictions tell the shares of the votes. A tie goes to the decision that is more probable in the
        mean. Arguments and result as of `average`.

        Raises:
            ConfigError: if there is nothing to count, as by default.
        """
        raise ConfigError(
            f"head {self.name!r}: has no decisions whose majority could be taken; "
            'combine its outputs by "mean" or "weighted"'
        )

    def tuned(self, predictions: np.ndarray, labels: Labels) -> Head:
        """The same head with its decisions (thresholds) fitted to predictions whose labels are known.

        By default the head as it is: nothing can be fitted.

        Args:
            predictions: float32 [rows, columns], as `predictions` gives them; NaN in rows without one.
            labels: of the same rows.
        """
        return self

    @abc.abstractmethod
    def default_losses(self) -> tuple[Loss, ...]:
        """The losses of a task whose `losses` are not given."""

    @abc.abstractmethod
    def default_metrics(self) -> tuple[Metric, ...]:
        """The metrics of a task whose `metrics` are not given."""

    @abc.abstractmethod
    def default_selection(self) -> Mapping[str, float]:
        """Weights of the task's metrics in choosing the best epoch."""


def labelled_heads(heads: Mapping[str, Head]) -> dict[str, Head]:
    """The heads whose labels datasets have: not those that combine others, or make their own targets."""
    return {task: one for task, one in heads.items() if not one.members and not one.self_supervised}


def label_problem(task: str, labels: Labels, head: Head, samples: int) -> str | None:
    """The rule that the labels of a task break, and what was found, or None.

    Args:
        task: the task's name.
        labels: of all samples.
        head: whose labels they are.
        samples: how many there are.
    """
    if labels.values.shape != (samples, *head.target_shape):
        wanted = (samples, *head.target_shape)
        return f"labels of task {task!r} must have shape {wanted} (got {labels.values.shape})"
    if labels.values.dtype != head.target_dtype:
        return f"labels of task {task!r} must be {head.target_dtype} (got {labels.values.dtype})"
    broken = head.check_labels(labels)
    return f"task {task!r}: {broken}" if broken else None
