"""Rendered faces as a dataset: the embedded default, since affect databases need a signed licence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import DataFacts, Dataset, Labels, Samples, hookimpl, suggestion
from mtl_toolkit.validators import at_least, between, unique

from .faces import EXPRESSIONS, STYLES, labels, render, sample
from .faces.hashing import Draws
from .faces.identity import TRAITS, trait
from .synthetic_labels import AFFECT, Kind, head_labels, shown_kinds


@attrs.frozen(kw_only=True)
class SyntheticFaces(Dataset):
    """Rendered faces with expression, valence-arousal and action units; a function of seed and index.

    A task gets its labels by the kind of its head, and classes, axes and units are matched by name. A face
    of a class that the head lacks has no label. `appearance` and `identity` are shown where `labels` asks
    for them; a person's number counts from 0 under each seed, so people of two seeds are not the same.
    """

    name: ClassVar[str] = "synthetic-faces"
    samples: int = attrs.field(default=10_000, validator=at_least(1), metadata={"doc": "number of faces"})
    seed: int = attrs.field(default=0, metadata={"doc": "another seed draws other people and faces"})
    first: int = attrs.field(
        default=0, validator=at_least(0), metadata={"doc": "index of the first face, to cut disjoint parts"}
    )
    style: str = attrs.field(default="wild", metadata={"doc": f"how the pictures look: {', '.join(STYLES)}"})
    labels: tuple[Kind, ...] = attrs.field(
        default=AFFECT, validator=unique(), metadata={"doc": "kinds of label that every face shows"}
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
        self._labels = head_labels(recipe.name, recipe.seed, facts.tasks, drawn, shown)

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


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Drawing is many small operations: threads gain little, and lose much where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The synthetic faces."""
    return [SyntheticFaces]
