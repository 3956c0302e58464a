"""An evaluation by group as tables on standard output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .check import make_console
from .evaluation_tables import interval_text, number, numbers_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..evaluation import Gap, GroupedEvaluation, GroupScores, GroupValue, TaskGroups

WIDTH = 100  # of a table; more values go into another one
FOOTNOTE = (
    "* not in the gap: some class or unit has no row in this group, so that even right predictions\n"
    "  would have less than in others"
)


def print_groups(by: str, found: GroupedEvaluation) -> None:
    """Print the values of every group, the recall of classes and units, and the gaps, task by task."""
    console = make_console()
    for task, one in found.tasks.items():
        console.print(
            f"\n{task} by {by}; gaps are of values over {found.min_rows} rows or more", soft_wrap=True
        )
        _print_metrics(console, by, one)
        _print_recall(console, by, one)
        _print_gaps(console, one)
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


def _print_metrics(console: Console, by: str, one: TaskGroups) -> None:
    values = [value for group in one.groups.values() for value in group.metrics.values()]
    first = _width([by, *one.groups]) + len("000,000 videos ")
    least = len("-0.000 .. -0.000  ") if any(value.interval for value in values) else 0
    for names in _chunks(list(one.gaps), first, least):
        console.print("", metrics_table(by, one.groups, names), sep="\n")
    if any(value.left_out == "lower ceiling" for value in values):
        console.print(FOOTNOTE, style="dim")


def metrics_table(by: str, groups: Mapping[str, GroupScores], names: Sequence[str]) -> Table:
    """A row per group, with the interval under each value."""
    videos = any(group.videos for group in groups.values())
    table = numbers_table(by, "rows", *(["videos"] if videos else []), *names)
    for name, group in groups.items():
        counts = [f"{group.rows:,}", *([f"{group.videos:,}"] if videos else [])]
        table.add_row(name, *counts, *(_value_cell(group.metrics[metric]) for metric in names))
    return table


def _value_cell(value: GroupValue) -> str:
    mark = "*" if value.left_out == "lower ceiling" else " "
    lines = [number(value.value) + mark]
    return "\n".join([*lines, interval_text(value.interval) + " "] if value.interval else lines)


def _print_recall(console: Console, by: str, one: TaskGroups) -> None:
    for names in _chunks(list(one.recall_gaps), _width([by, *one.groups]), len("100 (0,000) ")):
        console.print("\nrecall in % (of so many rows)")
        console.print(recall_table(by, one.groups, names))


def recall_table(by: str, groups: Mapping[str, GroupScores], names: Sequence[str]) -> Table:
    """A row per group, a column per class or unit, with its labelled rows."""
    table = numbers_table(by, *names)
    for name, group in groups.items():
        cells = [group.recall[unit] for unit in names]
        table.add_row(name, *(f"{100 * one.value:.0f} ({one.rows:,})" if one.rows else "" for one in cells))
    return table


def _print_gaps(console: Console, one: TaskGroups) -> None:
    gaps = {**one.gaps, **{f"recall of {name}": gap for name, gap in one.recall_gaps.items()}}
    if any(gaps.values()):
        console.print("", gaps_table(gaps), sep="\n")
    else:
        console.print("no gaps: they need two groups that can be compared", style="dim")


def gaps_table(gaps: Mapping[str, Gap | None]) -> Table:
    """A row per value, with the groups between which the gap is; none where there is no gap."""
    with_intervals = any(gap.interval for gap in gaps.values() if gap)
    table = numbers_table("gap", "value", *(["95 %"] if with_intervals else []))
    for heading in ("highest", "lowest"):
        table.add_column(heading)
    for name, gap in gaps.items():
        if gap:
            interval = [interval_text(gap.interval)] if with_intervals else []
            table.add_row(name, number(gap.value), *interval, gap.highest, gap.lowest)
    return table


def _chunks(names: Sequence[str], first: int, least: int) -> Iterator[list[str]]:
    """Split columns so that a table with a first column of a width stays within `WIDTH`."""
    chunk: list[str] = []
    taken = first
    for name in names:
        width = max(len(name) + 1, least, len("-0.000* "))
        if chunk and taken + width > WIDTH:
            yield chunk
            chunk, taken = [], first
        chunk.append(name)
        taken += width
    if chunk:
        yield chunk


def _width(texts: Sequence[str]) -> int:
    return max(map(len, texts)) + 1
