"""The table of scores at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ..pipeline import duration
from ..report_html import combines_metrics, epochs_text, title_of, value_text

FILE_WIDTH = 10_000  # a file has none; a table takes no more than it needs


def print_report(report: Mapping[str, Any], output: Path) -> None:
    """Print a row per stage on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    console.print(report_table(report))
    console.print(f"run directory: {output}", highlight=False, soft_wrap=True)


def report_table(report: Mapping[str, Any]) -> Table:
    """One row per stage, one column per metric; where all are of one feed, the title names it instead.

    Where several metrics choose the best epoch, their weighted sum has the first column.
    """
    stages = [stage for stage in report["stages"] if stage.get("kind") != "extract"]
    names = list(dict.fromkeys(name for stage in stages for name in stage["metrics"]))
    feeds = {name.partition("/")[0] for name in names}
    title = f"{report['name']}, validated on {feeds.pop()}" if len(feeds) == 1 else report["name"]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True, vertical="bottom")
    score = ["score"] if combines_metrics(stages) else []
    for heading in score:
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for name in names:
        # A mean may stand above its deviation: in a narrow terminal it would be cut.
        table.add_column(_heading(name, with_feed=bool(feeds)), justify="right")
    for heading in ("best\nepoch", "time", "samples\nper s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in stages:
        values = [value_text(stage, name) for name in (*score, *names)]
        rate = f"{stage['samples_per_second']:,.0f}"
        epochs = epochs_text(stage)
        table.add_row(title_of(stage), *values, epochs, duration(stage["seconds"]), rate)
    return table


def _heading(name: str, *, with_feed: bool) -> str:
    """The parts of a metric's name under each other, so that columns stay narrow."""
    feed, _, rest = name.partition("/")
    return "\n".join([*([feed] if with_feed else []), *rest.replace("_", "/").split("/")])
