"""`mtl check`: all that `mtl run` does before training."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .options import config_options, load

if TYPE_CHECKING:
    from rich.console import Console

    from ..config import Config
    from ..data import Coverage, FeedSummary
    from ..pipeline import StageData


PARTS, WIDTH = 4, 56  # of a line of labels: how many, and characters


@click.command()
@config_options
def check(
    config: Path,
    overrides: tuple[str, ...],
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
) -> None:
    """Look at CONFIG and its data, without training.

    Prints streams with counts, label coverage, class histograms, ranges, overlap between training and
    validation, and missing files. Leaves with 2 if `mtl run` would refuse.
    """
    loaded = load(config, overrides, disabled)
    from ..config import EnsembleStage, ExtractStage
    from ..pipeline import DataSource, survey

    stages, problems = survey(loaded.config, DataSource(loaded.config))
    console = make_console()
    for group in _alike(stages):
        _print_stages(console, group, loaded.config)
    for stage in loaded.config.stages:
        if isinstance(stage, ExtractStage):
            names = ", ".join(stage.datasets)
            console.print(f"\n{stage.name}: features of {names}, by {stage.network}", soft_wrap=True)
        if isinstance(stage, EnsembleStage):
            console.print(f"\n{stage.name}: ensemble of {', '.join(stage.members)}", soft_wrap=True)
    if problems:
        raise ConfigError(*problems)
    console.print(f"{config.name}: {_number(len(loaded.config.stages), 'stage')}, ready to run")


def make_console() -> Console:
    """Standard output; where it is no terminal, wide enough that nothing is cut."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    return Console(width=width, markup=False, highlight=False, emoji=False)


def _alike(stages: Sequence[StageData]) -> list[list[StageData]]:
    """Stages with the same streams and validation are shown once, and of the repeats of one the first."""
    from ..pipeline import origin_of

    firsts = {origin_of(data.stage): data for data in reversed(stages)}
    groups: dict[str, list[StageData]] = {}
    for data in [one for one in stages if one in firsts.values()]:
        key = (data.streams, data.validation, data.steps, data.stage.features, data.stage.windows, data.folds)
        groups.setdefault(repr(key), []).append(data)
    return list(groups.values())


def _title(data: StageData, config: Config) -> str:
    """The name of a stage, and how often it is trained."""
    from ..pipeline import origin_of

    stage = {one.name: one for one in config.trainings}[origin_of(data.stage)]
    parts = [f"{stage.folds} folds"] if stage.folds else []
    parts += [f"{stage.seeds} seeds"] if stage.seeds > 1 else []
    return f"{stage.name} ({' x '.join(parts)})" if parts else stage.name


def _print_stages(console: Console, stages: Sequence[StageData], config: Config) -> None:
    from rich.table import Table

    data = stages[0]
    names = ", ".join(_title(one, config) for one in stages)
    console.print(f"\n{names}: {_number(data.steps, 'step')} an epoch", style="bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "feed", "task", "samples", "a step", "labels"):
        table.add_column(heading, justify="right" if heading in ("samples", "a step") else "left")
    unit = "" if data.stage.windows is None else f" x {data.stage.windows.length}"
    sizes = [f"{stream.batch_size}{unit}" for stream in data.stage.streams]
    for what, feeds, rows in (
        ("train", data.streams, sizes),
        ("validate", data.validation, [""] * len(data.validation)),
    ):
        for feed, size in zip(feeds, rows, strict=True):
            table.add_row(what, feed.title, feed.task, f"{feed.samples:,}", size, _labels(feed))
    console.print(table)
    if data.folds:
        folds = ", ".join(f"{size:,}" for size in data.folds)
        console.print(f"the first fold is held out here; samples of each: {folds}", soft_wrap=True)
    if any(one.stage.allow_overlap for one in stages):
        for overlap in data.overlaps:
            console.print(f"allowed overlap: {overlap}", soft_wrap=True)


def _labels(feed: FeedSummary) -> str:
    lines = [coverage_text(task, coverage, feed.samples) for task, coverage in feed.coverage.items()]
    lines += [f"{task}: made of the inputs" for task in feed.made]
    return "\n".join(lines) or "none"


def coverage_text(task: str, coverage: Coverage, samples: int) -> str:
    """The labels of one task: how many, which share, and their histogram or range."""
    partly = f" (+{coverage.partly:,} in part)" if coverage.partly else ""
    share = f"{coverage.labelled / samples:.0%}" if samples else "none"
    return f"{task} {coverage.labelled:,} = {share}{partly}{_summary(coverage.summary)}"


def _summary(summary: Mapping[str, Any]) -> str:
    text = ""
    for values in summary.values():
        parts = [f"{name} {_value(value)}" for name, value in values.items()]
        text += "".join(f"\n  {line}" for line in filled(parts))
    return text


def filled(parts: Iterable[str]) -> Iterator[str]:
    """Lines of up to four parts each, which fit beside the other columns of a table."""
    line: list[str] = []
    for part in parts:
        if line and (len(line) == PARTS or len(", ".join([*line, part])) > WIDTH):
            yield ", ".join(line)
            line = []
        line.append(part)
    if line:
        yield ", ".join(line)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['min']:.2f} .. {value['max']:.2f} (mean {value['mean']:.2f})"
    return f"{value:,}" if isinstance(value, int) else str(value)
