"""An evaluation as tables on standard output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from .check import make_console

if TYPE_CHECKING:
    from ..evaluation import Evaluation, TaskEvaluation
    from ..plugin import PostProcessor


def print_evaluation(
    dataset: str,
    found: Evaluation,
    scores: Mapping[str, float],
    chains: Mapping[str, Sequence[PostProcessor]],
    note: str,
    *,
    videos: bool,
) -> None:
    """Print the metrics of every task with their intervals, its confusion, and what was done to get there."""
    console = make_console()
    console.print(f"\n{dataset}: {found.rows:,} rows", style="bold")
    for task, chain in chains.items():
        steps = ", ".join(described(one) for one in chain)
        console.print(f"{task} post-processed: {steps}{f' ({note})' if note else ''}", soft_wrap=True)
    for task, one in found.tasks.items():
        _print_task(console, task, one, found.draws)
        if videos and one.videos:
            console.print(videos_table(task, one))
    for name, value in scores.items():
        console.print(f"{name} {value:.3f}", style="bold")
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


def described(one: PostProcessor) -> str:
    """A post-processor with its options."""
    from ..config import plain

    values: dict[str, Any] = plain(one)
    options = ", ".join(f"{key} {value}" for key, value in values.items() if key != "type")
    return f"{one.name} ({options})" if options else one.name


def _print_task(console: Console, task: str, one: TaskEvaluation, draws: int) -> None:
    several = any(interval is not None for interval in one.intervals.values())
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=_title(task, one), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if several:
        table.add_column("95 % over videos", justify="right")
    for name, value in one.values.items():
        interval = one.intervals[name]
        cells = ["" if interval is None else f"{interval[0]:.3f} .. {interval[1]:.3f}"] if several else []
        table.add_row(name, _number(value), *cells)
    console.print(table)
    if draws and not several:
        console.print("no intervals: fewer than two videos", style="dim")
    if one.confusion is not None:
        console.print(confusion_table(one.confusion.to_plain()))


def _title(task: str, one: TaskEvaluation) -> str:
    parts = [f"{task}: {one.rows:,} labelled rows"]
    if one.unpredicted:
        parts.append(f"{one.unpredicted:,} without a prediction left out")
    if one.without_face:
        parts.append(f"{one.without_face:,} without a face of their own")
    return ", ".join(parts)


def confusion_table(plain: Mapping[str, Any]) -> Table:
    """Predicted classes in percent of each true one; or the counts of each unit."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    if "classes" in plain:
        table.add_column("true \\ predicted, %")
        for name in plain["classes"]:
            table.add_column(name, justify="right")
        table.add_column("rows", justify="right")
        for name, shares, counts in zip(plain["classes"], plain["shares"], plain["counts"], strict=True):
            cells = ["" if shares is None else f"{100 * share:.0f}" for share in shares or plain["classes"]]
            table.add_row(name, *cells, f"{sum(counts):,}")
        return table
    table.add_column("unit")
    for heading in ("hits", "false alarms", "misses", "right rejections"):
        table.add_column(heading, justify="right")
    for unit, counts in plain["units"].items():
        table.add_row(unit, *(f"{counts[key]:,}" for key in ("tp", "fp", "fn", "tn")))
    return table


def videos_table(task: str, one: TaskEvaluation) -> Table:
    """One row per video."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"{task}, by video", title_justify="left")
    table.add_column("video")
    table.add_column("rows", justify="right")
    for name in one.values:
        table.add_column(name, justify="right")
    for video, scores in one.videos.items():
        table.add_row(video, f"{scores.rows:,}", *(_number(scores.values[name]) for name in one.values))
    return table


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
