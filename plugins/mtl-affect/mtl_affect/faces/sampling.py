"""Faces and their labels as pure functions of (seed, index)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mtl_affect.faces.affect import EXPRESSIONS, active, annotate, sample_aus
from mtl_affect.faces.frame import sample_frame
from mtl_affect.faces.hashing import Draws, Ints
from mtl_affect.faces.identity import sample_identity
from mtl_affect.faces.records import Faces, Labels
from mtl_affect.faces.styles import Style

FACES_PER_IDENTITY = 4
_CHUNK = 1 << 14


def sample(
    seed: int,
    indices: npt.ArrayLike,
    *,
    style: Style,
    class_weights: Sequence[float] | None = None,
    faces_per_identity: int = FACES_PER_IDENTITY,
) -> Faces:
    """Parameters and labels of faces at indices [n]; face i depends on nothing but the arguments and i.

    ``class_weights`` are seven relative frequencies of EXPRESSIONS (equal where None). Consecutive indices,
    by ``faces_per_identity``, show the same person.
    """
    ids = np.asarray(indices, dtype=np.int64)
    targets = labels(
        seed, ids, style=style, class_weights=class_weights, faces_per_identity=faces_per_identity
    )
    return Faces(
        identity=sample_identity(seed, targets.identity_id),
        frame=sample_frame(seed, ids, style),
        labels=targets,
    )


def labels(
    seed: int,
    indices: npt.ArrayLike,
    *,
    style: Style,
    class_weights: Sequence[float] | None = None,
    faces_per_identity: int = FACES_PER_IDENTITY,
) -> Labels:
    """Labels alone, equal to those of ``sample`` with the same arguments, for as many indices as wanted."""
    weights = [1.0] * len(EXPRESSIONS) if class_weights is None else list(class_weights)
    if len(weights) != len(EXPRESSIONS):
        raise ValueError(
            f"class_weights needs {len(EXPRESSIONS)} values, one for each expression, got {len(weights)}"
        )
    if faces_per_identity < 1:
        raise ValueError(f"faces_per_identity must be at least 1, got {faces_per_identity}")
    ids = np.asarray(indices, dtype=np.int64)
    chunks = [
        _labels(seed, ids[start : start + _CHUNK], style, weights, faces_per_identity)
        for start in range(0, max(len(ids), 1), _CHUNK)
    ]
    return Labels(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


def _labels(
    seed: int, ids: Ints, style: Style, weights: Sequence[float], faces_per_identity: int
) -> tuple[npt.NDArray[np.generic], ...]:
    """Arrays of Labels, in the order of its fields, for few enough ids to stay in cache."""
    expression = Draws(seed, "class", ids).choice("expression", weights)
    aus = sample_aus(seed, ids, expression, style)
    return (
        expression,
        annotate(seed, ids, aus),
        active(aus),
        aus.astype(np.float32),
        ids // faces_per_identity,
    )
