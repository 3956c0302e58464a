"""Identity: which of many people a face is, as an auxiliary task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
from mtl_std.classification import ClassHead
from mtl_std.metrics import Accuracy

from mtl_toolkit import Head, Labels, Metric, hookimpl
from mtl_toolkit.validators import at_least


@attrs.frozen(kw_only=True)
class Identity(ClassHead):
    """Which person a face is, out of many: the classes are `person-0`, `person-1` and so on.

    A person who is none of them has no label, so validation on other people is for the other tasks. Faces
    of one person under several expressions tell a network what of a face is not expression.
    """

    name: ClassVar[str] = "identity"
    people: int = attrs.field(
        default=100, validator=at_least(2), metadata={"doc": "how many people are told apart"}
    )
    first: int = attrs.field(
        default=0, validator=at_least(0), metadata={"doc": "number of the first of them"}
    )
    label: str = attrs.field(default="identity", metadata={"doc": "the name datasets give to this label"})

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the people, in the order of their numbers."""
        return tuple(person(self.first + place) for place in range(self.people))

    def summary(self, labels: Labels) -> dict[str, Any]:
        """How many people there are, and the fewest and most samples of one."""
        ids = self.class_ids(labels)
        counts = np.bincount(ids[ids >= 0])
        counts = counts[counts > 0]
        if not len(counts):
            return {}
        return {
            "people": {
                "people": len(counts),
                "fewest samples of one": int(counts.min()),
                "most": int(counts.max()),
            }
        }

    def default_metrics(self) -> tuple[Metric, ...]:
        """Accuracy."""
        return (Accuracy(),)

    def default_selection(self) -> Mapping[str, float]:
        """Accuracy."""
        return {"accuracy": 1.0}


def person(number: int) -> str:
    """The class name of a person."""
    return f"person-{number}"


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The identity head."""
    return [Identity]
