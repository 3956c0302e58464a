"""Rows to try a head, a loss or a metric on: outputs, labels that the head calls valid, masks, poison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs
import numpy as np
import torch
from torch import Tensor

from ..batch import HeadOutput, Labels
from ..plugin import Head
from ..seeding import seeded
from .check import Broken

FEATURES = 16  # width of what heads are built on
SCALES = (1.0, 0.3, 0.1, 0.03)  # of outputs, until what they stand for is a valid label


def head_output(found: object) -> HeadOutput:
    """What a head's module gave."""
    if not isinstance(found, HeadOutput):
        raise Broken(f"the head's module gives {type(found).__name__} instead of HeadOutput")
    return found


def worst_of(values: np.ndarray) -> np.ndarray:
    """What may lie outside a mask, in the type of some labels: NaN, the largest integer, or true."""
    worst = {"f": np.nan, "b": True}.get(values.dtype.kind)
    return np.full_like(values, np.iinfo(values.dtype).max if worst is None else worst)


@attrs.frozen(eq=False)
class Rows:
    """Rows of one task.

    Attributes:
        values: what a head may give, [rows, ...].
        features: what lies under its last layer, [rows, features].
        teacher: what a teacher gives of the same rows; as wide as the student's.
        target: [rows, *target_shape], valid throughout.
        mask: bool, the shape of `target`.
        units: the mask per unit, bool [rows, units].
        extras: what the network gives beside its features, [rows, ...] by name.
    """

    values: Tensor
    features: Tensor
    teacher: HeadOutput
    target: Tensor
    mask: Tensor
    units: Tensor
    extras: Mapping[str, Tensor] = attrs.field(factory=dict)

    def output(self) -> HeadOutput:
        """The output, as leaves that take a gradient."""
        given = HeadOutput(self.values, self.features, self.extras)
        return given.map(lambda part: part.detach().clone().requires_grad_())

    def take(self, rows: Tensor | slice) -> Rows:
        """Some of the rows."""
        return self.each(lambda part: part[rows])

    def each(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The same change of every part."""
        given = HeadOutput(self.values, self.features, self.extras).map(change)
        return Rows(
            given.values,
            given.features,
            self.teacher.map(change),
            change(self.target),
            change(self.mask),
            change(self.units),
            given.extras,
        )

    def scaled(self, factor: float) -> Rows:
        """With larger outputs, of the teacher too."""
        teacher = self.teacher._replace(values=self.teacher.values * factor)
        return attrs.evolve(self, values=self.values * factor, teacher=teacher)

    def masked(self, head: Head, mask: Tensor) -> Rows:
        """The same rows with another mask."""
        return attrs.evolve(self, mask=mask, units=head.unit_mask(mask))

    def poisoned(self) -> Rows:
        """NaN, or the largest integer, in all that lies outside the mask."""
        rows = self.units.any(1)
        # A unit's own values have the second dimension, where there are several units.
        apart = self.values.ndim > 1 and self.values.shape[1] == self.units.shape[1] > 1

        def poisoned(output: HeadOutput) -> HeadOutput:
            values = torch.where(
                _spread(self.units if apart else rows, output.values), output.values, torch.nan
            )
            beside = output.map(lambda part: torch.where(_spread(rows, part), part, torch.nan))
            return beside._replace(values=values)

        given = poisoned(HeadOutput(self.values, self.features, self.extras))
        return attrs.evolve(
            self,
            values=given.values,
            features=given.features,
            extras=given.extras,
            teacher=poisoned(self.teacher),
            target=torch.where(self.mask, self.target, torch.from_numpy(worst_of(self.target.numpy()))),
        )


@attrs.define(eq=False)
class Examples:
    """Makes rows for a head.

    Args:
        head: the task.
        labels: labels to draw from; by default the head's own estimates of random outputs.
        extras: shapes of one row's extras, by name.
    """

    head: Head
    labels: Labels | None = None
    extras: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)
    _shape: torch.Size | None = attrs.field(default=None, init=False)

    def rows(self, count: int, seed: int = 0) -> Rows:
        """Rows that are all labelled; every other one is predicted right, if the labels are not given."""
        generator = torch.Generator().manual_seed(1000 + seed)
        values = torch.randn(count, *self.shape(), generator=generator)
        features = torch.randn(count, FEATURES, generator=generator)
        others = torch.randn(count, *self.shape(), generator=generator)
        labels, explained = self._targets(others, seed)
        if explained is not None:
            values[::2] = explained[::2]
        target = torch.from_numpy(labels)
        mask = torch.ones(target.shape, dtype=torch.bool)

        def draw(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=generator)

        extras, taught = ({name: draw(*shape) for name, shape in self.extras.items()} for _ in range(2))
        teacher = HeadOutput(others.roll(1, 0), draw(FEATURES), taught)
        return Rows(values, features, teacher, target, mask, self._units(mask), extras)

    def _units(self, mask: Tensor) -> Tensor:
        try:
            return self.head.unit_mask(mask)
        except RuntimeError:
            units, shape = self.head.units, tuple(self.head.target_shape)
            raise Broken(
                f"units {units} do not fit target_shape {shape}, unless unit_mask says how"
            ) from None

    def shape(self) -> torch.Size:
        """The shape of one row's output."""
        if self._shape is None:
            with seeded(), torch.no_grad():
                module = self.head.build(FEATURES).eval()
                self._shape = head_output(module(torch.zeros(2, FEATURES))).values.shape[1:]
        return self._shape

    def unit_by_unit(self) -> bool:
        """Whether a row may have some of its units labelled and others not."""
        units = len(self.head.units)
        return units > 1 and tuple(self.head.target_shape) == (units,)

    def some_missing(self, count: int, seed: int = 0) -> Rows:
        """Rows of which every third has no label; where units can be missing one by one, some are."""
        rows = self.rows(count, seed)
        mask = rows.mask.clone()
        mask[1::3] = False
        if self.unit_by_unit():
            mask[::4, 0] = False
            mask[2::5, -1] = False
        return rows.masked(self.head, mask)

    def _targets(self, values: Tensor, seed: int) -> tuple[np.ndarray, Tensor | None]:
        """Valid labels, and outputs that say the same, where the labels are made from such."""
        if self.labels is not None:
            complete = np.flatnonzero(self.labels.complete())
            if not len(complete):
                raise Broken("none of the labels given is complete")
            return self.labels.values[np.random.default_rng(seed).choice(complete, len(values))], None
        for found, scaled in self._candidates(values):
            if self.head.check_labels(Labels(found, np.ones(found.shape, np.bool_))) is None:
                return found, scaled
        raise Broken(
            "what it estimates is no valid label of its own, so that there is nothing to try it on; "
            "give some with labels=Labels(values, valid)"
        )

    def _candidates(self, values: Tensor) -> Iterator[tuple[np.ndarray, Tensor]]:
        """What a head says of outputs, in the shape of its targets."""
        shape = (len(values), *self.head.target_shape)
        for scale in SCALES:
            for say in (self.head.estimate, self.head.predictions):
                said = say(values * scale).detach()
                if said.numel() == np.prod(shape):
                    labels = said.reshape(shape).numpy().astype(self.head.target_dtype)
                    yield np.ascontiguousarray(labels), values * scale


def _spread(mask: Tensor, over: Tensor) -> Tensor:
    """A mask with as many dimensions as a tensor, so that it is broadcast over its trailing ones."""
    return mask.reshape(mask.shape + (1,) * (over.ndim - mask.ndim))
