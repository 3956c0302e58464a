"""Datasets as a picture: a row per dataset, a column per task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .batch import Labels
from .files import replacing_file
from .plugin import Head
from .samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 20  # along each axis
COLOUR = "#3b6ea5"


def draw_datasets(datasets: Mapping[str, tuple[Samples, Mapping[str, Head]]], path: Path) -> None:
    """Draw class bars and densities of values.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(
        dict.fromkeys(
            task for samples, heads in datasets.values() for task in samples.labels() if task in heads
        )
    )
    figure = Figure(
        figsize=(0.6 + 3.4 * max(1, len(tasks)), 0.5 + 2.7 * len(datasets)), dpi=110, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(datasets), max(1, len(tasks)), squeeze=False)
    for row, (name, (samples, heads)) in zip(axes, datasets.items(), strict=True):
        for axis, task in zip(row, tasks, strict=False):
            labels = samples.labels().get(task)
            axis.set_title(f"{name}: {task}", fontsize=9)
            axis.tick_params(labelsize=7)
            if labels is None or not labels.valid.any():
                axis.text(0.5, 0.5, "no labels", ha="center", va="center", color="grey", fontsize=9)
                axis.set_axis_off()
            else:
                _draw(axis, labels, heads[task])
    with replacing_file(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.lstrip("."))


def _draw(axis: Axes, labels: Labels, head: Head) -> None:
    meaning = head.meaning()
    if "classes" in meaning:
        _bars(axis, tuple(meaning["classes"]), class_counts(labels, len(meaning["classes"])))
    elif np.isin(labels.values[labels.valid], (0, 1)).all():
        _bars(axis, head.units, ((labels.values == 1) & labels.valid).sum(axis=0))
    elif len(head.units) == 2:
        _density(axis, labels, head)
    else:
        _histograms(axis, labels, head)


def class_counts(labels: Labels, classes: int) -> np.ndarray:
    """Samples per class; of soft targets, the sum of their shares."""
    if labels.values.ndim == 1:
        return np.asarray(np.bincount(labels.values[labels.valid], minlength=classes))
    return np.asarray(np.where(labels.valid, labels.values, 0).sum(axis=0))


def _bars(axis: Axes, names: tuple[str, ...], counts: np.ndarray) -> None:
    places = np.arange(len(names))
    axis.barh(places, counts, color=COLOUR)
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.set_xlabel("samples", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _density(axis: Axes, labels: Labels, head: Head) -> None:
    from matplotlib.colors import LogNorm

    both = labels.complete()
    span = head.meaning().get("range")
    counts, across, up = np.histogram2d(
        labels.values[both, 0],
        labels.values[both, 1],
        bins=BINS,
        range=None if span is None else [span, span],
    )
    # Next to a few frequent cells the rest would not show but for the logarithm.
    shown = np.where(counts > 0, counts, np.nan).T
    mesh = axis.pcolormesh(across, up, shown, norm=LogNorm(1, max(2, counts.max())), cmap="viridis")
    bar = axis.figure.colorbar(mesh, ax=axis)
    bar.set_label("samples", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    axis.set_xlabel(head.units[0], fontsize=8)
    axis.set_ylabel(head.units[1], fontsize=8)
    axis.set_box_aspect(1)


def _histograms(axis: Axes, labels: Labels, head: Head) -> None:
    for unit, name in enumerate(head.units):
        values = labels.values.reshape(len(labels), -1)[:, unit]
        known = values[labels.valid.reshape(len(labels), -1)[:, unit]]
        axis.hist(known, bins=BINS, histtype="step", label=name)
    axis.legend(fontsize=7)
    axis.set_ylabel("samples", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
