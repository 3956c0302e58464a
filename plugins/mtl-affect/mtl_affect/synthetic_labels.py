"""What the rendered datasets tell of their faces, as the labels of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from mtl_toolkit import DataError, Head, suggestion
from mtl_toolkit import Labels as TaskLabels

from .faces import ACTION_UNITS, EXPRESSIONS, Labels, appearance
from .faces.appearance import APPEARANCE
from .identity import person

Kind = Literal["expression", "valence-arousal", "action-units", "appearance", "identity"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AFFECT: tuple[Kind, ...] = ("expression", "valence-arousal", "action-units")
AXES = ("valence", "arousal")


def shown_kinds(
    labels: Sequence[Kind], extra_labels: Sequence[Kind], extra: np.ndarray
) -> dict[str, np.ndarray]:
    """Which samples show which kind of label: bool [n] each; `extra` are those that show the extra ones."""
    nothing, everything = np.zeros(len(extra), np.bool_), np.ones(len(extra), np.bool_)
    return {
        kind: everything if kind in labels else extra if kind in extra_labels else nothing for kind in KINDS
    }


def head_labels(
    dataset: str, seed: int, tasks: Mapping[str, Head], drawn: Labels, shown: Mapping[str, np.ndarray]
) -> dict[str, TaskLabels]:
    """The labels of each task whose head wants a kind that some samples show.

    Args:
        dataset: how messages call it.
        seed: under which people are drawn.
        tasks: the heads by task.
        drawn: what the faces show [n].
        shown: which samples show which kind of label, bool [n] by kind.

    Raises:
        DataError: if a head has a unit that faces lack; the message names the dataset.
    """
    found: dict[str, TaskLabels] = {}
    for task, head in tasks.items():
        seen = shown.get(head.label)
        if seen is None or not seen.any():
            continue
        if head.label == "expression":
            found[task] = _classes(head, EXPRESSIONS, drawn.expression, seen)
        elif head.label == "identity":
            people, place = np.unique(drawn.identity_id, return_inverse=True)
            found[task] = _classes(head, list(map(person, people.tolist())), place.reshape(-1), seen)
        else:
            names, values = _table(head.label, seed, drawn)
            _check_units(dataset, task, head, names)
            found[task] = _columns(head, names, values, seen)
    return found


def _table(kind: str, seed: int, drawn: Labels) -> tuple[Sequence[str], np.ndarray]:
    """Names and values [n, names] of a kind of label that has several."""
    if kind == "valence-arousal":
        return AXES, drawn.valence_arousal
    if kind == "action-units":
        return ACTION_UNITS, drawn.au_labels.astype(np.float32)
    return APPEARANCE, appearance(seed, drawn.identity_id)


def _classes(head: Head, names: Sequence[str], drawn: np.ndarray, shown: np.ndarray) -> TaskLabels:
    """Class ids of the head's own classes, matched by name; a class that it lacks is missing."""
    ids = {name: number for number, name in enumerate(head.meaning()["classes"])}
    found = np.array([ids.get(name, -1) for name in names])[drawn]
    valid = shown & (found >= 0)
    if head.target_shape == ():
        return TaskLabels(np.where(valid, found, 0).astype(head.target_dtype), valid)
    shares = np.eye(len(ids), dtype=head.target_dtype)[np.where(valid, found, 0)]
    return TaskLabels(shares, np.repeat(valid[:, None], len(ids), axis=1))


def _check_units(dataset: str, task: str, head: Head, names: Sequence[str]) -> None:
    for unit in head.units:
        if unit not in names:
            raise DataError(f"{dataset} has no {unit!r} for task {task!r}{suggestion(unit, names)}")


def _columns(head: Head, names: Sequence[str], drawn: np.ndarray, shown: np.ndarray) -> TaskLabels:
    """The columns that the head's units name."""
    values = drawn[:, [names.index(unit) for unit in head.units]]
    return TaskLabels(np.ascontiguousarray(values), np.repeat(shown[:, None], len(head.units), axis=1))
