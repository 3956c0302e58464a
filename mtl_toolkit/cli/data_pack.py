"""`mtl data pack`: a dataset as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .datasets import choose
from .options import config_options
from .stopping import Stopped, stop_on_signals

if TYPE_CHECKING:
    from ..plugin import Dataset
    from ..registry import Registry


@click.command()
@config_options
@click.argument("dataset", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write; one that is there is replaced when the new one is complete.",
)
@click.option(
    "--format",
    "format_name",
    metavar="PLUGIN",
    help="Dataset plugin that will read the file; default: the only one that can write.",
)
@click.option(
    "--size", type=click.IntRange(8, 4096), help="Side in pixels; default: as the model's pictures are read."
)
@click.option(
    "--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of the JPEG pictures."
)
@click.option("--workers", type=click.IntRange(0), help="Processes; default: the cores allowed.")
def pack(
    *,
    config: Path,
    overrides: tuple[str, ...],
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
    dataset: str | None,
    output: Path,
    format_name: str | None,
    size: int | None,
    quality: int,
    workers: int | None,
) -> int:
    """Write a DATASET of CONFIG as one file: its pictures, cut and scaled, and all labels.

    Ctrl-C keeps what is done; run the same command again to go on. A picture that cannot be read stops it,
    unless the dataset has on_error = "skip".

    CONFIG may also be the name of a dataset plugin, such as synthetic-faces; its fields are then given with
    --set, as in --set samples=100.
    """
    from ..data import allowed_cores
    from .sample_bar import SampleBar

    chosen = choose(config, dataset, overrides, disabled, size=size, purpose="pack")
    writer = find_writer(chosen.registry, format_name)
    samples = chosen.open()
    with stop_on_signals(), SampleBar(len(samples)) as bar:
        try:
            written = writer.write(
                output,
                samples,
                chosen.facts.tasks,
                size=chosen.facts.image_size,
                quality=quality,
                workers=allowed_cores() if workers is None else workers,
                origin=origin(chosen.recipe),
                progress=bar,
            )
        except Stopped as stopped:
            bar.console.print(
                f"stopped at {bar.done:,} of {len(samples):,} samples; the same command goes on from there"
            )
            return 128 + stopped.number
    left_out = len(samples) - written
    note = f", {left_out:,} that cannot be read left out" if left_out else ""
    click.echo(f"{output}: {written:,} samples{note}, {output.stat().st_size / 1e6:,.1f} MB")
    return 0


def find_writer(registry: Registry, name: str | None) -> type[Dataset]:
    """The dataset plugin that is to write.

    Raises:
        UserError: if it is unknown or cannot write, or none is named and there is not just one.
    """
    from ..errors import UserError
    from ..plugin import Dataset

    own = Dataset.write.__func__  # type: ignore[attr-defined]
    writers = {
        plugin.name
        for plugin in registry.of_kind("dataset")
        if plugin.recipe.write.__func__ is not own  # type: ignore[attr-defined]
    }
    known = ", ".join(sorted(writers)) or "none"
    if name is None and len(writers) != 1:
        raise UserError(f"--format must name the dataset plugin that is to write; there are: {known}")
    found = registry.recipe("dataset", name or writers.pop(), Dataset)  # type: ignore[type-abstract]
    if name is not None and name not in writers:
        raise UserError(f"--format: dataset {name!r} writes no files; those that do: {known}")
    return found


def origin(recipe: Dataset) -> dict[str, Any]:
    """A dataset's fields in plain types, but for those that make no difference to what it holds."""
    from ..config import plain

    return {key: value for key, value in plain(recipe).items() if key not in ("cache", "on_error")}
