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
from .faces import Labels as FaceLabels
from .faces.hashing import Draws
from .faces.identity import TRAITS, trait

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
    extra_share: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata={"doc": "the share that shows them, from 0 to 1"}
    )
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
        check_look(self.style, self.class_weights)

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
        extra = Draws(recipe.seed, "labels", indices).chance("extra", recipe.extra_share)
        shown = shown_kinds(recipe.labels, recipe.extra_labels, extra)
        self._labels = head_labels(recipe.name, facts.tasks, drawn, shown)

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
        with one_thread():
            return render(faces, self._size)

    def id(self, index: int) -> str:
        """The face's index."""
        return str(self._recipe.first + index)

    def column(self, name: str) -> np.ndarray | None:
        """`group`: the person, under the seed that draws people; the person's `skin_tone` and `glasses`."""
        if name == "group":
            return people(self._recipe.seed, self._identities)
        return trait(name, self._recipe.seed, self._identities)

    def column_names(self) -> tuple[str, ...]:
        """The person, and the person's traits."""
        return ("group", *TRAITS)


def check_look(style: str, class_weights: Mapping[str, float]) -> None:
    """Raise a ValueError for an unknown style or expression, or a negative weight."""
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)} (got {style!r})")
    for name, weight in class_weights.items():
        if name not in EXPRESSIONS:
            raise ValueError(f"class_weights: unknown expression {name!r}{suggestion(name, EXPRESSIONS)}")
        if not weight >= 0:
            raise ValueError(f"class_weights: {name} must be at least 0 (got {weight!r})")


def people(seed: int, identities: np.ndarray) -> np.ndarray:
    """The column `group`: names of people under the seed that draws them, bytes [n]."""
    return np.char.add(f"seed {seed} person ", identities.astype(np.str_)).astype(np.bytes_)


def shown_kinds(
    labels: Sequence[Kind], extra_labels: Sequence[Kind], extra: np.ndarray
) -> dict[str, np.ndarray]:
    """Which samples show which kind of label: bool [n] each; `extra` are those that show the extra ones."""
    nothing, everything = np.zeros(len(extra), np.bool_), np.ones(len(extra), np.bool_)
    kinds = ("expression", "valence-arousal", "action-units")
    return {
        kind: everything if kind in labels else extra if kind in extra_labels else nothing for kind in kinds
    }


def head_labels(
    dataset: str, tasks: Mapping[str, Head], drawn: FaceLabels, shown: Mapping[str, np.ndarray]
) -> dict[str, Labels]:
    """The labels of each task whose head wants a kind that some samples show.

    Raises:
        DataError: if a head has a unit that faces lack; the message names the dataset.
    """
    tables = {
        "valence-arousal": (AXES, drawn.valence_arousal),
        "action-units": (ACTION_UNITS, drawn.au_labels.astype(np.float32)),
    }
    found: dict[str, Labels] = {}
    for task, head in tasks.items():
        seen = shown.get(head.label)
        if seen is None or not seen.any():
            continue
        if head.label == "expression":
            found[task] = _expressions(head, drawn.expression, seen)
        else:
            names, values = tables[head.label]
            _check_units(dataset, task, head, names)
            found[task] = _columns(head, names, values, seen)
    return found


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
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


def _check_units(dataset: str, task: str, head: Head, names: Sequence[str]) -> None:
    for unit in head.units:
        if unit not in names:
            raise DataError(f"{dataset} has no {unit!r} for task {task!r}{suggestion(unit, names)}")


def _columns(head: Head, names: Sequence[str], drawn: np.ndarray, shown: np.ndarray) -> Labels:
    """The columns that the head's units name."""
    values = drawn[:, [names.index(unit) for unit in head.units]]
    return Labels(np.ascontiguousarray(values), np.repeat(shown[:, None], len(head.units), axis=1))


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The synthetic faces."""
    return [SyntheticFaces]
