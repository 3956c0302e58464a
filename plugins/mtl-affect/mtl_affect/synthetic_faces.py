"""Rendered faces as a dataset: the embedded default, since affect databases need a signed licence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import DataError, DataFacts, Dataset, Head, Labels, Samples, hookimpl, suggestion
from mtl_toolkit.validators import at_least, between, unique

from .faces import ACTION_UNITS, EXPRESSIONS, STYLES, labels, render, sample
from .faces.hashing import Draws

Kind = Literal["expression", "valence-arousal", "action-units"]
AXES = ("valence", "arousal")


@attrs.frozen(kw_only=True)
class SyntheticFaces(Dataset):
    """Rendered faces with expression, valence-arousal and action units; a function of seed and index.

    A task gets its labels by the kind of its head (`expression`, `valence-arousal`, `action-units`), and
    classes and units are matched by name.
    """

    name: ClassVar[str] = "synthetic-faces"
    samples: int = attrs.field(default=10_000, validator=at_least(1), metadata={"doc": "number of faces"})
    seed: int = attrs.field(default=0, metadata={"doc": "another seed draws other people and faces"})
    first: int = attrs.field(
        default=0, validator=at_least(0), metadata={"doc": "index of the first face, to cut disjoint parts"}
    )
    style: str = attrs.field(default="wild", metadata={"doc": f"how the pictures look: {', '.join(STYLES)}"})
    labels: tuple[Kind, ...] = attrs.field(
        default=("expression", "valence-arousal", "action-units"),
        validator=unique(),
        metadata={"doc": "kinds of label that every face shows"},
    )
    extra_labels: tuple[Kind, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={"doc": "kinds of label that only a share of the faces shows"},
    )
    extra_share: float = attrs.field(default=0.0, validator=between(0, 1), metadata={"doc": "that share"})
    class_weights: Mapping[str, float] = attrs.field(
        factory=dict,
        metadata={
            "doc": "relative frequency by expression; one not named has 1, an empty table makes all equal"
        },
    )
    faces_per_identity: int = attrs.field(
        default=4, validator=at_least(1), metadata={"doc": "faces in a row that show the same person"}
    )

    def __attrs_post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)} (got {self.style!r})")
        for name, weight in self.class_weights.items():
            if name not in EXPRESSIONS:
                raise ValueError(f"class_weights: unknown expression {name!r}{suggestion(name, EXPRESSIONS)}")
            if not weight >= 0:
                raise ValueError(f"class_weights: {name} must be at least 0 (got {weight!r})")

    def build(self, facts: DataFacts) -> FaceSamples:
        """Draw the labels; faces are rendered when they are read."""
        return FaceSamples(self, facts)


class FaceSamples(Samples):
    """The faces of a recipe, rendered on demand at the size asked for."""

    def __init__(self, recipe: SyntheticFaces, facts: DataFacts) -> None:
        self._recipe = recipe
        self._size = facts.image_size
        self._weights = [recipe.class_weights.get(name, 1.0) for name in EXPRESSIONS]
        indices = recipe.first + np.arange(recipe.samples)
        drawn = labels(
            recipe.seed,
            indices,
            style=STYLES[recipe.style],
            class_weights=self._weights,
            faces_per_identity=recipe.faces_per_identity,
        )
        self._identities = drawn.identity_id
        shown = self._shown(indices)
        self._labels: dict[str, Labels] = {}
        for task, head in facts.tasks.items():
            if head.label == "expression" and shown["expression"].any():
                self._labels[task] = _expressions(head, drawn.expression, shown["expression"])
            elif head.label == "valence-arousal" and shown["valence-arousal"].any():
                values = drawn.valence_arousal
                self._labels[task] = _columns(task, head, AXES, values, shown["valence-arousal"])
            elif head.label == "action-units" and shown["action-units"].any():
                values = drawn.au_labels.astype(np.float32)
                self._labels[task] = _columns(task, head, ACTION_UNITS, values, shown["action-units"])

    def __len__(self) -> int:
        return self._recipe.samples

    def labels(self) -> Mapping[str, Labels]:
        """The labels shown, by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Render some faces: uint8 [n, 3, size, size]."""
        recipe = self._recipe
        faces = sample(
            recipe.seed,
            recipe.first + np.asarray(indices),
            style=STYLES[recipe.style],
            class_weights=self._weights,
            faces_per_identity=recipe.faces_per_identity,
        )
        with _one_thread():
            return render(faces, self._size)

    def id(self, index: int) -> str:
        """The face's index."""
        return str(self._recipe.first + index)

    def column(self, name: str) -> np.ndarray | None:
        """`group`: the person, under the seed that draws people."""
        if name != "group":
            return None
        return np.char.add(f"seed {self._recipe.seed} person ", self._identities.astype(np.str_)).astype(
            np.bytes_
        )

    def _shown(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Which samples show which kind of label."""
        recipe = self._recipe
        extra = Draws(recipe.seed, "labels", indices).chance("extra", recipe.extra_share)
        nothing, everything = np.zeros(len(indices), np.bool_), np.ones(len(indices), np.bool_)
        kinds = ("expression", "valence-arousal", "action-units")
        return {
            kind: everything if kind in recipe.labels else extra if kind in recipe.extra_labels else nothing
            for kind in kinds
        }


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Drawing is many small operations: threads gain little, and lose much where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _expressions(head: Head, drawn: np.ndarray, shown: np.ndarray) -> Labels:
    """Class ids of the head's own classes, matched by name; a class that it lacks is missing."""
    classes = head.meaning()["classes"]
    to_head = np.array([classes.index(name) if name in classes else -1 for name in EXPRESSIONS])
    ids = to_head[drawn]
    valid = shown & (ids >= 0)
    if head.target_shape == ():
        return Labels(np.where(valid, ids, 0).astype(head.target_dtype), valid)
    shares = np.eye(len(classes), dtype=head.target_dtype)[np.where(valid, ids, 0)]
    return Labels(shares, np.repeat(valid[:, None], len(classes), axis=1))


def _columns(task: str, head: Head, names: Sequence[str], drawn: np.ndarray, shown: np.ndarray) -> Labels:
    """The columns that the head's units name."""
    for unit in head.units:
        if unit not in names:
            raise DataError(f"synthetic-faces has no {unit!r} for task {task!r}{suggestion(unit, names)}")
    values = drawn[:, [names.index(unit) for unit in head.units]]
    return Labels(np.ascontiguousarray(values), np.repeat(shown[:, None], len(head.units), axis=1))


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The synthetic faces."""
    return [SyntheticFaces]
