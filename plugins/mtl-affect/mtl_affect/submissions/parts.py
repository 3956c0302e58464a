"""The kinds of labels in the rows of a submission: how predictions become fields, and fields predictions."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

import attrs
import numpy as np

from mtl_toolkit import Head, suggestion

from ..metrics import AXES


@attrs.frozen
class Part(abc.ABC):
    """One kind of label in the rows of a submission.

    Attributes:
        label: the kind of label, as `Head.label` has it.
        names: classes by id, axes or units, as the edition orders them.
    """

    key: ClassVar[str]  # what `Head.meaning` calls the names
    label: str
    names: tuple[str, ...]

    @property
    def header(self) -> str:
        """The names as the annotations' header has them."""
        return ",".join(self.names)

    @property
    def fields(self) -> tuple[str, ...]:
        """What the fields of a row are called."""
        return self.names

    def misfits(self, head: Head) -> list[str]:
        """What keeps a task with this label from being written."""
        found = head.meaning().get(self.key, ())
        if not found:
            return [f"must have {self.key} (got head {head.name!r})"]
        return self._differences(found)

    def _differences(self, found: Sequence[str]) -> list[str]:
        """What of the edition the task lacks; what the task has beyond that is not written."""
        return [
            f"must have {name!r} among its {self.key} (got {', '.join(found)})"
            for name in self.names
            if name not in found
        ]

    def places(self, head: Head) -> list[int]:
        """Where the names are among the columns of a task."""
        return [head.columns.index(name) for name in self.names]

    @abc.abstractmethod
    def encode(self, head: Head, values: np.ndarray) -> list[list[str]]:
        """The fields of predictions [rows, columns of the head]: a list of texts per field."""

    @abc.abstractmethod
    def right(self, values: np.ndarray) -> np.ndarray:
        """Which values [rows, fields] keep the rule: bool, the same shape."""

    @property
    @abc.abstractmethod
    def rule(self) -> str:
        """What a value must be."""

    def unknown(self, head: Head, values: np.ndarray) -> np.ndarray:
        """Which of the rows, all of them right, the task has no name for: bool [rows]."""
        return np.zeros(len(values), np.bool_)

    def decode(self, head: Head, values: np.ndarray) -> np.ndarray:
        """Predictions [rows, columns of the head] from values that are right; NaN where there is none."""
        predictions = np.full((len(values), len(head.columns)), np.nan, np.float32)
        predictions[:, self.places(head)] = values
        return predictions


@attrs.frozen
class Classes(Part):
    """One class id a row. A task may lack classes of the edition, but have no others."""

    key: ClassVar[str] = "classes"

    @property
    def header(self) -> str:
        """The names with capitals."""
        return ",".join(name.capitalize() for name in self.names)

    @property
    def fields(self) -> tuple[str, ...]:
        """One: the label."""
        return (self.label,)

    def _differences(self, found: Sequence[str]) -> list[str]:
        return [
            f"class {name!r} is none of the edition's{suggestion(name, self.names)}"
            for name in found
            if name not in self.names
        ]

    def ids(self, head: Head) -> np.ndarray:
        """The edition's id of each class of a task: int64 [classes]."""
        return np.array([self.names.index(name) for name in head.columns])

    def encode(self, head: Head, values: np.ndarray) -> list[list[str]]:
        """The id of the class that the task decides for."""
        return [list(map(str, self.ids(head)[head.decide(values)].tolist()))]

    def right(self, values: np.ndarray) -> np.ndarray:
        """The ids."""
        return np.asarray((values >= 0) & (values < len(self.names)) & (values == np.floor(values)))

    @property
    def rule(self) -> str:
        """The ids."""
        return f"must be a class from 0 to {len(self.names) - 1}"

    def unknown(self, head: Head, values: np.ndarray) -> np.ndarray:
        """Classes that the task lacks."""
        return np.asarray(~np.isin(values[:, 0], self.ids(head)))

    def decode(self, head: Head, values: np.ndarray) -> np.ndarray:
        """1 for the class, 0 for the others."""
        return np.asarray(values == self.ids(head), np.float32)


@attrs.frozen
class Axes(Part):
    """A number from -1 to 1 per axis. A task may have further axes, which are not written."""

    key: ClassVar[str] = "axes"

    def encode(self, head: Head, values: np.ndarray) -> list[list[str]]:
        """As few digits as tell float32 values apart; what is beyond -1 or 1 becomes that."""
        kept = np.clip(head.decide(values)[:, self.places(head)], -1, 1).astype(np.float32)
        return [list(map(str, column)) for column in kept.T]

    def right(self, values: np.ndarray) -> np.ndarray:
        """No NaN."""
        return np.asarray((values >= -1) & (values <= 1))

    @property
    def rule(self) -> str:
        """The range."""
        return "must be from -1 to 1"


@attrs.frozen
class Units(Part):
    """0 or 1 per unit. A task may have further units, which are not written."""

    key: ClassVar[str] = "units"

    def encode(self, head: Head, values: np.ndarray) -> list[list[str]]:
        """What the task decides."""
        kept = head.decide(values)[:, self.places(head)] > 0
        return [["1" if there else "0" for there in column] for column in kept.T.tolist()]

    def right(self, values: np.ndarray) -> np.ndarray:
        """No probabilities."""
        return np.asarray((values == 0) | (values == 1))

    @property
    def rule(self) -> str:
        """The two values."""
        return "must be 0 or 1"


def affect_parts(classes: tuple[str, ...], units: tuple[str, ...]) -> tuple[Classes, Axes, Units]:
    """The three kinds of labels of ABAW, with the classes and units of an edition."""
    return (
        Classes("expression", classes),
        Axes("valence-arousal", AXES),
        Units("action-units", units),
    )
