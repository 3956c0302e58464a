"""The table of scores at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .progress import duration


def print_report(report: Mapping[str, Any], output: Path) -> None:
    """Print a row per stage on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file has no width; do not cut the columns
    console.print(report_table(report))
    console.print(f"run directory: {output}", highlight=False, soft_wrap=True)


def report_table(report: Mapping[str, Any]) -> Table:
    """One row per stage, one column per metric; metrics named alike in every feed lose the feed's name."""
    table = Table(title=report["name"], title_justify="left")
    table.add_column("stage", no_wrap=True)
    names = list(dict.fromkeys(name for stage in report["stages"] for name in stage["metrics"]))
    for name in names:
        table.add_column(name.replace("/", "\n"), justify="right")
    for heading in ("best epoch", "time", "samples/s"):
        table.add_column(heading.replace(" ", "\n"), justify="right")
    for stage in report["stages"]:
        values = [f"{stage['metrics'][name]:.3f}" if name in stage["metrics"] else "" for name in names]
        rate = f"{stage['samples_per_second']:,.0f}"
        epochs = f"{stage['best_epoch']}/{stage['epochs']}"
        table.add_row(stage["name"], *values, epochs, duration(stage["seconds"]), rate)
    return table
