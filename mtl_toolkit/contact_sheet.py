"""Contact sheets: pictures of a dataset side by side, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import DataError, UnreadableSampleError, suggestion
from .files import replacing_file
from .plugin import Head
from .samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pick(
    samples: Samples, heads: Mapping[str, Head], *, count: int, columns: int, by: str | None, seed: int
) -> list[int]:
    """Choose samples at random; with `by`, a row of them per stratum of a task.

    Raises:
        DataError: if the dataset has no labels of that task.
    """
    generator = np.random.default_rng(seed)
    if by is None:
        return sorted(generator.choice(len(samples), min(count, len(samples)), replace=False).tolist())
    labels = samples.labels().get(by)
    if labels is None:
        raise DataError(f"--by {by}: the dataset has no labels of it{suggestion(by, samples.labels())}")
    strata = heads[by].strata(labels)
    chosen: list[int] = []
    for stratum in np.unique(strata[strata >= 0])[: max(1, count // columns)]:
        members = np.flatnonzero(strata == stratum)
        chosen += generator.choice(members, columns, replace=len(members) < columns).tolist()
    return chosen


def draw_sheet(
    samples: Samples, heads: Mapping[str, Head], chosen: Sequence[int], *, columns: int, path: Path
) -> None:
    """Draw the pictures with their labels under them; one that cannot be read is an empty frame.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(chosen) // columns)
    lines = max(1, len(samples.labels()))
    figure = Figure(figsize=(columns * 1.3, rows * (1.3 + 0.17 * lines)), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes:
        axis.set_axis_off()
    for axis, index in zip(axes, chosen, strict=False):
        _draw(axis, samples, heads, index)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=0.995, bottom=0.04 * lines / rows + 0.01, hspace=0.16 * lines
    )
    with replacing_file(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.lstrip(".") or "png")


def _draw(axis: Axes, samples: Samples, heads: Mapping[str, Head], index: int) -> None:
    text = []
    for task, labels in samples.labels().items():
        if task in heads:
            described = heads[task].describe_label(labels.values[index], labels.valid[index])
            text.append(described or f"no {task}")
    try:
        picture = samples.read([index])[0].permute(1, 2, 0).numpy()
    except UnreadableSampleError:
        picture = np.full((8, 8, 3), 255, np.uint8)
        text = ["unreadable", samples.id(index)]
    axis.imshow(picture, interpolation="nearest")
    axis.text(
        0.5,
        -0.03,
        "\n".join(text),
        transform=axis.transAxes,
        ha="center",
        va="top",
        fontsize=6,
    )
