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
    from ..evaluation.bootstrap import Interval
    from ..plugin import PostProcessor


def print_evaluation(
    title: str,
    found: Evaluation,
    scores: Mapping[str, float],
    chains: Mapping[str, Sequence[PostProcessor]],
    note: str,
    *,
    videos: bool,
) -> None:
    """Print the metrics of every task with their intervals, its confusion, and what was done to get there."""
    console = make_console()
    console.print(f"\n{title}: {found.rows:,} rows", style="bold", soft_wrap=True)
    for task, chain in chains.items():
        steps = ", then ".join(described(one) for one in chain)
        console.print(f"{task} post-processed by {steps}{f'; {note}' if note else ''}", soft_wrap=True)
    for task, one in found.tasks.items():
        _print_task(console, task, one, found.draws)
        if videos and one.videos:
            console.print("", videos_table(task, one), sep="\n")
    if scores:
        console.print()
    for name, value in scores.items():
        console.print(f"{name} {number(value)}", style="bold")
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
    over = ["95 % over videos" if one.videos else "95 % over pictures"] if several else []
    table = numbers_table("metric", "value", *over)
    for name, value in one.values.items():
        interval = one.intervals[name]
        cells = [interval_text(interval)] if several else []
        table.add_row(name, number(value), *cells)
    console.print(f"\n{_title(task, one)}", soft_wrap=True)
    console.print(table)
    if draws and len(one.videos) == 1 and not several:
        console.print("no intervals: they need two videos", style="dim")
    if one.confusion is not None:
        console.print("", confusion_table(one.confusion.to_plain()), sep="\n")


def _title(task: str, one: TaskEvaluation) -> str:
    parts = [f"{task}: {one.rows:,} labelled rows"]
    if one.unpredicted:
        parts.append(f"{one.unpredicted:,} without a prediction left out")
    if one.without_face:
        parts.append(f"{one.without_face:,} without a face of their own")
    return ", ".join(parts)


def confusion_table(plain: Mapping[str, Any]) -> Table:
    """Predicted classes in percent of each true one; or the counts of each unit."""
    if "classes" in plain:
        table = numbers_table("true \\ predicted, %", *plain["classes"], "rows")
        for name, shares, counts in zip(plain["classes"], plain["shares"], plain["counts"], strict=True):
            cells = ["" if shares is None else f"{100 * share:.0f}" for share in shares or plain["classes"]]
            table.add_row(name, *cells, f"{sum(counts):,}")
        return table
    table = numbers_table("unit", "hits", "false alarms", "misses", "right rejections")
    for unit, counts in plain["units"].items():
        table.add_row(unit, *(f"{counts[key]:,}" for key in ("tp", "fp", "fn", "tn")))
    return table


def videos_table(task: str, one: TaskEvaluation) -> Table:
    """One row per video."""
    table = numbers_table(f"{task}, by video", "rows", *one.values)
    for video, scores in one.videos.items():
        table.add_row(video, f"{scores.rows:,}", *(number(scores.values[name]) for name in one.values))
    return table


def numbers_table(first: str, *others: str) -> Table:
    """A table of names and numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def interval_text(interval: Interval | None) -> str:
    """The ends of an interval, or nothing."""
    return "" if interval is None else " .. ".join(map(number, interval))


def number(value: float) -> str:
    """Three digits, or a dash where the metric is not defined."""
    return "-" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}"  # adding 0.0 turns -0.0 into 0.0
